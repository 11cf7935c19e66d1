/** `POST /v1/plan`: what RunTask, CreateService or UpdateService would do, without doing it. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readInput } from '../../proto/codec/json.ts'
import { invalidParameter } from '../../proto/errors.ts'
import { planCreateService, planRunTask, planUpdateService } from '../ecs/plan.ts'
import { count, errorResponses, text } from './rest-schema.ts'
import { placementSchema, whyServiceSchema } from './rest-why-schema.ts'
import { principalOf, restRequestOf } from './rest-caller.ts'
import { callOf } from './rpc.ts'
import type { ServerServices } from './services.ts'

interface PlanBody {
  readonly runTask?: object
  readonly createService?: object
  readonly updateService?: object
}

const bodySchema = {
  type: 'object',
  description: 'One of the three',
  properties: {
    runTask: { type: 'object', description: 'The input of RunTask', additionalProperties: true },
    createService: { type: 'object', description: 'The input of CreateService', additionalProperties: true },
    updateService: { type: 'object', description: 'The input of UpdateService', additionalProperties: true },
  },
} as const

const plannedTasksSchema = {
  type: 'array',
  items: {
    type: 'object',
    required: ['instanceId', 'taskDefinition', 'count'],
    properties: { instanceId: text, taskDefinition: text, count },
  },
} as const

const planSchema = {
  type: 'object',
  properties: {
    tasks: {
      type: 'array',
      description: 'Of RunTask: one for each task that would be started',
      items: {
        type: 'object',
        required: ['instanceId'],
        properties: { instanceId: text, placement: placementSchema },
      },
    },
    failures: {
      type: 'array',
      description: 'Of RunTask: as it would answer them',
      items: { type: 'object', properties: { arn: text, reason: text, detail: text } },
    },
    steps: {
      type: 'array',
      description: 'Of services: what the scheduler does, each step once what the one before began has come to its end',
      items: {
        type: 'object',
        required: ['started', 'stopped'],
        properties: { started: plannedTasksSchema, stopped: plannedTasksSchema, placement: placementSchema },
      },
    },
    isCutShort: { type: 'boolean', description: 'Of services: true where there would be more steps' },
    end: { ...whyServiceSchema, description: 'Of services: how the service stands after the last step' },
  },
} as const

export function registerRestPlan(rest: FastifyInstance, services: ServerServices): void {
  rest.post<{ Body: PlanBody }>(
    '/plan',
    {
      config: { action: 'RunTask' },
      schema: {
        summary: 'What RunTask, CreateService or UpdateService would do now. Writes nothing.',
        body: bodySchema,
        response: { 200: { description: 'The plan', ...planSchema }, ...errorResponses },
      },
    },
    (request) => plan(services, request),
  )
}

function plan(services: ServerServices, request: FastifyRequest<{ Body: PlanBody }>): object {
  const { turn, world } = services
  const { runTask, createService, updateService } = request.body
  if ([runTask, createService, updateService].filter((each) => each !== undefined).length !== 1) {
    throw invalidParameter(
      'A plan is of one call: give runTask, createService or updateService, with the input of that operation.',
    )
  }
  const call = callOf(services, restRequestOf(request), principalOf(request))
  if (runTask !== undefined) return planRunTask(turn.draft(), readInput('RunTask', runTask), call, world)
  if (createService !== undefined) {
    return planCreateService(turn.draft(), readInput('CreateService', createService), call, world)
  }
  return planUpdateService(turn.draft(), readInput('UpdateService', updateService), call, world)
}
