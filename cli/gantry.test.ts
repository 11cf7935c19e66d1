/** What the command reads, where it finds the controller and the keys, and what it prints. */
import { spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import tap from 'tap'
import { readArguments, readSince } from './arguments.ts'
import { openController } from './controller.ts'
import { runHosts } from './hosts.ts'
import { readHostsArguments } from './hosts-arguments.ts'
import { showLogs } from './logs.ts'

await tap.test('the command line', async (t) => {
  t.match(readArguments(['logs', 'abc', '-f', '--tail=5', '-c', 'app', '--since', '10m']), {
    name: 'logs',
    task: 'abc',
    follow: true,
    tail: 5,
    container: 'app',
    since: '10m',
  })
  t.match(readArguments(['exec', 'abc', '--no-tty', '--', 'ls', '-la', '--']), {
    name: 'exec',
    task: 'abc',
    tty: false,
    words: ['ls', '-la', '--'],
  })
  const cases: readonly [readonly string[], RegExp][] = [
    [['run', 'abc'], /there is no command "run"/],
    [['logs'], /the task is missing/],
    [['logs', 'abc', 'def'], /"def" is one too many/],
    [['exec', 'abc', 'ls'], /"ls" is one too many: the command to run comes after --/],
    [['exec', 'abc'], /the command to run is missing/],
    [['logs', 'abc', '--', 'x'], /logs takes nothing after --/],
    [['logs', 'abc', '--tty'], /logs has no option --tty/],
    [['exec', 'abc', '--follow', '--', 'x'], /exec has no option --follow/],
    [['logs', 'abc', '--tail', 'many'], /--tail takes a number/],
    [['logs', 'abc', '--container'], /--container needs a value/],
  ]
  for (const [given, message] of cases) t.throws(() => readArguments(given), { message })
  const now = Date.parse('2026-01-31T12:00:00Z')
  t.equal(readSince('10m', now), now - 600_000)
  t.equal(readSince('2026-01-31T11:00:00Z', now), now - 3_600_000)
  t.throws(() => readSince('yesterday', now), { message: /give 10m, 2h, 1d/ })
})

function answerTo(...words: readonly string[]): readonly [number | null, string, string] {
  const { status, stdout, stderr } = spawnSync(join(import.meta.dirname, 'gantry'), words, {
    encoding: 'utf8',
    timeout: 20_000,
  })
  return [status, stdout, stderr]
}

await tap.test('who asks for help gets it, and nothing is done', async (t) => {
  t.match(answerTo('agent', '--help'), [0, /^usage: gantry agent/, ''])
  t.match(answerTo('agent', 'status'), [2, '', /agent takes no arguments, and "status" is one\nusage: gantry agent/])
  t.match(answerTo('join-token', '--help'), [0, /^usage: gantry join-token/, /^$/])
  t.match(answerTo('hosts', 'revoke', '-h'), [0, /^usage: gantry join-token/, /^$/])
  t.match(answerTo('host'), [2, '', /there is no command "host"[^]*gantry logs[^]*gantry hosts revoke/])
})

await tap.test('keys and address: as the aws command, or in the directory of npm start', async (t) => {
  const home = t.testdir({
    controller: { 'root-credentials': '[default]\naws_access_key_id = HOME\naws_secret_access_key = s\n' },
    shared:
      '[default]\naws_access_key_id = SHARED\naws_secret_access_key = s\n[lab]\naws_access_key_id = LAB\naws_secret_access_key = s\n',
  })
  const seen: string[] = []
  const server = createServer((request, response) => {
    seen.push(/Credential=([A-Z]+)\//.exec(String(request.headers.authorization))?.[1] ?? 'none')
    response.end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const keys = { AWS_ACCESS_KEY_ID: 'ENV', AWS_SECRET_ACCESS_KEY: 's' }
  const shared = { AWS_SHARED_CREDENTIALS_FILE: join(home, 'shared') }
  const none = { endpointUrl: undefined, region: undefined, profile: undefined }
  const ask = async (given: Partial<typeof none> | { profile?: string; endpointUrl?: string }, env: object) =>
    openController({ ...none, ...given }, { AWS_ENDPOINT_URL: url, ...env }).get('/')
  await ask({}, { ...keys, ...shared, GANTRY_HOME: home })
  await ask({}, { ...shared, GANTRY_HOME: home })
  await ask({ profile: 'lab' }, { ...keys, ...shared })
  await ask({}, { ...shared, AWS_PROFILE: 'lab' })
  await ask({}, { GANTRY_HOME: home })
  await ask({ endpointUrl: `${url}/` }, { ...keys, AWS_ENDPOINT_URL_ECS: 'http://127.0.0.1:9' })
  t.same(seen, ['ENV', 'SHARED', 'LAB', 'LAB', 'HOME', 'ENV'])
  await t.rejects(ask({ endpointUrl: 'http://127.0.0.1:9' }, keys), { message: /can't be reached: .*Is it running/ })
  t.throws(() => openController({ ...none, profile: 'nope' }, { ...shared }), {
    message: /No keys were found for the profile nope/,
  })
})

await tap.test('lines are printed plain, with times, as JSON, and as they come', async (t) => {
  const one = { time: '2026-01-31T12:00:00.000Z', text: 'eins' }
  const asked: string[] = []
  const controller = {
    endpoint: '',
    call: async () => ({}),
    async get(path: string) {
      asked.push(path)
      return { events: [one], note: 'and that is all' }
    },
    async open() {
      const bytes = new TextEncoder().encode(`${JSON.stringify({ ...one, text: 'zwölf' })}\n\n{"note":"over"}\n`)
      return new ReadableStream<Uint8Array>({
        start(stream) {
          for (const byte of bytes) stream.enqueue(Uint8Array.of(byte))
          stream.close()
        },
      })
    },
  }
  const shown = async (...options: string[]): Promise<string> => {
    let text = ''
    const write = async (part: string): Promise<void> => void (text += part)
    const note = async (part: string): Promise<void> => void (text += `note: ${part}`)
    await showLogs(readArguments(['logs', 'a/b', ...options]), controller, write, note)
    return text
  }
  t.equal(await shown('--container', 'app'), 'eins\nnote: and that is all\n')
  t.same(asked, ['/v1/tasks/a%2Fb/logs?container=app'])
  t.match(await shown('--timestamps'), /^2026-01-31T12:00:00.000Z eins\n/)
  t.match(await shown('--json'), /^\{"time":"2026-01-31T12:00:00.000Z","text":"eins"\}\n/)
  t.equal(await shown('--follow'), 'zwölf\nnote: over\n')
})

await tap.test('join-token and hosts: what is asked, and what is called for it', async (t) => {
  t.match(readHostsArguments(['join-token', '--cluster', 'lab', '--expires=90m', '--address', '10.0.0.7']), {
    name: 'make-token',
    cluster: 'lab',
    expiresInSeconds: 5400,
    bindAddress: '10.0.0.7',
  })
  const cases: readonly [readonly string[], RegExp][] = [
    [['join-token', 'lab'], /"lab" is one too many/],
    [['join-token', '--expires', '30s'], /--expires takes 60s to 7d/],
    [['join-token', '--expires', '8d'], /--expires takes 60s to 7d/],
    [['join-token', '--list', '--cluster', 'lab'], /stand alone, without --cluster/],
    [['join-token', '--follow'], /join-token has no option --follow/],
    [['hosts', 'revoke'], /the host is missing/],
    [['hosts', 'drop', 'h'], /hosts knows revoke, forget and events/],
    [['hosts', 'revoke', 'h', 'i'], /"i" is one too many/],
  ]
  for (const [given, message] of cases) t.throws(() => readHostsArguments(given), { message })

  const called: unknown[] = []
  const host = {
    hostId: 'host-1',
    name: 'one',
    cluster: 'lab',
    status: 'ACTIVE',
    lastSeenAt: 'now',
    lastAddress: 'here',
  }
  const controller = {
    endpoint: '',
    call: async () => ({}),
    get: async (path: string) => {
      called.push(path)
      return path.includes('nextToken') ? { hosts: [{ ...host, name: 'two' }] } : { hosts: [host], nextToken: 'a b' }
    },
    send: async (...asked: readonly unknown[]) => {
      called.push(asked)
      return { ...host, line: 'the line', tokenId: 'abc', expiresAt: 'tonight' }
    },
    open: async () => new ReadableStream<Uint8Array>(),
  }
  let written = ''
  const run = (...given: string[]) =>
    runHosts(readHostsArguments(given), controller, async (text) => {
      written += text
    })
  await run('hosts', '--cluster', 'lab')
  t.match(written, /^HOST +NAME.*\nhost-1 +one +lab +away.*\nhost-1 +two/)
  await run('hosts', 'revoke', 'host-1')
  await run('join-token', '--delete', 't')
  written = ''
  await run('join-token')
  t.match(written, /\n {2}the line\n.*until tonight.*--delete abc\n$/s)
  await run('join-token', '--instance', 'i')
  t.match(written, /goes on as i\. If it has joined before, write --replace at the end of its line\.\n$/)
  t.same(called, [
    '/v1/hosts?cluster=lab',
    '/v1/hosts?cluster=lab&nextToken=a%20b',
    ['POST', '/v1/hosts/host-1/revoke'],
    ['DELETE', '/v1/join-tokens/t'],
    ['POST', '/v1/join-tokens', {}],
    ['POST', '/v1/join-tokens', { containerInstance: 'i' }],
  ])
})
