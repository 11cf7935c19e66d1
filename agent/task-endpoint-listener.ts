/**
 * Run by `task-endpoint-socket.ts` in a network namespace of its own, for a moment: a socket belongs to the namespace in
 * which it was made, and Node can't change its own. It makes the listening socket, hands it to the agent and ends.
 */
import { createServer } from 'node:net'

const [address = '', port = ''] = process.argv.slice(2)

process.once('message', () => {
  const server = createServer()
  server.once('error', (error) => process.send?.({ problem: error.message }, () => process.disconnect?.()))
  server.listen({ host: address, port: Number(port) }, () => {
    process.send?.({ listening: true }, server, {}, () => {
      // The agent has one of its own; without this one and without the channel nothing is left to wait for.
      server.close()
      process.disconnect?.()
    })
  })
})
process.send?.({ ready: true })
