/** The log against planted secrets, the configuration against wrong values, the metrics' text. */
import { spawnSync } from 'node:child_process'
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { aContainer, aState, aTask, anInstance } from '../test/support/builders.ts'
import { readConfig } from './config.ts'
import { loadCredentials } from './credentials.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { logTransitions } from './transitions.ts'

await t.test('a planted secret never reaches the log, wherever it stands', (test) => {
  const secret = 'planted-secret-0123456789'
  const lines: string[] = []
  const log = createLog('trace', { write: (line) => void lines.push(line) })
  const payload = {
    tasks: [
      {
        containers: [
          {
            name: 'web',
            environment: { DB_PASSWORD: secret },
            dockerConfig: { config: `{"Env":["X=${secret}"]}`, hostConfig: '{}' },
            registryAuthentication: { asmAuthData: secret },
          },
        ],
        roleCredentials: { secretAccessKey: secret, sessionToken: secret },
      },
    ],
  }
  log.info({ payload }, 'sent')
  log.info({ headers: { Authorization: secret, 'x-amz-security-token': secret, Cookie: secret } }, 'headers')
  log.info({ credentials: { accessKeyId: 'id', secretAccessKey: secret } }, 'key')
  log.info({ env: { ECS_ENGINE_AUTH_DATA: secret }, password: secret, auth: secret }, 'registry')
  log.warn({ err: new Error(`refused: aws_secret_access_key = ${secret}`) }, 'an error that quotes')
  log.warn({ err: Object.assign(new Error('x'), { config: { password: secret } }) }, 'an error with members')
  log.error(`GET /?X-Amz-Signature=${secret}&X-Amz-Security-Token=${secret}`)
  log
    .child({ task: 'arn', password: secret })
    .child({ instance: 'i', secrets: [secret] })
    .info('from a child')
  log.info({ deep: { a: { b: { c: { d: { e: { f: { g: { h: { i: secret } } } } } } } } } }, 'too deep to know')
  log.info({ lastLogLines: [secret] }, 'container output is not ours to log')

  test.equal(lines.length, 10, 'every line was written')
  for (const line of lines) test.notMatch(line, secret, (JSON.parse(line) as { msg: string }).msg)
  test.match(lines[0], /"name":"web"/, 'what is no secret is there')
  test.match(JSON.parse(lines[7] ?? ''), { task: 'arn', instance: 'i', program: 'gantry-controller' })
  test.end()
})

await t.test('the configuration reads its defaults, and refuses what is wrong by name', (test) => {
  const { config } = readConfig({})
  test.match(config, { listen: { host: '127.0.0.1', port: 51700 }, region: 'us-east-1', account: '123456789012' })
  test.equal(config.stoppedTaskRetentionMs, 7 * 24 * 3_600_000)
  test.equal(config.advertise, undefined)
  const { config: given, unknownVariables } = readConfig({
    GANTRY_LISTEN: '[::1]:80',
    GANTRY_ADVERTISE: 'http://10.0.0.5:51700/',
    GANTRY_LISTNE: 'x',
  })
  test.same(given.listen, { host: '::1', port: 80 })
  test.equal(given.advertise, 'http://10.0.0.5:51700')
  test.same(unknownVariables, ['GANTRY_LISTNE'], 'a mistyped name is noticed')
  const wrong = {
    GANTRY_LISTEN: 'nowhere',
    GANTRY_ADVERTISE: 'ftp://x',
    GANTRY_ACCOUNT: '12',
    GANTRY_REGION: 'here',
    GANTRY_LOG_LEVEL: 'loud',
    GANTRY_STOPPED_TASK_RETENTION_HOURS: '-1',
  }
  for (const [name, value] of Object.entries(wrong)) {
    test.throws(() => readConfig({ [name]: value }), {
      name: 'ConfigError',
      message: new RegExp(`^${name}=.*it takes`),
    })
  }
  test.end()
})

await t.test('credentials are made once, adopted, and refused where others can read them', async (test) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-credentials-'))
  test.teardown(() => rmSync(directory, { recursive: true }))
  const made = await loadCredentials(directory)
  test.equal(statSync(join(directory, 'root-credentials')).mode & 0o777, 0o600)
  test.equal(statSync(join(directory, 'agent-credentials')).mode & 0o777, 0o600)
  test.same(await loadCredentials(directory), made, 'the next start adopts them')
  test.not(made.root.accessKeyId, made.agent.accessKeyId)
  chmodSync(join(directory, 'agent-credentials'), 0o640)
  await test.rejects(loadCredentials(directory), /agent-credentials has mode 0640.*chmod 600/)
  chmodSync(join(directory, 'agent-credentials'), 0o600)
  writeFileSync(join(directory, 'agent-credentials'), '[other]\naws_access_key_id = x\n')
  await test.rejects(loadCredentials(directory), /no aws_access_key_id and aws_secret_access_key under \[default\]/)
  writeFileSync(join(directory, 'agent-credentials'), readFileSync(join(directory, 'root-credentials')))
  await test.rejects(loadCredentials(directory), /the same access key id/)
})

await t.test('metrics are written as Prometheus reads them', (test) => {
  const metrics = createMetrics()
  metrics.counter('calls_total', 'Calls.')
  metrics.count('calls_total', { operation: 'RunTask', code: 'a"b\\c' })
  metrics.count('calls_total', { operation: 'RunTask', code: 'a"b\\c' })
  metrics.gauge('tasks', 'Tasks.', () => [{ labels: {}, value: 3 }])
  test.equal(
    metrics.write(),
    '# HELP calls_total Calls.\n# TYPE calls_total counter\n' +
      'calls_total{operation="RunTask",code="a\\"b\\\\c"} 2\n' +
      '# HELP tasks Tasks.\n# TYPE tasks gauge\ntasks 3\n',
  )
  for (let index = 0; index < 3000; index += 1) metrics.count('calls_total', { operation: `op-${index}` })
  test.ok(metrics.write().split('\n').length < 1100, 'label sets are bounded')
  test.end()
})

await t.test('moves are told once each, bound to their task, instance and turn', (test) => {
  const lines: Record<string, unknown>[] = []
  const log = createLog('info', { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) })
  const instance = anInstance()
  const task = aTask({ instanceId: instance.instanceId })
  const state = aState({ instance: [instance], task: [task] })
  const ended = {
    ...task,
    lastStatus: 'STOPPED',
    desiredStatus: 'STOPPED',
    stopCode: 'EssentialContainerExited',
  } as const
  const overlay = state.begin()
  const container = aContainer({ lastStatus: 'STOPPED', exitCode: 3 })
  overlay.put('task', task.taskId, { ...ended, containers: [container] })
  overlay.put('instance', instance.instanceId, { ...instance, agentConnected: false, seqNum: 9 })
  const placed = aTask({ instanceId: instance.instanceId })
  overlay.put('task', placed.taskId, placed)

  logTransitions(log, overlay.changes(), 7)

  const bound = { turn: 7, instance: instance.instanceId }
  const byMessage = new Map(lines.map((line) => [line['msg'], line]))
  test.equal(lines.length, 3)
  test.match(byMessage.get('task status'), {
    ...bound,
    task: task.taskArn,
    from: 'PENDING',
    to: 'STOPPED',
    exitCodes: { app: 3 },
  })
  test.match(byMessage.get('task placed'), { ...bound, task: placed.taskArn, group: 'family:web' })
  test.match(byMessage.get('agent disconnected; its tasks are shown as they were last known'), {
    ...bound,
    level: 'warn',
  })
  lines.length = 0
  logTransitions(log, [{ table: 'instance', key: 'x', before: instance, row: { ...instance, seqNum: 10 } }], 8)
  test.equal(lines.length, 0, 'a change that is no move is not told')
  test.end()
})

await t.test('a full disk behind the log costs lines, and never the program', (test) => {
  const log = new URL('./log.ts', import.meta.url).href
  const program = `const { createLog } = await import('${log}')
    const log = createLog('info')
    for (let line = 0; line < 10; line += 1) log.info({ line }, 'one more')
    log.fatal('the last')
    setTimeout(() => process.exit(7), 20)`
  const full = openSync('/dev/full', 'w')
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', full, 'inherit'],
    timeout: 20_000,
  })
  closeSync(full)
  test.equal(status, 7, 'it goes on to its own end')
  test.end()
})
