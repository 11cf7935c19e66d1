/**
 * How a member is written that people often give in another form: told at the end of a refusal. Members that aren't
 * named here have messages that say enough.
 */
const forms: Readonly<Record<string, string>> = {
  placementConstraints:
    'Write a list such as [{"type": "distinctInstance"}, {"type": "memberOf", "expression": "attribute:stack == prod"}] ' +
    '(in a task definition memberOf alone); spread, binpack and random belong into placementStrategy.',
  placementStrategy:
    'Write a list such as [{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "binpack", "field": ' +
    '"memory"}]; distinctInstance and memberOf belong into placementConstraints.',
}

/** A sentence, or undefined where the message needs none. */
export function rightFormOf(member: string): string | undefined {
  return Object.hasOwn(forms, member) ? forms[member] : undefined
}
