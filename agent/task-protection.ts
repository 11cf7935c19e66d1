/**
 * A task protects itself from scale-in and deployments while it is at work: `$ECS_AGENT_URI/task-protection/v1/state`.
 * The agent asks the controller for it, for this one task alone, with the keys of the task's role.
 *
 * Source: amazon-ecs-agent 1.105, `ecs-agent/tmds/handlers/taskprotection/v1`; AWS documentation, "Amazon ECS task
 * scale-in protection endpoint".
 */
import { ApiCallError } from './ecs-api.ts'
import type { CallApi } from './ecs-api.ts'
import type { EndpointAnswer } from './task-endpoint-answers.ts'

/** Source: amazon-ecs-agent 1.105, the budget of a call. */
const budgetMs = 4_000
const undecodable = 'UpdateTaskProtection: failed to decode request'
const timedOut = 'Timed out calling ECS Task Protection API'

export interface ProtectionRequest {
  readonly protectionEnabled: boolean
  readonly expiresInMinutes?: number | undefined
}

function refuse(arn: string, message: string): { readonly problem: EndpointAnswer } {
  return { problem: refusal(400, { Arn: arn, Code: 'InvalidParameterException', Message: message }) }
}

/** `problem` is the answer to a body that can't be taken. */
export function readProtectionRequest(
  body: string,
  taskArn: string,
): { readonly request: ProtectionRequest } | { readonly problem: EndpointAnswer } {
  const members = membersOf(body)
  const known = new Set(['protectionenabled', 'expiresinminutes'])
  if (members === undefined || Object.keys(members).some((name) => !known.has(name.toLowerCase()))) {
    return refuse('', undecodable)
  }
  // Names of members are taken in any case, as Go's decoder does.
  const named = new Map(Object.entries(members).map(([name, value]) => [name.toLowerCase(), value]))
  const enabled = named.get('protectionenabled') ?? undefined
  const minutes = named.get('expiresinminutes') ?? undefined
  if (minutes !== undefined && !Number.isInteger(minutes)) return refuse('', undecodable)
  if (enabled !== undefined && typeof enabled !== 'boolean') return refuse('', undecodable)
  if (enabled === undefined) return refuse(taskArn, "Invalid request: does not contain 'ProtectionEnabled' field")
  return {
    request: {
      protectionEnabled: enabled,
      ...(typeof minutes === 'number' ? { expiresInMinutes: minutes } : {}),
    },
  }
}

/** Asks for the task's protection, or sets it where there is a request. */
export async function answerProtection(
  callApi: CallApi,
  cluster: string,
  taskArn: string,
  request?: ProtectionRequest,
): Promise<EndpointAnswer> {
  try {
    const operation = request === undefined ? 'GetTaskProtection' : 'UpdateTaskProtection'
    const answered = await callApi(operation, { cluster, tasks: [taskArn], ...request }, budgetMs)
    return protectionAnswer(taskArn, answered)
  } catch (error) {
    if (!(error instanceof ApiCallError)) throw error
    const { code = 'ServerException', message, status = 500, requestId, isTimeout } = error
    if (isTimeout) return refusal(504, { Arn: taskArn, Code: 'RequestCanceled', Message: timedOut })
    return refusal(status, { Arn: taskArn, Code: code, Message: message }, requestId)
  }
}

function protectionAnswer(taskArn: string, answered: Readonly<Record<string, unknown>>): EndpointAnswer {
  const { failures = [], protectedTasks = [] } = answered as {
    failures?: readonly { arn?: string; reason?: string; detail?: string }[]
    protectedTasks?: readonly { taskArn?: string; protectionEnabled?: boolean; expirationDate?: number }[]
  }
  const [failure] = failures
  const [task] = protectedTasks
  if (failures.length > 1 || protectedTasks.length > 1 || (failure === undefined && task === undefined)) {
    return refusal(500, { Arn: taskArn, Code: 'ServerException', Message: 'Unexpected error occurred' })
  }
  if (failure !== undefined) {
    const { arn = taskArn, reason = '', detail } = failure
    return { status: 200, body: { failure: { Arn: arn, Detail: detail ?? null, Reason: reason } } }
  }
  const { protectionEnabled = false, expirationDate } = task ?? {}
  // The API's own instants are seconds.
  const until = expirationDate === undefined ? null : new Date(expirationDate * 1000).toISOString()
  return {
    status: 200,
    body: { protection: { ExpirationDate: until, ProtectionEnabled: protectionEnabled, TaskArn: taskArn } },
  }
}

/** The container that asks is not known. */
export function protectionOfNobody(): EndpointAnswer {
  const error = { Code: 'ResourceNotFoundException', Message: 'Failed to find a task for the request' }
  return refusal(404, error)
}

/** ECS lets no task protect itself that has no role, or whose keys have not come. */
export function protectionWithoutRole(taskArn: string): EndpointAnswer {
  const why = 'Invalid Request: no task IAM role credentials available for task'
  return refusal(403, { Arn: taskArn, Code: 'AccessDeniedException', Message: why })
}

function refusal(
  status: number,
  { Arn: arn, ...rest }: { readonly Arn?: string; readonly Code: string; readonly Message: string },
  requestID?: string,
): EndpointAnswer {
  const error = arn === undefined || arn === '' ? rest : { Arn: arn, ...rest }
  return { status, body: { ...(requestID === undefined ? {} : { requestID }), error } }
}

function membersOf(body: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Readonly<Record<string, unknown>>) : undefined
  } catch {
    return undefined
  }
}
