import { type AddressInfo, connect, type Socket } from 'node:net'
import tap from 'tap'
import { createEndpointServer } from './task-endpoint-server.ts'

const answered = async (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    let text = ''
    socket.on('data', (chunk: Buffer) => resolve((text += chunk.toString())))
    socket.on('error', () => resolve(text))
    socket.on('close', () => resolve(text))
    socket.write('GET /v4/x HTTP/1.1\r\nhost: x\r\n\r\n')
  })

await tap.test('a connection that asks a lot and reads nothing is ended', async (t) => {
  const asked: string[] = []
  const answers = Promise.withResolvers<{ status: number; body: object }>()
  const server = createEndpointServer({
    rate: { perSecond: 10_000, burst: 10_000 },
    answer: async ({ path }) => {
      asked.push(path)
      return answers.promise
    },
    now: () => 0,
    onError: (error) => t.error(error),
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const ask = (times: number): { readonly socket: Socket; readonly end: Promise<string> } => {
    const socket = connect({ port, host: '127.0.0.1' })
    t.teardown(() => socket.destroy())
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.on('error', () => undefined)
    socket.write('GET /v4/x HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(times))
    return { socket, end: new Promise((resolve) => socket.on('close', () => resolve(text))) }
  }
  t.teardown(() => server.close())
  t.equal(await ask(1000).end, '', 'it gets no answer')
  t.ok(asked.length <= 128, 'and few of its requests were looked at')
  const some = ask(120)
  answers.resolve({ status: 200, body: {} })
  let text = ''
  await new Promise<void>((resolve) => {
    some.socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      if (text.split('HTTP/1.1 200').length === 121) resolve()
    })
  })
  t.pass('as many as the rate lets through in one go are answered')
})

await tap.test('no container takes all connections of the task endpoint', async (t) => {
  const server = createEndpointServer({
    rate: { perSecond: 100, burst: 100 },
    answer: async () => ({ status: 200, body: {} }),
    now: () => 0,
    onError: (error) => t.error(error),
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const { port } = server.address() as AddressInfo
  const sockets: Socket[] = []
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const open = async (localAddress: string): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress }, () => resolve(socket))
      socket.on('error', reject)
      sockets.push(socket)
    })
  await Promise.all(Array.from({ length: 200 }, () => open('127.0.0.2')))
  t.equal(await answered(await open('127.0.0.2')), '', 'one more of the same address is cut off')
  t.match(await answered(await open('127.0.0.3')), /^HTTP\/1\.1 200/, 'another is answered')
  for (const socket of sockets.splice(0)) socket.destroy()
  let again = ''
  for (let tries = 0; again === '' && tries < 100; tries += 1) again = await answered(await open('127.0.0.2'))
  t.match(again, /^HTTP\/1\.1 200/, 'and so is the first one, once it has let go')
})
