import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { Writable } from 'node:stream'
import tap from 'tap'
import { configurationPage, renderConfigurationPage } from '../scripts/agent-configuration.ts'
import { readConfig } from './config.ts'
import type { AgentConfig, Environment } from './config.ts'
import { readDurationMs } from './config-values.ts'
import { openLog } from './log.ts'
import { registryAuthFor } from './registry-auth.ts'

const warningsOf = (environment: Environment, file = ''): string[] => readConfig(environment, file).warnings
const configOf = (environment: Environment, file = ''): AgentConfig => readConfig(environment, file).config

await tap.test('durations are written as Go writes them', async (t) => {
  t.equal(readDurationMs('90s'), 90_000)
  t.equal(readDurationMs('1h30m'), 5_400_000)
  t.equal(readDurationMs('1.5h'), 5_400_000)
  t.equal(readDurationMs('250ms'), 250)
  t.equal(readDurationMs('0'), 0)
  for (const bad of ['', '10', 'm', '10 m', '-1s', '1d']) t.throws(() => readDurationMs(bad), /10m/, bad)
})

await tap.test('the environment comes before the file, the file before the default', async (t) => {
  const file = '# a comment\nECS_CLUSTER=filed\nexport ECS_DATADIR="/srv/agent"\nECS_RESERVED_MEMORY=64\nnonsense\n'
  const { config, warnings } = readConfig({ ECS_CLUSTER: 'lab' }, file)
  t.match(config, {
    cluster: 'lab',
    dataDirectory: '/srv/agent',
    reservedMemoryMiB: 64,
    backendOrigin: 'http://127.0.0.1:51700',
    imagePullBehavior: 'default',
    containerStopTimeoutMs: 30_000,
    external: false,
  })
  t.same(warnings, ['Line 5 of the configuration file is not KEY=VALUE and has no effect.'])
  t.equal(configOf({ AWS_REGION: 'eu-west-1' }).region, 'eu-west-1')
  t.equal(configOf({ AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-north-1' }).region, 'eu-north-1')
})

await tap.test('every form of value is read', async (t) => {
  const config = configOf({
    ECS_BACKEND_HOST: 'controller.lab:51443',
    ECS_EXTERNAL: 'true',
    ECS_RESERVED_PORTS: '[22, 8080]',
    ECS_DYNAMIC_HOST_PORT_RANGE: '40000-40100',
    ECS_INSTANCE_ATTRIBUTES: '{"rack": "r1"}',
    ECS_IMAGE_PULL_BEHAVIOR: 'prefer-cached',
    ECS_AVAILABLE_LOGGING_DRIVERS: '["json-file","syslog"]',
  })
  t.match(config, {
    backendOrigin: 'https://controller.lab:51443',
    external: true,
    reservedTcpPorts: [22, 8080],
    dynamicHostPortRange: { first: 40_000, last: 40_100 },
    instanceAttributes: [{ name: 'rack', value: 'r1' }],
    imagePullBehavior: 'prefer-cached',
    loggingDrivers: ['json-file', 'syslog'],
  })
})

await tap.test('a bad value warns and the default stands, a fatal one ends the agent', async (t) => {
  t.match(warningsOf({ ECS_RESERVED_MEMORY: 'much' }), [
    /ECS_RESERVED_MEMORY is "much".*whole number.*default stands: 0/,
  ])
  t.match(warningsOf({ ECS_CONTAINER_START_TIMEOUT: '1s' }), [/must not be shorter than 45s/])
  t.match(warningsOf({ ECS_DYNAMIC_HOST_PORT_RANGE: '9-1' }), [/range of ports/])
  t.match(warningsOf({ ECS_NO_SUCH_THING: '1' }), [/ECS_NO_SUCH_THING is no variable of this agent/])
  t.same(warningsOf({ PATH: '/bin', ECS_CLUSTER: 'default' }), [])
  t.throws(() => readConfig({ ECS_INSTANCE_ATTRIBUTES: '{' }, ''), /ECS_INSTANCE_ATTRIBUTES.*not JSON.*Correct it/)
  t.throws(() => readConfig({ ECS_AVAILABLE_LOGGING_DRIVERS: '["papyrus"]' }, ''), /json-file/)
  t.throws(() => readConfig({ ECS_BACKEND_HOST: 'http://:x' }, ''), /an address such as/)
  t.throws(() => readConfig({ GANTRY_TASKS_MAX: 'few' }, ''), /GANTRY_TASKS_MAX.*whole number/)
})

await tap.test('registry credentials in both forms, and no secret in a warning', async (t) => {
  const auth = Buffer.from('ann:pa:ss').toString('base64')
  const dockercfg = configOf({
    ECS_ENGINE_AUTH_TYPE: 'dockercfg',
    ECS_ENGINE_AUTH_DATA: JSON.stringify({ auths: { 'https://index.docker.io/v1/': { auth, email: 'ann@lab' } } }),
  }).registryAuths
  const hub = { username: 'ann', password: 'pa:ss', email: 'ann@lab', serveraddress: 'https://index.docker.io/v1/' }
  t.same(registryAuthFor(dockercfg, 'docker.io'), hub)
  t.equal(registryAuthFor(dockercfg, 'registry.lab:5000'), undefined)
  const docker = configOf({
    ECS_ENGINE_AUTH_TYPE: 'docker',
    ECS_ENGINE_AUTH_DATA: '{"registry.lab:5000": {"username": "bob", "password": "word"}}',
  }).registryAuths
  t.match(registryAuthFor(docker, 'registry.lab:5000'), { username: 'bob', password: 'word' })

  const broken = warningsOf({ ECS_ENGINE_AUTH_TYPE: 'docker', ECS_ENGINE_AUTH_DATA: '{"hunter2"' })
  t.match(broken, [/ECS_ENGINE_AUTH_DATA can't be used/])
  t.notMatch(JSON.stringify(broken), /hunter2/)
  const entries = [
    { type: 'dockercfg', entry: { auth: Buffer.from('hunter2').toString('base64') }, why: /has no auth of base64/ },
    { type: 'docker', entry: { password: 'hunter2' }, why: /has no username/ },
  ]
  for (const { type, entry, why } of entries) {
    const data = JSON.stringify({ 'registry.lab:5000': entry })
    const [warning] = warningsOf({ ECS_ENGINE_AUTH_TYPE: type, ECS_ENGINE_AUTH_DATA: data })
    t.match(warning, why)
    t.notMatch(warning, /hunter2/)
  }
})

await tap.test('a planted secret never reaches the log', async (t) => {
  let written = ''
  const to = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written += chunk.toString()
      done()
    },
  })
  const log = openLog('debug', to)
  const payload = {
    roleCredentials: { secretAccessKey: 'planted' },
    containers: [{ environment: { DB_PASSWORD: 'planted' }, dockerConfig: { config: 'planted' } }],
  }
  log.info({ payload, auth: { password: 'planted' } }, 'a task')
  log.info({ headers: { authorization: 'planted' }, config: configOf({ AWS_SECRET_ACCESS_KEY: 'planted' }) }, 'a call')
  log.child({ task: { lastLogLines: ['planted'] } }).warn({ sessionToken: 'planted' }, 'an end')
  t.equal(written.split('\n').length, 4, 'three lines were written')
  t.match(written, /"msg":"an end"/)
  t.notMatch(written, /planted/)
})

await tap.test('a full disk behind the log costs lines, and never the agent', async (t) => {
  const log = new URL('./log.ts', import.meta.url).href
  const program = `const { openLog } = await import('${log}')
    const log = openLog('info')
    for (let line = 0; line < 10; line += 1) log.info({ line }, 'one more')
    log.fatal({}, 'the last')
    setTimeout(() => process.exit(7), 20)`
  const full = openSync('/dev/full', 'w')
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', full, 'inherit'],
    timeout: 20_000,
  })
  closeSync(full)
  t.equal(status, 7, 'it goes on to its own end')
})

await tap.test('the page in docs/ says what the table says', async (t) => {
  t.equal(
    readFileSync(configurationPage, 'utf8'),
    renderConfigurationPage(),
    'run: node_modules/.bin/node scripts/agent-configuration.ts',
  )
})
