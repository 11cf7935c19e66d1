/** `/v1/roles`: what an operator does with roles beyond IAM's own API. */
import type { FastifyInstance } from 'fastify'
import { revokeSessions } from '../iam/revoke-sessions.ts'
import { errorResponses, paramsOf, text } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

interface RoleParams {
  readonly role: string
}

const revokedSchema = {
  type: 'object',
  required: ['roleName', 'roleArn', 'sessionsRevokedAt'],
  properties: {
    roleName: text,
    roleArn: text,
    sessionsRevokedAt: { type: 'string', format: 'date-time', description: 'Sessions that began before are over' },
  },
} as const

export function registerRestRoles(rest: FastifyInstance, { turn }: ServerServices): void {
  rest.post<{ Params: RoleParams }>(
    '/roles/:role/revoke-sessions',
    {
      config: { action: 'gantry:RevokeRoleSessions' },
      schema: {
        summary: 'Ends every session of a role at once, those of tasks too: tasks get new keys within seconds',
        params: paramsOf('role', "The role's name"),
        response: { 200: { description: 'Revoked', ...revokedSchema }, ...errorResponses },
      },
    },
    async ({ params }) => {
      const role = await turn.submit({
        name: 'revokeSessions',
        run: (tx, now) => ({ ...revokeSessions(tx, params.role, now), now }),
      })
      return {
        roleName: role.RoleName,
        roleArn: role.Arn,
        sessionsRevokedAt: new Date(role.now).toISOString(),
      }
    },
  )
}
