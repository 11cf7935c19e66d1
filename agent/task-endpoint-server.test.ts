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
