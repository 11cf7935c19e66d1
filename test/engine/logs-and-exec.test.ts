/** Container logs on their way to the controller, and commands in containers, with everything real. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { ExecuteCommandCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { signRequest } from '../../proto/sigv4.ts'
import { startController } from '../support/controller.ts'
import { startDockerd } from '../support/dockerd.ts'
import { startLink } from '../support/cut-link.ts'
import { openDataChannel } from '../support/data-channel.ts'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'

tap.setTimeout(400_000)
const image = await busyboxImage()
const environment = { ECS_CONTAINER_STOP_TIMEOUT: '1s' }
const lab = await startLab({ environment })
const link = await startLink(lab.controller.port)
tap.teardown(async () => {
  link.close()
  await lab.close()
  await removeBusyboxImage()
})
await lab.restartAgent({ options: { endpoint: link.endpoint, environment } })

const awslogs = (options: Record<string, string> = {}) => ({
  logDriver: 'awslogs' as const,
  options: { 'awslogs-group': 'lab', 'awslogs-region': 'us-east-1', 'awslogs-stream-prefix': 'p', ...options },
})
const sh = (script: string): string[] => ['sh', '-c', script]
const sleep = async (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const idOf = (arn: string): string => arn.split('/').at(-1) ?? ''

interface Answer {
  readonly source: string
  readonly logStream?: string
  readonly note?: string
  readonly events: readonly { readonly time: string; readonly text: string }[]
}

const logsOf = async (arn: string, query = ''): Promise<Answer> =>
  (await lab.rest(`/v1/tasks/${idOf(arn)}/logs${query}`)) as unknown as Answer

/** Reads as it comes until `enough` says so; answers the lines. */
async function follow(arn: string, query: string, enough: (lines: readonly string[]) => boolean): Promise<string[]> {
  const url = `${lab.controller.endpoint}/v1/tasks/${idOf(arn)}/logs?follow=true&${query}`
  const { credentials } = lab.controller
  const signed = { method: 'GET', url, headers: {}, credentials, region: 'us-east-1', service: 'ecs', now: Date.now() }
  const aborted = new AbortController()
  const { body } = await fetch(url, { headers: signRequest(signed), signal: aborted.signal })
  const lines: string[] = []
  let rest = ''
  for await (const chunk of body ?? []) {
    const parts = (rest + Buffer.from(chunk as Uint8Array).toString()).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      if (part === '') continue
      const { text, note } = JSON.parse(part) as { text?: string; note?: string }
      lines.push(text ?? `note: ${note}`)
    }
    if (enough(lines)) break
  }
  aborted.abort()
  return lines
}

await tap.test(
  '100,000 lines, each once and in order, through a cut link, a killed agent and a killed controller',
  async (t) => {
    const lines = 100_000
    const script = 'i=0; while [ $i -lt 100 ]; do seq $((i*1000+1)) $((i*1000+1000)); i=$((i+1)); sleep 0.1; done'
    const arn = await lab.run({
      containers: [{ name: 'app', image, command: sh(script), logConfiguration: awslogs() }],
    })
    await lab.reaches(arn, 'RUNNING')
    await sleep(1500)
    link.cut()
    await sleep(1500)
    link.mend()
    await sleep(1500)
    await lab.restartAgent({ options: { endpoint: link.endpoint, environment } })
    await sleep(1500)
    const { port, dataDir } = lab.controller
    await lab.controller.kill9()
    lab.controller = await startController({ port, dataDir })
    await lab.reaches(arn, 'STOPPED')
    const last = await eventually(async () => {
      const { events } = await logsOf(arn, '?tail=1')
      return events[0]?.text === String(lines) ? true : undefined
    }, 'the last line is stored')
    t.ok(last)
    const all = await follow(arn, 'since=0', (got) => got.at(-1) === String(lines))
    t.equal(all.length, lines, 'none is missing, none is there twice')
    t.equal(
      all.findIndex((line, index) => line !== String(index + 1)),
      -1,
      'they are in order',
    )
    const { source, logStream } = await logsOf(arn, '?tail=1')
    t.match({ source, logStream }, { source: 'store', logStream: `p/app/${idOf(arn)}` })
    t.match(await lab.inspect(arn, 'app'), {
      HostConfig: { LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '5' } } },
    })
  },
)

await tap.test('Docker Engine stopped and started again: what it has of the output is stored, once', async (t) => {
  const dockerd = await startDockerd({ liveRestore: true })
  const its = await startLab({ dockerHost: dockerd.host, environment })
  try {
    await busyboxImage(dockerd.host)
    const script =
      'i=0; while [ $i -lt 60 ]; do seq $((i*200+1)) $((i*200+200)); i=$((i+1)); sleep 0.1; done; sleep 600'
    const app = { name: 'app', image, command: sh(script), logConfiguration: awslogs() }
    const arn = await its.run({ networkMode: 'none', containers: [app] })
    await its.reaches(arn, 'RUNNING')
    await sleep(2000)
    await dockerd.terminate()
    await sleep(1000)
    await dockerd.start()
    const { Id } = await its.inspect(arn, 'app')
    const docker = async (): Promise<readonly string[]> => {
      const { text } = await askEngine('GET', `/containers/${Id}/logs?stdout=1`, undefined, dockerd.host)
      return text.match(/\d+(?=\n)/g) ?? []
    }
    const stored = async (): Promise<readonly string[]> => {
      const answer = await its.rest(`/v1/tasks/${idOf(arn)}/logs?since=0`)
      return (answer as unknown as Answer).events.map(({ text }) => text)
    }
    await eventually(
      async () => ((await docker()).at(-1) === '12000' && (await stored()).at(-1) === '12000' ? true : undefined),
      'the last line, on both sides',
    )
    t.same(await stored(), await docker())
  } finally {
    await its.close()
    await dockerd.remove()
  }
})

await tap.test('a flood: memory stays bounded, and what Docker dropped is told in its place', async (t) => {
  const lines = 1_500_000
  const before = residentMiB(lab.agent.pid)
  const beforeController = residentMiB(lab.controller.pid)
  const pad = 'x'.repeat(100)
  // 160 MB in a few seconds; Docker keeps 50 MB.
  const write = `busybox awk 'BEGIN { for (i = 1; i <= ${lines}; i++) print i, "${pad}" }'`
  const script = `${write}; sleep 2; echo the end; sleep 600`
  const arn = await lab.run({
    containers: [{ name: 'app', image, command: sh(script), memory: 64, logConfiguration: awslogs() }],
  })
  await lab.reaches(arn, 'RUNNING')
  let [most, mostOfController] = [0, 0]
  await eventually(
    async () => {
      most = Math.max(most, residentMiB(lab.agent.pid))
      mostOfController = Math.max(mostOfController, residentMiB(lab.controller.pid))
      const { events } = await logsOf(arn, '?tail=1')
      return events[0]?.text === 'the end' ? true : undefined
    },
    'the end of the flood arrives',
    180_000,
  )
  const all = await follow(arn, 'since=0', (got) => got.at(-1) === 'the end')
  const numbers = all.filter((line) => line.endsWith(pad)).map((line) => Number(line.split(' ')[0]))
  const told = all.filter((line) => line.startsWith('[gantry] '))
  const steps = numbers.filter((number, index) => index > 0 && number !== (numbers[index - 1] ?? 0) + 1)
  t.comment(
    `agent ${before} -> ${most} MiB, controller ${beforeController} -> ${mostOfController} MiB; ${numbers.length} of ${lines} lines, ${told.length} losses told`,
  )
  t.ok(
    steps.every((number) => number > 0) && numbers.every((n, i) => i === 0 || n > (numbers[i - 1] ?? 0)),
    'in order, none twice',
  )
  // Four of Docker's five files of 10 MB are always there, with some 190 bytes for each line.
  t.ok(numbers.length > 200_000, `${numbers.length} lines came`)
  t.ok(steps.length <= told.length, 'each gap is told')
  t.ok(most - before < 120, `the agent took ${most - before} MiB more at most`)
  t.ok(
    mostOfController - beforeController < 150,
    `the controller took ${mostOfController - beforeController} MiB more at most`,
  )
  await lab.client.send(new StopTaskCommand({ task: arn }))
})

function residentMiB(pid: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024)
}

await tap.test(
  'events of several lines, long lines and both streams; other drivers are read on their host',
  async (t) => {
    const trace = "printf '2026-01-31 12:00:00 one\\n  at a\\n  at b\\n2026-01-31 12:00:01 two\\n'; sleep 600"
    const long = 'head -c 40000 /dev/zero | tr "\\0" y; echo; echo err >&2; sleep 600'
    const arn = await lab.run({
      containers: [
        {
          name: 'multi',
          image,
          command: sh(trace),
          logConfiguration: awslogs({ 'awslogs-datetime-format': '%Y-%m-%d' }),
        },
        {
          name: 'long',
          image,
          command: sh(`busybox ${long.replace('| tr', '| busybox tr')}`),
          logConfiguration: awslogs(),
        },
        {
          name: 'tty',
          image,
          command: sh('echo in a terminal; sleep 600'),
          pseudoTerminal: true,
          logConfiguration: awslogs(),
        },
        { name: 'plain', image, command: sh('seq 1 30; sleep 600') },
      ],
    })
    await lab.reaches(arn, 'RUNNING')
    const multi = await eventually(async () => {
      const { events } = await logsOf(arn, '?container=multi')
      return events.length === 2 ? events : undefined
    }, 'both events, the last one after its time')
    t.same(
      multi.map(({ text }) => text),
      ['2026-01-31 12:00:00 one\n  at a\n  at b', '2026-01-31 12:00:01 two'],
    )
    const both = await eventually(async () => {
      const { events } = await logsOf(arn, '?container=long')
      return events.length >= 2 ? events : undefined
    }, 'the long line, and the one on stderr')
    t.same(both.map(({ text }) => text).toSorted(), ['err', 'y'.repeat(40_000)], 'whole, also with the other between')
    const tty = await eventually(async () => {
      const { events } = await logsOf(arn, '?container=tty')
      return events.length > 0 ? events : undefined
    }, 'what was said in a terminal')
    t.same(
      tty.map(({ text }) => text),
      ['in a terminal'],
    )
    await lab.says(arn, 'plain', '30\n')
    const plain = await logsOf(arn, '?container=plain&tail=2')
    t.match(plain, { source: 'host', events: [{ text: '29' }, { text: '30' }] })
    t.match(await lab.rest(`/v1/tasks/${idOf(arn)}/logs`), {
      code: 'InvalidParameterException',
      message: /name one of them/,
    })
    const described = JSON.stringify(await lab.describe(arn))
    t.notMatch(described, /in a terminal/, 'output does not show in a Describe answer')

    // When the host begins to follow is not told: lines are written until some have come.
    const heard = { lines: 0 }
    const more = follow(arn, 'container=plain&tail=0', (got) => (heard.lines = got.length) >= 3)
    const id = (await lab.inspect(arn, 'plain')).Id
    let written = 0
    while (heard.lines < 3) {
      await execIn(id, `echo later ${++written} > /proc/1/fd/1`)
      await sleep(100)
    }
    const lines = await more
    const numbers = lines.map((line) => Number(/^later (\d+)$/.exec(line)?.[1]))
    const [first = 0] = numbers
    t.same(
      numbers,
      numbers.map((_, index) => first + index),
      'a log is followed on its host',
    )
    await execIn(id, 'echo last > /proc/1/fd/1')
    await lab.client.send(new StopTaskCommand({ task: arn }))
    await lab.reaches(arn, 'STOPPED')
    t.match(
      await logsOf(arn, '?container=plain&tail=1'),
      { source: 'host', events: [{ text: 'last' }] },
      'of a stopped one too',
    )
  },
)

/** Through the engine's own API, behind the agent's back. */
async function execIn(id: string, script: string): Promise<void> {
  const made = await askEngine('POST', `/containers/${id}/exec`, { Cmd: sh(script), AttachStdout: true })
  const { Id } = JSON.parse(made.text) as { Id: string }
  await askEngine('POST', `/exec/${Id}/start`, { Detach: false })
}

await tap.test('commands', async (suite) => {
  const forever = { image, command: sh('sleep 600') }
  const arn = await lab.run({ containers: [{ name: 'app', ...forever }], run: { enableExecuteCommand: true } })
  const closed = await lab.run({ containers: [{ name: 'app', ...forever }] })
  await lab.reaches(arn, 'RUNNING')
  await lab.reaches(closed, 'RUNNING')
  const { client } = lab

  await suite.test('exit code, both streams, input to its end, and binary bytes', async (t) => {
    const channel = await openDataChannel(client, { task: arn, command: "sh -c 'cat; echo problem >&2; exit 7'" })
    await channel.started
    const bytes = Buffer.from(Array.from({ length: 600_000 }, (_, index) => (index * 7) % 256))
    channel.send(bytes.subarray(0, 200_000))
    channel.send(bytes.subarray(200_000))
    channel.control('StdinEnd')
    t.match(await channel.ended, { exitCode: 7 })
    t.ok(channel.output().equals(bytes), 'all 256 values go through, in order')
    t.equal(channel.errors().toString(), 'problem\n')
    const missing = await openDataChannel(client, { task: arn, command: '/no/such/program' })
    const { exitCode = 0 } = await missing.ended
    t.ok([126, 127].includes(exitCode), `${exitCode}, as the engine's version has it`)
  })

  await suite.test('a terminal: its size, a new size, and ctrl-c', async (t) => {
    const sizes = 'while read line && [ $line != go ]; do busybox stty size; done'
    const command = `sh -c '${sizes}; trap "echo caught; exit 3" INT; echo ready; sleep 60'`
    const channel = await openDataChannel(client, { task: arn, command, tty: true, columns: 91, rows: 33 })
    await channel.started
    const shows = async (text: RegExp, asking: string): Promise<true> =>
      eventually(async () => {
        channel.send(Buffer.from(asking))
        await sleep(200)
        return text.test(channel.output().toString()) ? (true as const) : undefined
      }, `${text}`)
    t.ok(await shows(/33 91/, 'x\r'))
    channel.control('Resize', { columns: 120, rows: 50 })
    t.ok(await shows(/50 120/, 'x\r'))
    channel.send(Buffer.from('go\r'))
    t.ok(await shows(/ready/, ''))
    channel.send(Buffer.from([3]))
    t.match(await channel.ended, { exitCode: 3 })
    t.match(channel.output().toString(), /caught/)
  })

  await suite.test('much output to a reader that takes nothing waits in the container', async (t) => {
    const before = residentMiB(lab.agent.pid) + residentMiB(lab.controller.pid)
    const asked = { task: arn, command: 'busybox yes ' + 'z'.repeat(200), takes: false }
    const channel = await openDataChannel(client, asked)
    await channel.started
    await eventually(
      async () => (channel.output().length >= 200_000 ? true : undefined),
      'what the credit allows comes',
    )
    await sleep(2500)
    const received = channel.output().length
    t.ok(received < 1_000_000, `${received} bytes came, and no more`)
    const after = residentMiB(lab.agent.pid) + residentMiB(lab.controller.pid)
    t.ok(after - before < 60, `agent and controller took ${after - before} MiB more`)
    channel.control('Credit', { bytes: received })
    await eventually(async () => (channel.output().length > received ? true : undefined), 'more comes with credit')
    channel.close()
  })

  await suite.test('two sessions for a container, tokens that are good once, and tasks that allow none', async (t) => {
    const one = await openDataChannel(client, { task: arn, command: 'sleep 60' })
    const two = await openDataChannel(client, { task: arn, command: 'sleep 60' })
    await Promise.all([one.started, two.started])
    await t.rejects(openDataChannel(client, { task: arn, command: 'true' }), { name: 'ClientException' })
    const commands = async (): Promise<number> => (await processesIn(arn)).filter((args) => args === 'sleep 60').length
    await eventually(async () => ((await commands()) === 2 ? true : undefined), 'both commands run')
    one.close()
    two.close()
    await eventually(async () => ((await commands()) === 0 ? true : undefined), 'what nobody is attached to is ended')
    await t.rejects(client.send(new ExecuteCommandCommand({ task: closed, command: 'ls', interactive: true })), {
      name: 'InvalidParameterException',
      message: /execute command was not enabled/,
    })
    t.match(await lab.describe(arn), {
      enableExecuteCommand: true,
      containers: [{ managedAgents: [{ name: 'ExecuteCommandAgent', lastStatus: 'RUNNING' }] }],
    })
    t.match(lab.controller.output(), /"program":"sleep","words":2,.*a session was opened/, 'who ran what is in the log')
    t.notMatch(lab.controller.output(), 'sleep 60', 'and not with which words: a password may be among them')
  })

  await suite.test("the client in a terminal: raw mode, the terminal's size, the command's exit code", async (t) => {
    const untilSized = 'until busybox stty size | busybox grep -q "33 91"; do sleep 0.1; done; echo sized; exit 9'
    const inTerminal = await gantry(['exec', arn, '--', 'sh', '-c', untilSized], 'terminal')
    t.match(inTerminal, { code: 9, output: /sized/ })
    const piped = await gantry(['exec', idOf(arn), '--container', 'app', '--', 'cat'], 'pipe', 'through the pipe')
    t.match(piped, { code: 0, output: 'through the pipe' })
    t.match(await gantry(['exec', closed, '--', 'ls'], 'pipe'), { code: 125, output: /was not enabled/ })
    t.match(await gantry(['logs', arn, '--tail', '5', '--nope'], 'pipe'), { code: 2, output: /no option --nope/ })
    const shown = await lab.run({ containers: [{ name: 'app', image, command: sh('seq 1 20; sleep 600') }] })
    await lab.reaches(shown, 'RUNNING')
    await lab.says(shown, 'app', '20\n')
    t.match(await gantry(['logs', shown, '--tail', '2'], 'pipe'), { code: 0, output: '19\n20\n' })
    t.match(
      (await gantry(['logs', shown, '-n', '1', '--json'], 'pipe')).output,
      /^\{"time":"20[^"]*Z","text":"20"\}\n$/,
    )
    await lab.client.send(new StopTaskCommand({ task: shown }))
  })

  await suite.test('a session that loses its agent says so, and the next agent ends its command', async (t) => {
    const channel = await openDataChannel(client, { task: arn, command: 'sleep 61' })
    await channel.started
    await lab.restartAgent({ options: { endpoint: link.endpoint, environment } })
    t.match(await channel.ended, { reason: /connection to the container's host was lost/ })
    await eventually(
      async () => ((await processesIn(arn)).includes('sleep 61') ? undefined : true),
      'the command that the killed agent left is ended',
    )
  })
  for (const task of [arn, closed]) await client.send(new StopTaskCommand({ task }))
})

async function processesIn(arn: string): Promise<readonly string[]> {
  const { Id } = await lab.inspect(arn, 'app')
  const { text } = await askEngine('GET', `/containers/${Id}/top?ps_args=-eo%20pid,args`)
  return (JSON.parse(text) as { Processes: string[][] }).Processes.map((columns) => columns.slice(1).join(' '))
}

/** The client as a process, in a pseudo-terminal of 91 columns and 33 rows, or with pipes. */
async function gantry(
  args: readonly string[],
  where: 'terminal' | 'pipe',
  input = '',
): Promise<{ readonly code: number; readonly output: string }> {
  const client = new URL('../../cli/main.ts', import.meta.url).pathname
  const quoted = [process.execPath, client, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  const [program, given] =
    where === 'pipe'
      ? [process.execPath, [client, ...args]]
      : ['script', ['-qec', `stty cols 91 rows 33; ${quoted}`, '/dev/null']]
  const { accessKeyId, secretAccessKey } = lab.controller.credentials
  const env = {
    PATH: process.env['PATH'],
    AWS_ENDPOINT_URL_ECS: lab.controller.endpoint,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  }
  return new Promise((resolve) => {
    const child = execFile(program, given, { env, timeout: 120_000 }, (error, stdout, stderr) => {
      const { code } = (error ?? {}) as { code?: number | null }
      resolve({ code: code ?? (error === null ? 0 : -1), output: `${stdout}${stderr}` })
    })
    if (where === 'pipe') child.stdin?.end(input)
  })
}
