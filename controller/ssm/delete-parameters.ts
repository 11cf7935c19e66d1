/** DeleteParameter and DeleteParameters: with all versions, at once and for good. */
import { writeOf } from '../ecs/handler.ts'
import type { ParameterRow } from '../state/ssm-tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { checkCount } from './constraints.ts'
import { dropVersion } from './parameter-versions.ts'
import { findParameter, requireParameter, versionsOf } from './parameter-lookup.ts'

const namesMax = 10

export const deleteParameter = writeOf<'ssm', 'DeleteParameter'>((tx, input, _call, world) => {
  drop(tx, requireParameter(tx, input.Name ?? '', world))
  return {}
})

export const deleteParameters = writeOf<'ssm', 'DeleteParameters'>((tx, input, _call, world) => {
  const names = [...new Set(input.Names)]
  checkCount('names', names, { min: 1, max: namesMax })
  const DeletedParameters: string[] = []
  const InvalidParameters: string[] = []
  for (const name of names) {
    const row = findParameter(tx, name, world)
    if (row !== undefined) drop(tx, row)
    ;(row === undefined ? InvalidParameters : DeletedParameters).push(name)
  }
  return { DeletedParameters, InvalidParameters }
})

function drop(tx: Transaction, row: ParameterRow): void {
  for (const version of versionsOf(tx, row)) dropVersion(tx, version)
  tx.delete('parameter', row.Name)
}
