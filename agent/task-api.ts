/**
 * The controller's API as a container of a task with a role finds it: at the task endpoint, `AWS_ENDPOINT_URL`. What is
 * signed with that task's own keys is passed on as it came, over the agent's own connection to its controller, so that it
 * works in each network mode and with no certificate in the container. Anything else is refused here.
 */
import { claimedKeyId } from '../proto/sigv4.ts'
import { passedHeaders } from './controller-api.ts'
import type { ControllerApi } from './controller-api.ts'
import type { EndpointAnswer } from './task-endpoint-answers.ts'
import type { TurnTask } from './turn-options.ts'

export interface TaskApiRequest {
  readonly method: string
  /** Path and query, as they came. */
  readonly target: string
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
}

export interface TaskApiSources {
  readonly api: ControllerApi
  /** The task for which this key was made, where the request comes from one of its own containers. */
  readonly admit: (accessKeyId: string) => Promise<TurnTask | undefined>
}

/** True for what is a call of an AWS API: those are made at the root, whatever the service. */
export function isApiCall(method: string, path: string): boolean {
  return path === '/' && (method === 'POST' || method === 'GET')
}

export async function answerApiCall(sources: TaskApiSources, request: TaskApiRequest): Promise<EndpointAnswer> {
  const { api, admit } = sources
  const accessKeyId = accessKeyIn(request)
  const task = accessKeyId === undefined ? undefined : await admit(accessKeyId)
  if (task === undefined) return refusal(request, notItsKeys)
  try {
    const { status, headers, content } = await api.forward(request)
    return { status, headers: shownHeaders(headers), content }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return refusal(request, { ...noAnswer, message: `${noAnswer.message}${why}` })
  }
}

interface Refusal {
  readonly status: number
  /** By the protocol that is spoken: one name in JSON, another in AWS Query, as AWS has them. */
  readonly code: { readonly json: string; readonly query: string }
  readonly message: string
}

const notItsKeys: Refusal = {
  status: 403,
  code: { json: 'UnrecognizedClientException', query: 'InvalidClientTokenId' },
  message:
    "The security token included in the request is invalid: the controller's API is offered here to a task with a role, " +
    'for calls that are signed with its own keys. Ask for them at AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; with other ' +
    'keys call the controller by its own address.',
}

const noAnswer: Refusal = {
  status: 503,
  code: { json: 'ServiceUnavailableException', query: 'ServiceUnavailable' },
  message: 'The agent of this host has no answer from its controller: ',
}

/** In the protocol of who asks: a client of IAM or STS reads no JSON. */
function refusal({ method, rawHeaders }: TaskApiRequest, { status, code, message }: Refusal): EndpointAnswer {
  const isQuery = method === 'GET' || typeOf(rawHeaders).startsWith('application/x-www-form-urlencoded')
  if (!isQuery) return { status, body: { __type: code.json, message } }
  const type = status < 500 ? 'Sender' : 'Receiver'
  const error = `<Error><Type>${type}</Type><Code>${code.query}</Code><Message>${inXml(message)}</Message></Error>`
  return {
    status,
    headers: { 'content-type': 'text/xml' },
    content: Buffer.from(`<ErrorResponse>${error}</ErrorResponse>`),
  }
}

function typeOf(rawHeaders: readonly string[]): string {
  return passedHeaders(rawHeaders)['content-type'] ?? ''
}

function inXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** As the controller will read it: whose keys these are must not depend on who looks. */
function accessKeyIn({ rawHeaders, target }: TaskApiRequest): string | undefined {
  return claimedKeyId({ path: target, headers: passedHeaders(rawHeaders) })
}

/** What an SDK reads; the rest is the connection's own. */
function shownHeaders(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const names = Object.keys(headers).filter(
    (name) => name.startsWith('x-amz') || ['content-type', 'date'].includes(name),
  )
  return Object.fromEntries(names.map((name) => [name, headers[name] ?? '']))
}
