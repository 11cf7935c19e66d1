/** Changes the keys of a joined host without end, as the agent does now and then: to be killed at any instant. */
import { trustIn } from '../../agent/controller-trust.ts'
import { openApi, postRest } from '../../agent/ecs-api.ts'
import { openHostKeyring } from '../../agent/host-keyring.ts'
import { readJoined } from '../../agent/joined-identity.ts'
import { changeKeys, hostKeysAnswer } from '../../agent/key-rotation.ts'
import { openLog } from '../../agent/log.ts'
import { hostKeysPath } from '../../proto/joining.ts'

const directory = process.argv[2] ?? ''
const joined = readJoined(directory)
if (joined === undefined) throw new Error(`no host has joined in ${directory}`)
const keyring = openHostKeyring({ directory, joined, log: openLog('warn') })
const api = {
  origin: joined.controllerUrl,
  region: joined.region,
  credentials: async () => keyring.current(),
  clock: { now: () => Date.now() },
  trust: trustIn(() => joined.caPem),
  keyring,
}
for (;;) {
  await changeKeys({
    keyring,
    askForKeys: async () => hostKeysAnswer(await postRest(api, hostKeysPath, {})),
    useKeys: async () => openApi(api)('DiscoverPollEndpoint', {}),
    now: () => Date.now(),
  })
  process.stdout.write('.')
}
