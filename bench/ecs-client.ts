/** Signed ECS calls over kept-alive connections: as little client as there can be, so that the server is measured. */
import { Agent, request } from 'node:http'
import { Agent as SecureAgent, request as secureRequest } from 'node:https'
import { signRequest } from '../proto/sigv4.ts'
import type { Input, OperationName, Output } from '../proto/model/types.ts'

export interface ClientKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface EcsClient {
  /** Throws with the answer's text where it is no 200. */
  call<Op extends OperationName>(operation: Op, input: Input<Op>): Promise<Output<Op>>
  close(): void
}

/** By TLS where the endpoint says so; whom to trust is the process's own to know (NODE_EXTRA_CA_CERTS). */
export function ecsClient(endpoint: string, credentials: ClientKey, connectionsMax: number): EcsClient {
  const url = `${endpoint}/`
  const { hostname, port, protocol } = new URL(endpoint)
  const isSecure = protocol === 'https:'
  const connections = { keepAlive: true, maxSockets: connectionsMax }
  const agent = isSecure ? new SecureAgent(connections) : new Agent(connections)
  const post = async (operation: string, body: string): Promise<string> => {
    const headers = signRequest({
      method: 'POST',
      url,
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': `AmazonEC2ContainerServiceV20141113.${operation}`,
      },
      body,
      credentials,
      region: 'us-east-1',
      service: 'ecs',
      now: Date.now(),
    })
    return new Promise((resolve, reject) => {
      const open = isSecure ? secureRequest : request
      const outgoing = open({ agent, hostname, port, method: 'POST', path: '/', headers }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          if (answer.statusCode === 200) resolve(text)
          else reject(new Error(`${operation} was answered ${answer.statusCode}: ${text.slice(0, 500)}`))
        })
      })
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }
  return {
    async call<Op extends OperationName>(operation: Op, input: Input<Op>): Promise<Output<Op>> {
      return JSON.parse(await post(operation, JSON.stringify(input))) as Output<Op>
    },
    close: () => agent.destroy(),
  }
}
