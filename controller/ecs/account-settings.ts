/**
 * The account settings: ListAccountSettings, PutAccountSetting, PutAccountSettingDefault and DeleteAccountSetting. Two of
 * them change what the controller does: `containerInsights` what a new cluster has, `defaultLogDriverMode` how containers
 * hand over their log lines. Those of Fargate, network interfaces, GuardDuty and IAM are kept and answered, for clients
 * that set them; there is nothing here that they act on.
 *
 * Source: the ECS developer guide, "Access Amazon ECS features with account settings", and the API reference.
 */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Setting } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { type Call, type Handlers, read, write } from './handler.ts'
import { page } from './paging.ts'

type SettingName = NonNullable<Setting['name']>

interface SettingRule {
  readonly values: readonly string[]
  readonly initial: string
  /** Others than the user turn it; it can only be read. */
  readonly awsManaged?: true
}

const offUnlessEnabled: SettingRule = { values: ['enabled', 'disabled'], initial: 'disabled' }
/** All ARNs are long here, as in every ECS account of today. */
const longArns: SettingRule = { values: ['enabled', 'disabled'], initial: 'enabled' }

const rules: Readonly<Record<SettingName, SettingRule>> = {
  awsvpcTrunking: offUnlessEnabled,
  containerInsights: { values: ['enhanced', 'enabled', 'disabled'], initial: 'disabled' },
  containerInstanceLongArnFormat: longArns,
  // ECS changed its own default to non-blocking in 2025. A container here waits for its log driver unless somebody says
  // otherwise: with drivers on the host itself nothing is won by losing lines.
  defaultLogDriverMode: { values: ['blocking', 'non-blocking'], initial: 'blocking' },
  fargateEventWindows: offUnlessEnabled,
  fargateFIPSMode: offUnlessEnabled,
  fargateTaskRetirementWaitPeriod: { values: ['0', '7', '14'], initial: '7' },
  guardDutyActivate: { values: ['on', 'off'], initial: 'off', awsManaged: true },
  serviceLongArnFormat: longArns,
  tagResourceAuthorization: { values: ['on', 'off'], initial: 'on' },
  taskLongArnFormat: longArns,
}
const names = (Object.keys(rules) as SettingName[]).toSorted()

export const accountSettingHandlers = {
  ListAccountSettings: read<'ListAccountSettings'>((reader, input, call, world) => {
    const principalArn = checkPrincipal(input.principalArn, call, world)
    const { name, value } = input
    if (value !== undefined && name === undefined) throw invalidParameter('value takes a setting name beside it.')
    const listed =
      input.effectiveSettings === true
        ? names.map((each) => effective(reader, principalArn, each, world))
        : reader.find('accountSetting', 'byPrincipal', principalArn).map((row) => shown(row))
    const wanted = listed.filter(
      (setting) => (name === undefined || setting.name === name) && (value === undefined || setting.value === value),
    )
    const { items, nextToken } = page(wanted, (setting) => setting.name, input, { defaultSize: 10, maxSize: 10 })
    return { settings: items, nextToken }
  }),
  PutAccountSetting: write<'PutAccountSetting'>((tx, input, call, world) => {
    return { setting: putSetting(tx, input.name, input.value, checkPrincipal(input.principalArn, call, world), world) }
  }),
  PutAccountSettingDefault: write<'PutAccountSettingDefault'>((tx, input, _call, world) => {
    return { setting: putSetting(tx, input.name, input.value, rootArn(world), world) }
  }),
  DeleteAccountSetting: write<'DeleteAccountSetting'>((tx, input, call, world) => {
    const principalArn = checkPrincipal(input.principalArn, call, world)
    const name = requireName(input.name)
    tx.delete('accountSetting', keyOf(principalArn, name))
    return { setting: effective(tx, principalArn, name, world) }
  }),
} satisfies Handlers

/** What holds for a principal: its own setting, else the root user's, which is the account's, else ECS's default. */
export function effectiveSetting(reader: Reader, principalArn: string, name: SettingName, world: World): string {
  return (
    reader.get('accountSetting', keyOf(principalArn, name))?.value ??
    reader.get('accountSetting', keyOf(rootArn(world), name))?.value ??
    rules[name].initial
  )
}

type ShownSetting = Setting & { readonly name: SettingName }

function effective(reader: Reader, principalArn: string, name: SettingName, world: World): ShownSetting {
  return shown({ name, value: effectiveSetting(reader, principalArn, name, world), principalArn })
}

function shown(setting: { readonly name: SettingName; readonly value: string; readonly principalArn: string }) {
  return { ...setting, type: rules[setting.name].awsManaged === true ? ('aws_managed' as const) : ('user' as const) }
}

function putSetting(
  tx: Transaction,
  nameGiven: SettingName | undefined,
  value: string | undefined,
  principalArn: string,
  world: World,
): Setting {
  const name = requireName(nameGiven)
  const rule = rules[name]
  if (rule.awsManaged === true) {
    throw invalidParameter(`The account setting ${name} is managed by AWS: it can be listed, and not changed.`)
  }
  if (value === undefined || !rule.values.includes(value)) {
    throw invalidParameter(
      `Invalid setting 'value': ${name} takes one of ${rule.values.join(', ')}, and is '${(value ?? '').slice(0, 64)}'.`,
    )
  }
  // The first sentence is the one that Terraform looks for when it destroys such a setting.
  if (rule === longArns && value === 'disabled') {
    throw invalidParameter('You can no longer disable Long Arn settings. Every ARN has the long format here.')
  }
  if (name === 'fargateTaskRetirementWaitPeriod' && principalArn !== rootArn(world)) {
    throw invalidParameter(
      `${name} is set for the whole account: use PutAccountSettingDefault, or the root user's ARN.`,
    )
  }
  const row = { name, value, principalArn }
  tx.put('accountSetting', keyOf(principalArn, name), row)
  return shown(row)
}

function requireName(name: SettingName | undefined): SettingName {
  if (name === undefined) throw invalidParameter("Invalid setting 'name': it must not be empty.")
  return name
}

/** The principal that a call is about: its caller's own, or for the root user any of this account. */
function checkPrincipal(principalArn: string | undefined, call: Call, world: World): string {
  if (principalArn === undefined || principalArn === call.principalArn) return call.principalArn
  if (!new RegExp(`^arn:aws:iam::${world.account}:(root|(user|role)/[A-Za-z0-9+=,.@_/-]{1,512})$`).test(principalArn)) {
    throw invalidParameter(
      `Invalid principalArn: it must be the ARN of the root user, a user or a role of account ${world.account}, and is ` +
        `'${principalArn.slice(0, 128)}'.`,
    )
  }
  if (call.principalArn === rootArn(world)) return principalArn
  throw new ApiError(
    'AccessDeniedException',
    `User: ${call.principalArn} is not the root user, and so can only list and change account settings of its own.`,
  )
}

/** The principal whose settings are the account's. */
export function rootArn(world: World): string {
  return `arn:aws:iam::${world.account}:root`
}

function keyOf(principalArn: string, name: SettingName): string {
  return `${principalArn}/${name}`
}
