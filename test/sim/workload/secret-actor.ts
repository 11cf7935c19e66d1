/**
 * Keeps what tasks are made with: puts a secret, a parameter and a file, changes their values, loses them for a while, takes
 * the right to read them from the execution role and gives it back.
 */
import { executorPolicy } from '../other-calls.ts'
import { fileArn, fileVariable, parameterName, secretArn, type SecretThing, type SimSecrets } from '../sim-secrets.ts'
import type { Actor, Operator } from './operator.ts'

const things: readonly SecretThing[] = ['secret', 'parameter', 'file']
const secretName = secretArn.slice(secretArn.lastIndexOf(':') + 1)
const RoleName = 'executor'
const missingMostMs = 60_000

export class SecretActor implements Actor {
  readonly acts = {
    changeSecret: { weight: 0.6, act: async () => void (await this.#put(this.#operator.random.pick(things))) },
    loseSecret: { weight: 0.5, act: () => this.#lose(this.#operator.random.pick(things)) },
    withdrawRight: { weight: 0.4, act: () => this.#withdraw() },
    closeFileStore: { weight: 0.2, act: () => this.#closeStore() },
  }
  readonly #operator: Operator
  readonly #secrets: SimSecrets
  #isOver = false

  constructor(operator: Operator, secrets: SimSecrets) {
    this.#operator = operator
    this.#secrets = secrets
  }

  begin(): void {
    for (const thing of things) void this.#putSurely(thing)
  }

  /** At the end: everything is there again, and may be read. */
  async mend(): Promise<void> {
    this.#isOver = true
    this.#secrets.areFilesAway = false
    await this.#operator.callSurely('iam:PutRolePolicy', { RoleName, ...executorPolicy })
    for (const thing of things) await this.#putSurely(thing)
  }

  findings(): readonly [] {
    return []
  }

  async #putSurely(thing: SecretThing): Promise<void> {
    for (let attempts = 30; attempts > 0; attempts -= 1) {
      if (await this.#put(thing)) return
      await this.#operator.time.sleep(this.#operator.random.between(500, 3000))
    }
  }

  async #put(thing: SecretThing): Promise<boolean> {
    const value = this.#secrets.newValue(thing)
    if (thing === 'file') {
      this.#secrets.files.set(fileArn, `# of all tasks\n${fileVariable}=${value}\n`)
      return true
    }
    if (thing === 'parameter') {
      const input = { Name: parameterName, Type: 'SecureString', Value: value, Overwrite: true }
      return (await this.#operator.call('ssm:PutParameter', input)) !== undefined
    }
    const version = {
      SecretString: JSON.stringify({ user: 'app', password: value }),
      ClientRequestToken: this.#operator.random.uuid(),
    }
    const changed = { SecretId: secretName, ...version }
    if ((await this.#operator.call('secretsmanager:PutSecretValue', changed)) !== undefined) return true
    await this.#operator.call('secretsmanager:RestoreSecret', { SecretId: secretName })
    const made = { Name: secretName, ...version }
    return (await this.#operator.call('secretsmanager:CreateSecret', made)) !== undefined
  }

  async #lose(thing: SecretThing): Promise<void> {
    const { random } = this.#operator
    if (thing === 'file') this.#secrets.files.delete(fileArn)
    if (thing === 'parameter') await this.#operator.call('ssm:DeleteParameter', { Name: parameterName })
    if (thing === 'secret') {
      const isForGood = random.chance(0.5)
      const how = isForGood ? { ForceDeleteWithoutRecovery: true } : { RecoveryWindowInDays: 7 }
      await this.#operator.call('secretsmanager:DeleteSecret', { SecretId: secretName, ...how })
    }
    this.#operator.harmed('secretLost', thing)
    await this.#later(async () => this.#putSurely(thing))
  }

  async #withdraw(): Promise<void> {
    const { PolicyName } = executorPolicy
    await this.#operator.call('iam:DeleteRolePolicy', { RoleName, PolicyName })
    this.#operator.harmed('rightWithdrawn')
    await this.#later(async () => {
      await this.#operator.callSurely('iam:PutRolePolicy', { RoleName, ...executorPolicy })
    })
  }

  async #closeStore(): Promise<void> {
    this.#secrets.areFilesAway = true
    this.#operator.harmed('fileStoreAway')
    await this.#later(async () => {
      this.#secrets.areFilesAway = false
    })
  }

  async #later(mend: () => Promise<void>): Promise<void> {
    await this.#operator.time.sleep(this.#operator.random.between(2000, missingMostMs))
    if (!this.#isOver) await mend()
  }
}
