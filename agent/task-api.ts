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
  if (task === undefined) return notItsKeys
  try {
    const { status, headers, content } = await api.forward(request)
    return { status, headers: shownHeaders(headers), content }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const message = `The agent of this host has no answer from its controller: ${why}`
    return { status: 503, body: { __type: 'ServiceUnavailableException', message } }
  }
}

const notItsKeys: EndpointAnswer = {
  status: 403,
  body: {
    __type: 'UnrecognizedClientException',
    message:
      "The security token included in the request is invalid: the controller's API is offered here to a task with a role, " +
      'for calls that are signed with its own keys. Ask for them at AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; with other ' +
      'keys call the controller by its own address.',
  },
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
