/** GetRandomPassword. Nothing of it is kept. */
import { ApiError } from '../../proto/errors.ts'
import type { InputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { readOf } from '../ecs/handler.ts'
import { checkLength, checkRange } from '../ssm/constraints.ts'

type Input = InputOf<'secretsmanager', 'GetRandomPassword'>

const lowercase = 'abcdefghijklmnopqrstuvwxyz'
const uppercase = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const numbers = '0123456789'
const punctuation = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
const defaultLength = 32

export const getRandomPassword = readOf<'secretsmanager', 'GetRandomPassword'>((_reader, input, _call, world) => {
  const { PasswordLength: length = defaultLength, RequireEachIncludedType = true } = input
  checkRange('passwordLength', length, { min: 1, max: 4096 })
  checkLength('excludeCharacters', input.ExcludeCharacters, { max: 4096 })
  const kinds = kindsOf(input)
  const all = [...(input.IncludeSpace === true ? [' '] : []), ...kinds.flat()].filter(
    (character) => input.ExcludeCharacters?.includes(character) !== true,
  )
  if (all.length === 0) {
    throw new ApiError('InvalidParameterException', 'No characters are left for the password: exclude fewer of them.')
  }
  const required = RequireEachIncludedType ? kinds : []
  if (required.length > length) {
    throw new ApiError(
      'InvalidParameterException',
      `Password length is too short based on the required types: it is ${length}, and ${required.length} types have to be ` +
        'in it.',
    )
  }
  const characters = [
    ...required.map((kind) => choose(kind, world)),
    ...Array.from({ length: length - required.length }, () => choose(all, world)),
  ]
  return { RandomPassword: shuffled(characters, world).join('') }
})

/** The characters of each type that is included, without those that are excluded. */
function kindsOf(input: Input): readonly (readonly string[])[] {
  const kinds = [
    input.ExcludeLowercase === true ? '' : lowercase,
    input.ExcludeUppercase === true ? '' : uppercase,
    input.ExcludeNumbers === true ? '' : numbers,
    input.ExcludePunctuation === true ? '' : punctuation,
  ]
  const excluded = new Set(input.ExcludeCharacters)
  return kinds.map((kind) => kind.split('').filter((each) => !excluded.has(each))).filter((kind) => kind.length > 0)
}

function choose(characters: readonly string[], world: World): string {
  return characters[Math.floor(world.random() * characters.length)] ?? ''
}

/** Fisher and Yates: each order is as likely as any other. */
function shuffled(characters: readonly string[], world: World): readonly string[] {
  const result = [...characters]
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(world.random() * (last + 1))
    const moved = result[last] ?? ''
    result[last] = result[other] ?? ''
    result[other] = moved
  }
  return result
}
