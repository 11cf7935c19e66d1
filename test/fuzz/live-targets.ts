/**
 * A running controller under hostile input: calls that are signed rightly and say anything, bytes that are no HTTP and no
 * TLS, frames that are none. It must answer below 500, in time, log no error, stay alive and stay small.
 */
import * as fc from 'fast-check'
import { request as httpRequest } from 'node:http'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { signRequest } from '../../proto/sigv4.ts'
import { models } from '../../proto/model/model.ts'
import { dial } from '../support/agent-peer.ts'
import { agentMessages, frames, telemetryMessages } from './channel-targets.ts'
import { formText } from './codec-targets.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { corrupted, hostileJson, hostileText, mutated, mutatedBytes } from './hostile.ts'
import {
  type LiveController,
  liveController,
  requireWell,
  startLiveController,
  stopLiveController,
} from './live-controller.ts'
import { modelValues } from './model-values.ts'

const answerMs = 30_000

interface Call {
  readonly method: string
  readonly path: string
  readonly contentType: string
  readonly target?: string | undefined
  readonly body: string
  readonly service: string
  readonly isSigned: boolean
}

/** Names that calls succeed with, so that one finds what another made. */
const plausible = [
  'default',
  'a',
  'web',
  'arn:aws:ecs:us-east-1:123456789012:cluster/default',
  'arn:aws:iam::123456789012:role/a',
  '/a/b',
  '256',
  'RUNNING',
  'busybox',
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
]

/** Operations of every service with values near their shapes, and any path of the operators' API. */
function calls(): fc.Arbitrary<Call> {
  const isSigned = fc.integer({ min: 0, max: 9 }).map((times) => times > 0)
  const operations = Object.entries(models).flatMap(([service, model]) => {
    const values = modelValues(model, fc.constantFrom(...plausible))
    const { targetPrefix, protocol } = model.service
    return Object.entries(model.operations).map(([operation, { input }]) => {
      const isForm = protocol === 'aws.protocols#awsQuery'
      const body: fc.Arbitrary<string> = isForm
        ? mutated(values(input).map((value) => formText({ service, operation }, value)))
        : fc.oneof(values(input), corrupted(values(input))).map((value) => JSON.stringify(value))
      return fc.record({
        method: fc.constant('POST'),
        path: fc.constant('/'),
        contentType: fc.constant(isForm ? 'application/x-www-form-urlencoded' : 'application/x-amz-json-1.1'),
        target: fc.constant(isForm ? undefined : `${targetPrefix}.${operation}`),
        body,
        service: fc.constant(service),
        isSigned,
      })
    })
  })
  const rest = fc.record({
    method: fc.constantFrom('GET', 'POST', 'PATCH', 'PUT', 'DELETE'),
    // Which route it is, and what its parts are: told apart once the controller is there.
    path: fc
      .tuple(fc.nat({ max: 999 }), hostileText(['default', '?limit=1', '&nextToken=a']))
      .map((parts) => parts.join(' ')),
    contentType: fc.constant('application/json'),
    body: fc.oneof(
      fc.constant(''),
      hostileJson().map((value) => JSON.stringify(value)),
    ),
    service: fc.constant('ecs'),
    isSigned,
  })
  return fc.oneof({ arbitrary: fc.oneof(...operations), weight: 3 }, { arbitrary: rest, weight: 1 })
}

/** The path of a route with the text in the place of its parts. */
function routed({ routes }: LiveController, call: Call): Call {
  const [, index, text = ''] = /^(\d+) (.*)$/s.exec(call.path) ?? []
  if (index === undefined) return call
  const route = routes[Number(index) % routes.length]
  if (route === undefined) return call
  const part = encodeURIComponent(text.slice(0, 3000).toWellFormed())
  const path = /\{\w+\}/.test(route.path) ? route.path.replaceAll(/\{\w+\}/g, part) : `${route.path}?a=${part}`
  return { ...call, path, method: route.method }
}

export const httpRequests = fuzzTarget<Call>({
  name: 'live-calls',
  share: 2,
  values: calls,
  async judge(given) {
    const controller = await liveController()
    const call = routed(controller, given)
    const status = await answered(controller, call)
    if (status >= 500) throw new Error(`${call.method} ${call.path} ${call.target ?? ''} was answered with ${status}.`)
    await requireWell(controller)
    return status < 400
  },
  prepare: startLiveController,
  close: stopLiveController,
})

/** The status of the answer; a stream that doesn't end is left once it has begun. */
function answered({ running }: LiveController, call: Call): Promise<number> {
  const url = `${running.endpoint}${call.path}`
  const body = Buffer.from(call.body.toWellFormed())
  const plain = {
    'content-type': call.contentType,
    host: new URL(url).host,
    ...(call.target !== undefined && { 'x-amz-target': call.target }),
  }
  const headers = call.isSigned
    ? signRequest({
        method: call.method,
        url,
        headers: plain,
        body,
        credentials: running.credentials,
        region: 'us-east-1',
        service: call.service,
        now: Date.now(),
      })
    : plain
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      { host: '127.0.0.1', port: running.port, method: call.method, path: call.path, headers, timeout: answerMs },
      (response) => {
        resolve(response.statusCode ?? 0)
        response.on('error', () => undefined)
        response.on('data', () => undefined)
        // Long enough for an answer that ends, and too long for none.
        setTimeout(() => asked.destroy(), 20).unref()
      },
    )
    asked.on('timeout', () => asked.destroy(new Error(`It was not answered within ${answerMs} ms.`)))
    asked.on('error', reject)
    asked.end(body)
  })
}

const http = [
  'POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.ListTasks\r\nContent-Length: 2\r\n\r\n{}',
  'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n5\r\nActio\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'GET /v1/tasks?cluster=default&limit=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  'GET /?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256 HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET /acs/ws?containerInstanceArn=a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n',
  'GET /v1/data-channels/a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n\u0081\u0080abcd',
  'POST /v1/join HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"token":"a.b.c"}',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\n\r\n',
  'GET http://169.254.169.254/ HTTP/1.1\r\nHost: a\r\n\r\n',
  'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n',
  `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(200)}\r\n`,
  '\u0016\u0003\u0001\u0000\u00a5\u0001\u0000\u0000\u00a1\u0003\u0003',
  '',
]

interface Bytes {
  readonly how: 'http' | 'tls' | 'inside-tls'
  readonly bytes: Buffer
}

export const rawBytes = fuzzTarget<Bytes>({
  name: 'live-bytes',
  share: 1,
  values: () =>
    fc.record({
      how: fc.constantFrom('http', 'http', 'tls', 'inside-tls'),
      bytes: fc.oneof(
        { arbitrary: mutatedBytes(fc.constantFrom(...http)), weight: 4 },
        { arbitrary: mutatedBytes(mutated(fc.constantFrom(...http), ['\r\n', 'Host: a\r\n'])), weight: 4 },
        { arbitrary: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)), weight: 1 },
      ),
    }),
  async judge({ how, bytes }) {
    const controller = await liveController()
    const { running, tlsPort } = controller
    const port = how === 'http' ? running.port : tlsPort
    const socket =
      how === 'inside-tls'
        ? connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false })
        : connectTcp({ host: '127.0.0.1', port })
    const text = await heardOf(socket, bytes, how === 'inside-tls' ? 'secureConnect' : 'connect')
    const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]
    if (status !== undefined && Number(status) >= 500) throw new Error(`It was answered with ${status}: ${text}`)
    await requireWell(controller)
    return text !== ''
  },
  prepare: startLiveController,
  close: stopLiveController,
})

/** Sends, and hears what comes until there is an answer, an end, or nothing for a moment. */
function heardOf(socket: Socket, bytes: Buffer, ready: 'connect' | 'secureConnect'): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const end = (): void => {
      socket.destroy()
      resolve(text)
    }
    socket.on(ready, () => {
      socket.setTimeout(15, end)
      socket.write(bytes)
    })
    socket.setTimeout(1000, end)
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1').slice(0, 2000)
      end()
    })
    socket.on('error', end)
    socket.on('close', end)
  })
}

type Said = { readonly text: string } | { readonly bytes: Uint8Array }

interface Session {
  readonly channel: 'acs' | 'tcs' | 'logs'
  readonly said: readonly Said[]
}

const logMessages = [
  {
    type: 'GantryLogStreamOpen',
    message: { stream: 1, taskArn: 'a', container: 'app', dockerId: 'd', logGroup: 'g', logStream: 'app/app/a' },
  },
]

function saids(messages: typeof agentMessages): fc.Arbitrary<Said> {
  return fc.oneof(
    { arbitrary: frames(messages).map((text) => ({ text: text.toWellFormed() })), weight: 6 },
    // Onto the connection itself: headers, lengths, masks and operation codes of frames that are none.
    { arbitrary: fc.uint8Array({ maxLength: 64 }).map((bytes) => ({ bytes })), weight: 1 },
  )
}

function sessions(channel: Session['channel'], messages: typeof agentMessages): fc.Arbitrary<Session> {
  return fc.record({ channel: fc.constant(channel), said: fc.array(saids(messages), { minLength: 1, maxLength: 6 }) })
}

export const socketFrames = fuzzTarget<Session>({
  name: 'live-frames',
  share: 1,
  values: () =>
    fc.oneof(sessions('acs', agentMessages), sessions('tcs', telemetryMessages), sessions('logs', logMessages)),
  async judge({ channel, said }) {
    const controller = await liveController()
    const { running, instanceArn } = controller
    const path = channel === 'logs' ? '/gantry/logs/ws' : `/${channel}/ws`
    const query = new URLSearchParams({
      cluster: 'default',
      clusterArn: 'default',
      containerInstance: instanceArn,
      containerInstanceArn: instanceArn,
      protocolVersion: '2',
      sendCredentials: 'true',
    })
    const socket = await dial(
      `${running.endpoint}${path}?${query.toString()}`,
      running.agentCredentials,
      () => undefined,
    )
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => undefined)
    const { _socket: connection } = socket as unknown as { readonly _socket: Socket }
    for (const each of said) {
      if ('text' in each) socket.send(each.text)
      else connection.write(each.bytes)
    }
    socket.close()
    const late = setTimeout(() => socket.terminate(), 1000)
    await closed
    clearTimeout(late)
    await requireWell(controller)
    return true
  },
  prepare: startLiveController,
  close: stopLiveController,
})
