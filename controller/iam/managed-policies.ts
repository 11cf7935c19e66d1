/** Customer managed policies and their versions; ready-made ones are read by the same operations. */
import { ApiError } from '../../proto/errors.ts'
import type { ManagedPolicy, ManagedPolicyVersion } from '../../proto/model/iam-types.ts'
import type { InputOf, OutputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { newUniqueId } from '../access/key-ids.ts'
import { isReadyMade, readyMadePolicies } from '../access/ready-made-policies.ts'
import { readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import { foldedName, type ManagedPolicyRow, type PolicyVersionRow } from '../state/iam-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { policyArn } from './arns.ts'
import { encodeDocument, readManagedDocument } from './documents.ts'
import {
  accountQuotas,
  noSuchEntity,
  quotaExceeded,
  readDescription,
  readName,
  readPath,
  readPathPrefix,
  required,
  wholeSeconds,
} from './names.ts'
import { markedPage } from './paging.ts'
import { findPolicy, holders, type PolicyUses, policyUses } from './policy-lookup.ts'
import { readTags, withoutTags, withTags } from './tags.ts'

export const managedPolicyHandlers = {
  CreatePolicy: writeOf<'iam', 'CreatePolicy'>((tx, input, call, world) => {
    return { Policy: describePolicy(createPolicy(tx, input, call.now, world), noUses, 'just made') }
  }),
  GetPolicy: readOf<'iam', 'GetPolicy'>((reader, input) => {
    return { Policy: describePolicy(requirePolicyRow(reader, input.PolicyArn), policyUses(reader)) }
  }),
  DeletePolicy: writeOf<'iam', 'DeletePolicy'>((tx, input) => {
    deletePolicy(tx, requireOwnPolicy(tx, input.PolicyArn))
    return {}
  }),
  ListPolicies: readOf<'iam', 'ListPolicies'>((reader, input) => listPolicies(reader, input)),
  CreatePolicyVersion: writeOf<'iam', 'CreatePolicyVersion'>((tx, input, call) => {
    const policy = requireOwnPolicy(tx, input.PolicyArn)
    return { PolicyVersion: createVersion(tx, policy, input, call.now) }
  }),
  GetPolicyVersion: readOf<'iam', 'GetPolicyVersion'>((reader, input) => {
    const policy = requirePolicyRow(reader, input.PolicyArn)
    const version = requireVersion(policy, input.VersionId)
    return { PolicyVersion: describeVersion(policy, version, 'with its document') }
  }),
  SetDefaultPolicyVersion: writeOf<'iam', 'SetDefaultPolicyVersion'>((tx, input, call) => {
    const policy = requireOwnPolicy(tx, input.PolicyArn)
    const { VersionId } = requireVersion(policy, input.VersionId)
    put(tx, { ...policy, DefaultVersionId: VersionId, UpdateDate: wholeSeconds(call.now) })
    return {}
  }),
  DeletePolicyVersion: writeOf<'iam', 'DeletePolicyVersion'>((tx, input) => {
    const policy = requireOwnPolicy(tx, input.PolicyArn)
    const { VersionId } = requireVersion(policy, input.VersionId)
    if (VersionId === policy.DefaultVersionId) {
      throw new ApiError('DeleteConflict', 'Cannot delete the default version of a policy.')
    }
    put(tx, { ...policy, versions: policy.versions.filter((version) => version.VersionId !== VersionId) })
    return {}
  }),
  ListPolicyVersions: readOf<'iam', 'ListPolicyVersions'>((reader, input) => {
    const policy = requirePolicyRow(reader, input.PolicyArn)
    const { items, ...rest } = markedPage(policy.versions, newestFirst, input)
    return { Versions: items.map((version) => describeVersion(policy, version, 'without')), ...rest }
  }),
  ListEntitiesForPolicy: readOf<'iam', 'ListEntitiesForPolicy'>((reader, input) => listEntities(reader, input)),
  TagPolicy: writeOf<'iam', 'TagPolicy'>((tx, input) => {
    const policy = requireOwnPolicy(tx, input.PolicyArn)
    put(tx, { ...policy, Tags: withTags(policy.Tags, input.Tags) })
    return {}
  }),
  UntagPolicy: writeOf<'iam', 'UntagPolicy'>((tx, input) => {
    const policy = requireOwnPolicy(tx, input.PolicyArn)
    put(tx, { ...policy, Tags: withoutTags(policy.Tags, input.TagKeys) })
    return {}
  }),
  ListPolicyTags: readOf<'iam', 'ListPolicyTags'>((reader, input) => {
    const { items, ...rest } = markedPage(requirePolicyRow(reader, input.PolicyArn).Tags, ({ Key }) => Key ?? '', input)
    return { Tags: items, ...rest }
  }),
} satisfies ServiceHandlers<'iam'>

/** A version's place in IAM's order: scripts that make room for another version delete the last one that is told. */
function newestFirst({ VersionId }: PolicyVersionRow): string {
  // All of sixteen digits, which compare as numbers do.
  return String(Number.MAX_SAFE_INTEGER - Number(VersionId.slice(1)))
}

const noUses: PolicyUses = { attachments: new Map(), boundaries: new Map() }

function put(tx: Transaction, row: ManagedPolicyRow): void {
  tx.put('managedPolicy', row.Arn, row)
}

/** Throws NoSuchEntity. */
function requirePolicyRow(reader: Reader, policyArnGiven: string | undefined): ManagedPolicyRow {
  const arn = required('policyArn', policyArnGiven)
  const row = findPolicy(reader, arn)
  if (row === undefined) throw noSuchEntity(`Policy ${arn.slice(0, 256)} was not found.`)
  return row
}

/** One that customers made: the ready-made ones are nobody's to change. */
function requireOwnPolicy(reader: Reader, arn: string | undefined): ManagedPolicyRow {
  const row = requirePolicyRow(reader, arn)
  if (!isReadyMade(row.Arn)) return row
  throw new ApiError('AccessDeniedException', `The policy ${row.Arn} is ready-made and can't be changed.`)
}

function requireVersion({ Arn, versions }: ManagedPolicyRow, versionId: string | undefined): PolicyVersionRow {
  const id = required('versionId', versionId)
  const version = versions.find(({ VersionId }) => VersionId === id)
  if (version === undefined) {
    throw noSuchEntity(`Policy ${Arn} version ${id.slice(0, 32)} does not exist or is not attachable.`)
  }
  return version
}

function createPolicy(
  tx: Transaction,
  input: InputOf<'iam', 'CreatePolicy'>,
  at: number,
  world: World,
): ManagedPolicyRow {
  const PolicyName = readName('policyName', input.PolicyName)
  const Path = readPath(input.Path)
  const Description = readDescription(input.Description)
  const Document = readManagedDocument(input.PolicyDocument)
  if (tx.count('managedPolicy', 'byFoldedName', foldedName(PolicyName)) > 0) {
    throw new ApiError(
      'EntityAlreadyExists',
      `A policy called ${PolicyName} already exists. Duplicate names are not allowed.`,
    )
  }
  const limit = accountQuotas.PoliciesQuota
  if (tx.all('managedPolicy').length >= limit) throw quotaExceeded('PoliciesPerAccount', limit)
  const now = wholeSeconds(at)
  const row: ManagedPolicyRow = {
    PolicyName,
    PolicyId: newUniqueId('policy', world),
    Arn: policyArn(world, Path, PolicyName),
    Path,
    ...(Description !== undefined && { Description }),
    DefaultVersionId: 'v1',
    CreateDate: now,
    UpdateDate: now,
    Tags: readTags(input.Tags),
    versions: [{ VersionId: 'v1', CreateDate: now, Document }],
    latestVersion: 1,
  }
  put(tx, row)
  return row
}

function deletePolicy(tx: Transaction, policy: ManagedPolicyRow): void {
  const { attachments, boundaries } = policyUses(tx)
  if ((attachments.get(policy.Arn) ?? 0) + (boundaries.get(policy.Arn) ?? 0) > 0) {
    throw new ApiError('DeleteConflict', 'Cannot delete a policy attached to entities.')
  }
  if (policy.versions.length > 1) {
    throw new ApiError(
      'DeleteConflict',
      "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The " +
        'default version is deleted with the policy.',
    )
  }
  tx.delete('managedPolicy', policy.Arn)
}

function createVersion(
  tx: Transaction,
  policy: ManagedPolicyRow,
  input: InputOf<'iam', 'CreatePolicyVersion'>,
  at: number,
): ManagedPolicyVersion {
  const Document = readManagedDocument(input.PolicyDocument)
  const limit = accountQuotas.VersionsPerPolicyQuota
  if (policy.versions.length >= limit) {
    throw new ApiError(
      'LimitExceeded',
      `A managed policy can have up to ${limit} versions. Before you create a new version, you must delete an existing ` +
        'version.',
    )
  }
  const now = wholeSeconds(at)
  const latestVersion = policy.latestVersion + 1
  const version = { VersionId: `v${latestVersion}`, CreateDate: now, Document }
  const row: ManagedPolicyRow = {
    ...policy,
    versions: [...policy.versions, version],
    latestVersion,
    ...(input.SetAsDefault === true && { DefaultVersionId: version.VersionId, UpdateDate: now }),
  }
  put(tx, row)
  return describeVersion(row, version, 'without')
}

function describeVersion(
  { DefaultVersionId }: ManagedPolicyRow,
  { Document, VersionId, CreateDate }: PolicyVersionRow,
  how: 'with its document' | 'without',
): ManagedPolicyVersion {
  const version = { VersionId, IsDefaultVersion: VersionId === DefaultVersionId, CreateDate }
  return how === 'without' ? version : { Document: encodeDocument(Document), ...version }
}

/** Lists leave out descriptions and tags, as IAM documents. */
function describePolicy(
  row: ManagedPolicyRow,
  { attachments, boundaries }: PolicyUses,
  where: 'alone' | 'in a list' | 'just made' = 'alone',
): ManagedPolicy {
  const { PolicyName, PolicyId, Arn, Path, DefaultVersionId, Description, CreateDate, UpdateDate, Tags } = row
  const policy: ManagedPolicy = {
    PolicyName,
    PolicyId,
    Arn,
    Path,
    DefaultVersionId,
    AttachmentCount: attachments.get(Arn) ?? 0,
    PermissionsBoundaryUsageCount: boundaries.get(Arn) ?? 0,
    IsAttachable: !Path.startsWith('/aws-service-role/'),
    CreateDate,
    UpdateDate,
  }
  if (where === 'in a list') return policy
  const isDescribed = where === 'alone' && Description !== undefined
  return { ...policy, ...(isDescribed && { Description }), ...(Tags.length > 0 && { Tags }) }
}

function listPolicies(reader: Reader, input: InputOf<'iam', 'ListPolicies'>): OutputOf<'iam', 'ListPolicies'> {
  const prefix = readPathPrefix(input.PathPrefix)
  const uses = policyUses(reader)
  const { Scope = 'All', PolicyUsageFilter } = input
  const counts = PolicyUsageFilter === 'PermissionsBoundary' ? uses.boundaries : uses.attachments
  const mustBeUsed = input.OnlyAttached === true || PolicyUsageFilter === 'PermissionsBoundary'
  const policies = [
    ...(Scope === 'Local' ? [] : readyMadePolicies.values()),
    ...(Scope === 'AWS' ? [] : reader.all('managedPolicy')),
  ].filter(({ Path, Arn }) => Path.startsWith(prefix) && (!mustBeUsed || (counts.get(Arn) ?? 0) > 0))
  const { items, ...rest } = markedPage(policies, ({ Arn }) => Arn, input)
  return { Policies: items.map((row) => describePolicy(row, uses, 'in a list')), ...rest }
}

function listEntities(
  reader: Reader,
  input: InputOf<'iam', 'ListEntitiesForPolicy'>,
): OutputOf<'iam', 'ListEntitiesForPolicy'> {
  const { Arn } = requirePolicyRow(reader, input.PolicyArn)
  const prefix = readPathPrefix(input.PathPrefix)
  const { EntityFilter, PolicyUsageFilter } = input
  const isBounding = PolicyUsageFilter === 'PermissionsBoundary'
  const using = holders(reader).filter(({ attachedPolicyArns, permissionsBoundaryArn }) =>
    isBounding ? permissionsBoundaryArn === Arn : attachedPolicyArns.includes(Arn),
  )
  const { items, ...rest } = markedPage(using, (holder) => holder.Arn, input)
  const PolicyUsers = items.flatMap((holder) => {
    const user = reader.get('user', nameIn(holder.Arn))
    if (user?.Arn !== holder.Arn || !user.Path.startsWith(prefix)) return []
    return [{ UserName: user.UserName, UserId: user.UserId }]
  })
  const PolicyRoles = items.flatMap((holder) => {
    const role = reader.get('role', nameIn(holder.Arn))
    if (role?.Arn !== holder.Arn || !role.Path.startsWith(prefix)) return []
    return [{ RoleName: role.RoleName, RoleId: role.RoleId }]
  })
  return {
    PolicyGroups: [],
    PolicyUsers: EntityFilter === undefined || EntityFilter === 'User' ? PolicyUsers : [],
    PolicyRoles: EntityFilter === undefined || EntityFilter === 'Role' ? PolicyRoles : [],
    ...rest,
  }
}

function nameIn(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1)
}
