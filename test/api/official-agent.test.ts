/**
 * The official agent's recorded conversation, played against the real controller: the agent's side comes from the
 * recording, signed anew, with ids translated; the controller's side must be such that every next recorded step makes
 * sense. Every report is sent twice, because the real agent repeats after a crash.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { WebSocket } from 'ws'
import type { Frame, PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { parseFrame } from '../../proto/acs.ts'
import { dial } from '../support/agent-peer.ts'
import { callEcs, eventually, type RawAnswer, startController } from '../support/controller.ts'

interface RecordedEvent {
  readonly channel: 'api' | 'acs' | 'tcs'
  readonly from: 'agent' | 'controller'
  readonly kind: 'request' | 'response' | 'handshake' | 'frame' | 'close' | 'end'
  readonly connection?: number
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Readonly<Record<string, unknown>>
  readonly frame?: Frame
  readonly text?: string
}

t.setTimeout(400_000)
const recorded = readRecording()
const controller = await startController({ env: { GANTRY_ACCOUNT: '111122223333' } })
t.teardown(() => controller.stop())
const root = controller.credentials
const agentKey = controller.agentCredentials

/** Recorded ids and ARNs -> those of this run. */
const translations = new Map<string, string>()
const takenFrames = new Set<Frame>()
let lastSeqNum = 0
const sockets = new Map<string, { socket: WebSocket; frames: Frame[] }>()
/** What the operator does before the controller has reason to send the recorded payload, by the families in it. */
const operatorActs: Readonly<Record<string, () => Promise<void>>> = {
  'hello RUNNING': () => runTasks(['hello']),
  'badentry,noimage RUNNING': () => runTasks(['badentry', 'noimage']),
  'hello STOPPED': () => stopTask('11111111111111111111111111111111'),
  'extra RUNNING': () => runTasks(['extra']),
}

await operator('CreateCluster', { clusterName: 'demo' })
await registerTaskDefinitions()

await t.test('the recorded conversation, step by step', async (test) => {
  let played = 0
  let lastAnswer: RawAnswer | undefined
  for (const event of recorded) {
    played += 1
    if (event.channel === 'api' && event.kind === 'request') lastAnswer = await playRequest(event)
    else if (event.channel === 'api') checkAnswer(test, event, lastAnswer)
    else if (event.kind === 'handshake' && event.from === 'agent') await playHandshake(event)
    else if (event.kind === 'frame' && event.from === 'agent') playFrame(event)
    else if (event.kind === 'frame') await checkFrame(test, event)
    else if (event.kind === 'close' && event.from === 'agent') await playClose(event)
    else if (event.kind === 'end') socketOf(event).socket.terminate()
  }
  test.equal(played, 65, 'the whole recording was played')
  test.equal(await statusOf('44444444444444444444444444444444'), 'STOPPED')
})

await t.test('what the conversation left in the state', async (test) => {
  const arns = ['1', '2', '3'].map((digit) => translate(digit.repeat(32)))
  const answer = await operator('DescribeTasks', { cluster: 'demo', tasks: arns })
  const tasks = answer.json['tasks'] as readonly { containers: readonly { name: string }[] }[]
  const [hello, badEntry, noImage] = tasks
  const web = hello?.containers.find(({ name }) => name === 'web')
  test.match(hello, { lastStatus: 'STOPPED', stopCode: 'UserInitiated' })
  test.match(web, { exitCode: 0, healthStatus: 'HEALTHY', networkBindings: [{ hostPort: 32768, containerPort: 8080 }] })
  test.match(badEntry, { stopCode: 'TaskFailedToStart', containers: [{ reason: /^CannotStartContainerError/ }] })
  test.match(noImage, { stopCode: 'TaskFailedToStart', containers: [{ reason: /^CannotPullImageManifestError/ }] })
  const described = await operator('DescribeContainerInstances', {
    cluster: 'demo',
    containerInstances: [translate('0123456789abcdef0123456789abcdef')],
    include: ['CONTAINER_INSTANCE_HEALTH'],
  })
  test.match((described.json['containerInstances'] as unknown[])[0], {
    healthStatus: { overallStatus: 'OK', details: [{ type: 'CONTAINER_RUNTIME', status: 'OK' }] },
    versionInfo: { agentVersion: '1.105.1', agentHash: 'a8b3e7d3' },
  })
})

const officialAgent = process.env['GANTRY_OFFICIAL_AGENT']
if (officialAgent === undefined) {
  t.comment('skipped: a real amazon-ecs-agent against this controller; GANTRY_OFFICIAL_AGENT names no binary')
} else {
  await t.test('a real amazon-ecs-agent takes a task and reports on it', (test) =>
    runOfficialAgent(test, officialAgent),
  )
}

async function playRequest(event: RecordedEvent): Promise<RawAnswer> {
  const operation = event.headers?.['X-Amz-Target']?.split('.')[1] ?? ''
  const body = translate(JSON.stringify(event.body))
  const answer = await callEcs(controller.endpoint, agentKey, operation, body)
  if (!operation.startsWith('Submit')) return answer
  const again = await callEcs(controller.endpoint, agentKey, operation, body)
  return again.status === 200 ? answer : again
}

function checkAnswer(test: Test, event: RecordedEvent, answer: RawAnswer | undefined): void {
  test.equal(answer?.status, 200, answer?.text ?? 'no answer')
  test.equal(answer?.headers.get('content-type'), 'application/x-amz-json-1.1')
  test.ok(answer?.headers.get('x-amzn-requestid'))
  test.ok(answer?.headers.get('date'))
  const instance = event.body?.['containerInstance'] as RegisteredInstance | undefined
  if (instance === undefined) {
    if (event.body?.['endpoint'] === undefined) return
    test.same(answer?.json, { endpoint: `${controller.endpoint}/acs`, telemetryEndpoint: `${controller.endpoint}/tcs` })
    return
  }
  const ours = answer?.json['containerInstance'] as RegisteredInstance
  test.match(ours.containerInstanceArn, /^arn:aws:ecs:us-east-1:111122223333:container-instance\/demo\/[0-9a-f]{32}$/)
  translations.set('0123456789abcdef0123456789abcdef', ours.containerInstanceArn.split('/')[2] ?? '')
  // The agent exits for good where one attribute that it sent is not echoed with its value.
  for (const { name, value } of instance.attributes) {
    const echoed = ours.attributes.find((attribute) => attribute.name === name)
    test.equal(echoed?.value, value, `attribute ${name}`)
  }
}

interface RegisteredInstance {
  readonly containerInstanceArn: string
  readonly attributes: readonly { readonly name: string; readonly value?: string }[]
}

async function playHandshake(event: RecordedEvent): Promise<void> {
  const path = event.path?.replace('0123456789abcdef0123456789abcdef', translate('0123456789abcdef0123456789abcdef'))
  const frames: Frame[] = []
  const socket = await dial(`${controller.endpoint}${path}`, agentKey, (heard, text) => {
    const frame = parseFrame(text)
    if (frame === undefined) return
    frames.push(frame)
    // Heartbeats follow the controller's own clock, so they are answered as they come.
    if (frame.type === 'HeartbeatMessage' && event.channel === 'acs') {
      sendFrame(heard, 'HeartbeatAckRequest', { messageId: frame.message['messageId'] })
    }
  })
  sockets.set(`${event.channel} ${event.connection}`, { socket, frames })
}

function playFrame(event: RecordedEvent): void {
  if (event.frame?.type === 'HeartbeatAckRequest') return
  const { socket } = socketOf(event)
  // A telemetry frame goes out with its signed header lines, exactly as it was on the wire.
  socket.send(translate(event.text ?? JSON.stringify(event.frame)))
}

async function checkFrame(test: Test, event: RecordedEvent): Promise<void> {
  const type = event.frame?.type ?? ''
  const message = event.frame?.message ?? {}
  if (type === 'PayloadMessage') await operatorActs[actOf(message['tasks'] as readonly PayloadTask[])]?.()
  const { frames } = socketOf(event)
  const heartbeatSeen = frames.some((frame) => frame.type === 'HeartbeatMessage' && takenFrames.has(frame))
  if (type === 'HeartbeatMessage' && heartbeatSeen) return
  if (type === 'PayloadMessage') await gatherPayload(event, message['tasks'] as readonly PayloadTask[])
  const ours = await eventually(`${type} on ${event.channel}`, () =>
    frames.find((frame) => frame.type === type && !takenFrames.has(frame)),
  )
  takenFrames.add(ours)
  if (typeof message['messageId'] === 'string' && type !== 'TaskStopVerificationAck') {
    translations.set(message['messageId'], String(ours.message['messageId']))
  }
  if (type === 'PayloadMessage') checkPayload(test, message, ours.message)
  if (type === 'TaskManifestMessage') test.ok(Number(ours.message['timeline']) > lastSeqNum, 'newer than all before')
  if (type === 'TaskStopVerificationAck') {
    test.match(ours.message, JSON.parse(translate(JSON.stringify({ ...message, generatedAt: Number }))) as object)
  }
}

/** Two tasks that the recorded stub sent in one message may come in two: the first ones are acknowledged here. */
async function gatherPayload(event: RecordedEvent, expected: readonly PayloadTask[]): Promise<void> {
  const { socket, frames } = socketOf(event)
  const payloads = await eventually(`the payload of ${actOf(expected)}`, () => {
    const untaken = frames.filter((frame) => frame.type === 'PayloadMessage' && !takenFrames.has(frame))
    const tasks = untaken.flatMap((frame) => frame.message['tasks'] as readonly PayloadTask[])
    return expected.every(({ family }) => tasks.some((task) => task.family === family)) ? untaken : undefined
  })
  const last = payloads.at(-1)
  if (last === undefined || payloads.length === 1) return
  const tasks = payloads.flatMap((frame) => frame.message['tasks'] as readonly PayloadTask[])
  for (const frame of payloads) {
    takenFrames.add(frame)
    if (frame !== last) sendFrame(socket, 'AckRequest', { cluster: 'demo', messageId: frame.message['messageId'] })
  }
  frames.push({ type: 'PayloadMessage', message: { ...last.message, tasks } })
}

function checkPayload(test: Test, theirs: Frame['message'], ours: Frame['message']): void {
  for (const member of ['clusterArn', 'containerInstanceArn', 'messageId']) test.ok(ours[member], member)
  test.ok(Number(ours['seqNum']) > lastSeqNum, 'sequence numbers only grow')
  lastSeqNum = Number(ours['seqNum'])
  const ourTasks = ours['tasks'] as readonly PayloadTask[]
  for (const expected of theirs['tasks'] as readonly PayloadTask[]) {
    const actual = ourTasks.find((task) => task.family === expected.family)
    test.match(actual?.arn, /^arn:aws:ecs:us-east-1:111122223333:task\/demo\/[0-9a-f]{32}$/)
    test.equal(actual?.gantry, undefined, "nothing of Gantry's own goes to an agent that does not know it")
    const { family, version, desiredStatus, networkMode, launchType, cpu, memory } = expected
    test.match(actual, { family, version, desiredStatus, networkMode, launchType, cpu, memory })
    for (const [index, container] of expected.containers.entries()) {
      checkContainer(test, container, actual?.containers[index])
    }
  }
}

/** The same members as in the recording; Docker's settings, which travel as strings, hold the same JSON. */
function checkContainer(test: Test, theirs: PayloadContainer, ours: PayloadContainer | undefined): void {
  const { containerArn: _theirArn, dockerConfig, environment, ...members } = theirs
  test.match(ours, members, theirs.name)
  test.match(ours?.environment, environment)
  test.same(JSON.parse(ours?.dockerConfig.config ?? ''), JSON.parse(dockerConfig.config), 'config')
  test.same(JSON.parse(ours?.dockerConfig.hostConfig ?? ''), JSON.parse(dockerConfig.hostConfig), 'hostConfig')
  const keys = Object.keys(JSON.parse(ours?.overrides ?? '') as object).filter((key) => key !== 'command')
  test.same(keys, [], 'the official agent fails a task whose overrides hold anything but a command')
}

/** The recorded stub closed the sockets; here the agent does, and a task is stopped while it is away. */
async function playClose(event: RecordedEvent): Promise<void> {
  const { socket } = socketOf(event)
  const closed = new Promise((done) => socket.once('close', done))
  socket.close(1000)
  await closed
  if (event.channel === 'acs') await stopTask('44444444444444444444444444444444')
}

function actOf(tasks: readonly PayloadTask[]): string {
  return `${tasks.map(({ family }) => family).join(',')} ${tasks[0]?.desiredStatus}`
}

async function runTasks(families: readonly string[]): Promise<void> {
  for (const family of families) {
    const answer = await operator('RunTask', { cluster: 'demo', taskDefinition: family })
    const [task] = answer.json['tasks'] as readonly { taskArn: string }[]
    if (task === undefined) throw new Error(answer.text)
    const digit = { hello: '1', badentry: '2', noimage: '3', extra: '4' }[family] ?? ''
    translations.set(digit.repeat(32), task.taskArn.split('/')[2] ?? '')
  }
}

async function stopTask(recordedId: string): Promise<void> {
  await operator('StopTask', { cluster: 'demo', task: translate(recordedId) })
}

async function statusOf(recordedId: string): Promise<string | undefined> {
  const answer = await operator('DescribeTasks', { cluster: 'demo', tasks: [translate(recordedId)] })
  return (answer.json['tasks'] as readonly { lastStatus: string }[])[0]?.lastStatus
}

async function operator(operation: string, input: object): Promise<RawAnswer> {
  const answer = await callEcs(controller.endpoint, root, operation, input)
  if (answer.status !== 200) throw new Error(`${operation}: ${answer.text}`)
  return answer
}

async function registerTaskDefinitions(): Promise<void> {
  const common = { image: 'lab/busybox:1', memory: 32, memoryReservation: 16 }
  const serve = ['sh', '-c', 'trap "exit 0" TERM; /bin/busybox httpd -f -p 8080 & wait']
  const task = { cpu: '256', memory: '64', networkMode: 'bridge' }
  const init = { ...common, name: 'init', essential: false, command: ['true'] }
  const web = {
    ...common,
    name: 'web',
    command: serve,
    environment: [{ name: 'GREETING', value: 'hello' }],
    portMappings: [{ containerPort: 8080, hostPort: 0 }],
    dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }],
    stopTimeout: 10,
    dockerLabels: { team: 'web' },
    healthCheck: { command: ['CMD', '/bin/busybox', 'true'], interval: 5, timeout: 2, retries: 3 },
  }
  const app = { ...common, name: 'app' }
  const badEntry = { ...app, entryPoint: ['/no/such/program'], command: ['x'] }
  const noImage = { ...app, image: '127.0.0.1:5000/lab/missing:1', command: ['true'] }
  const extra = { ...app, command: serve, stopTimeout: 10 }
  await operator('RegisterTaskDefinition', { ...task, family: 'hello', containerDefinitions: [init, web] })
  await operator('RegisterTaskDefinition', { ...task, family: 'badentry', containerDefinitions: [badEntry] })
  await operator('RegisterTaskDefinition', { ...task, family: 'noimage', containerDefinitions: [noImage] })
  await operator('RegisterTaskDefinition', { ...task, family: 'extra', containerDefinitions: [extra] })
}

function translate(text: string): string {
  let translated = text
  for (const [from, to] of translations) translated = translated.replaceAll(from, to)
  return translated
}

function socketOf({ channel, connection }: RecordedEvent): { socket: WebSocket; frames: Frame[] } {
  const found = sockets.get(`${channel} ${connection}`)
  if (found === undefined) throw new Error(`the recording uses ${channel} ${connection} before its handshake`)
  return found
}

function sendFrame(socket: WebSocket, type: string, message: object): void {
  socket.send(JSON.stringify({ type, message }))
}

function readRecording(): readonly RecordedEvent[] {
  const text = readFileSync(join(import.meta.dirname, 'official-agent-transcript.json'), 'utf8')
  return (JSON.parse(text) as { events: readonly RecordedEvent[] }).events
}

/** Starts the binary as a plain process (ECS_EXTERNAL, loopback) and runs one task that cannot find its image. */
async function runOfficialAgent(test: Test, binary: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-official-agent-'))
  const child = spawn(binary, [], {
    stdio: 'ignore',
    env: {
      PATH: process.env['PATH'],
      ECS_BACKEND_HOST: controller.endpoint,
      ECS_CLUSTER: 'default',
      ECS_EXTERNAL: 'true',
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: agentKey.accessKeyId,
      AWS_SECRET_ACCESS_KEY: agentKey.secretAccessKey,
      ECS_DATADIR: directory,
      ECS_HOST_DATA_DIR: directory,
      ECS_AUDIT_LOGFILE: join(directory, 'audit.log'),
      ECS_AGENT_CONFIG_FILE_PATH: '/nonexistent',
      ECS_AVAILABLE_LOGGING_DRIVERS: '["json-file","none"]',
      ECS_ENABLE_TASK_CPU_MEM_LIMIT: 'false',
      DOCKER_HOST: process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock',
      NO_PROXY: '*',
    },
  })
  try {
    const container = { name: 'app', image: '127.0.0.1:9/none:1', memory: 32 }
    await operator('RegisterTaskDefinition', { family: 'real', containerDefinitions: [container] })
    const task = await eventually(
      'the official agent to take a task',
      async () => {
        const answer = await callEcs(controller.endpoint, root, 'RunTask', { taskDefinition: 'real' })
        return (answer.json['tasks'] as readonly { taskArn: string }[] | undefined)?.[0]?.taskArn
      },
      30_000,
    )
    const stopped = await eventually(
      'its report',
      async () => {
        const answer = await operator('DescribeTasks', { tasks: [task] })
        const [row] = answer.json['tasks'] as readonly { lastStatus: string }[]
        return row?.lastStatus === 'STOPPED' ? row : undefined
      },
      90_000,
    )
    test.match(stopped, { stopCode: 'TaskFailedToStart', containers: [{ reason: /^CannotPull/ }] })
  } finally {
    child.kill('SIGTERM')
    rmSync(directory, { recursive: true, force: true })
  }
}
