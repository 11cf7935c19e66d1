/** `/healthz`: the process answers. `/readyz`: it can take changes. `/metrics`: what it did, for Prometheus. */
import type { FastifyInstance } from 'fastify'
import type { Labels } from '../metrics.ts'
import type { ServerServices } from './services.ts'

export function registerProbes(app: FastifyInstance, services: ServerServices): void {
  registerGauges(services)
  app.get('/healthz', (_request, reply) => reply.send({ status: 'ok' }))
  app.get('/readyz', (_request, reply) => {
    const { readOnly, revision } = services.turn.status()
    if (readOnly === undefined) return reply.send({ status: 'ready', revision })
    return reply.code(503).send({ status: 'read-only', reason: readOnly, revision })
  })
  app.get('/metrics', (_request, reply) =>
    reply.type('text/plain; version=0.0.4; charset=utf-8').send(services.metrics.write()),
  )
}

function registerGauges({ metrics, turn }: ServerServices): void {
  metrics.counter('gantry_requests_total', 'API calls answered, by operation and result code.')
  metrics.gauge('gantry_turns', 'Turns run since the start.', () => one(turn.status().turns))
  metrics.gauge('gantry_revision', 'Revision of the newest committed turn.', () => one(turn.status().revision))
  metrics.gauge('gantry_read_only', '1 while commits fail and changes are refused.', () =>
    one(turn.status().readOnly === undefined ? 0 : 1),
  )
  metrics.gauge('gantry_agents_connected', 'Container instances whose agent is connected.', () =>
    one(turn.reader.all('instance').filter((row) => row.agentConnected && row.status !== 'INACTIVE').length),
  )
  metrics.gauge('gantry_tasks', 'Tasks in memory, by last status.', () => {
    const byStatus = new Map<string, number>()
    for (const row of turn.reader.all('task')) byStatus.set(row.lastStatus, (byStatus.get(row.lastStatus) ?? 0) + 1)
    return [...byStatus].map(([status, value]) => ({ labels: { status }, value }))
  })
  metrics.gauge('process_resident_memory_bytes', 'Resident memory of the controller.', () =>
    one(process.memoryUsage.rss()),
  )
  metrics.gauge('process_cpu_seconds', 'User and system CPU time of the controller.', () => {
    const { user, system } = process.cpuUsage()
    return one((user + system) / 1_000_000)
  })
}

function one(value: number): readonly { readonly labels: Labels; readonly value: number }[] {
  return [{ labels: {}, value }]
}
