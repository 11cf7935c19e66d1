/** The schemas of what placement says, as the routes of tasks, services and plans show it. */
import { servicePhases } from '../state/service-phase.ts'
import { whyServiceStates } from '../decide/why-service.ts'
import { count, text } from './rest-schema.ts'

const texts = { type: 'array', items: text } as const

const countsSchema = {
  type: 'array',
  description: 'How many instances failed each filter first',
  items: {
    type: 'object',
    required: ['filter', 'reason', 'count', 'explanation'],
    properties: { filter: text, reason: text, count, explanation: text },
  },
} as const

/** How a task was placed. Instants are epoch milliseconds, as they stand in the state. */
export const placementSchema = {
  type: 'object',
  required: ['at', 'considered', 'able', 'counts', 'ranking'],
  properties: {
    at: { type: 'integer', description: 'Epoch milliseconds' },
    considered: { ...count, description: 'Instances that were looked at' },
    able: { ...count, description: 'Instances that could have taken the task' },
    counts: countsSchema,
    ranking: {
      type: 'array',
      description: 'The best of those that could, the chosen one first, each with what the strategies counted',
      items: {
        type: 'object',
        required: ['instanceId', 'scores'],
        properties: { instanceId: text, scores: texts },
      },
    },
  },
} as const

const waitSchema = {
  type: 'object',
  description: 'Why the next task has no place, as of now',
  required: ['since', 'at', 'sentence', 'counts', 'nearest'],
  properties: {
    since: { type: 'integer', description: 'Epoch milliseconds' },
    at: { type: 'integer', description: 'Epoch milliseconds' },
    sentence: text,
    counts: countsSchema,
    nearest: {
      type: 'array',
      description: 'The instances that come nearest, each with all that it misses',
      items: {
        type: 'object',
        required: ['instanceId', 'filter', 'miss'],
        properties: { instanceId: text, filter: text, miss: text },
      },
    },
  },
} as const

const phasesSchema = {
  type: 'object',
  properties: Object.fromEntries(servicePhases.map((phase) => [phase, count])),
} as const

const failureSchema = {
  type: 'object',
  required: ['reason', 'ageSeconds'],
  properties: {
    reason: text,
    containerName: text,
    exitCode: count,
    ageSeconds: count,
    taskId: text,
    why: { ...text, description: 'Where the end of its output is' },
  },
} as const

export const whyServiceSchema = {
  type: 'object',
  required: ['serviceArn', 'state', 'summary', 'facts', 'next', 'desired', 'tasks', 'deployments', 'ages'],
  properties: {
    serviceArn: text,
    state: { type: 'string', enum: whyServiceStates },
    summary: text,
    facts: texts,
    next: texts,
    desired: count,
    tasks: phasesSchema,
    deployments: {
      type: 'array',
      items: {
        type: 'object',
        required: ['id', 'status', 'rolloutState', 'taskDefinition', 'tasks', 'failedTasks'],
        properties: {
          id: text,
          status: text,
          rolloutState: text,
          rolloutStateReason: text,
          taskDefinition: { ...text, description: 'family:revision' },
          tasks: phasesSchema,
          failedTasks: count,
          retryInSeconds: count,
          lastFailure: failureSchema,
        },
      },
    },
    waiting: waitSchema,
    ages: {
      type: 'object',
      description: 'Seconds',
      required: ['created'],
      properties: { created: count, deployment: count },
    },
  },
} as const
