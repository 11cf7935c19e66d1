import { test } from 'tap'
import { awslogsProblem, eventStart } from './log-options.ts'

const base = { 'awslogs-group': 'g', 'awslogs-region': 'us-east-1' }

await test('what cannot be taken is named, with what to do', (t) => {
  const cases: readonly [object, RegExp][] = [
    [{ 'awslogs-nope': 'x' }, /^unknown log opt 'awslogs-nope'/],
    [{ 'awslogs-format': 'json/emf' }, /awslogs-format 'json\/emf' is not available/],
    [{ 'awslogs-datetime-format': '%Y', 'awslogs-multiline-pattern': 'x' }, /at the same time/],
    [{ 'awslogs-datetime-format': 'plain' }, /has a verb that strftime does not know, or none/],
    [{ 'awslogs-datetime-format': '%Q' }, /has a verb/],
    [{ 'awslogs-multiline-pattern': '(' }, /is no regular expression/],
    [{ 'awslogs-multiline-pattern': '^(a+)+$' }, /repeats a group without end/],
    [{ 'awslogs-multiline-pattern': '(a|aa){2,}' }, /repeats a group without end/],
    [{ 'awslogs-multiline-pattern': '.*.*.*.*x' }, /more than 3 open-ended repetitions/],
    [{ 'awslogs-multiline-pattern': '' }, /must have 1 to 512 characters/],
  ]
  for (const [options, expected] of cases) t.match(awslogsProblem({ ...base, ...options }), expected)
  for (const options of [
    {},
    { 'awslogs-create-group': 'true', mode: 'non-blocking', 'max-buffer-size': '4m' },
    { 'awslogs-multiline-pattern': '^(INFO|WARN|ERROR) \\(+' },
    { 'awslogs-datetime-format': '\\[%b %d, %Y %H:%M:%S\\]' },
  ]) {
    t.equal(awslogsProblem({ ...base, ...options }), undefined)
  }
  t.end()
})

await test('where an event starts', (t) => {
  t.equal(eventStart(base), undefined, 'each line is one')
  const byTime = eventStart({ 'awslogs-datetime-format': '[%b %d, %Y %H:%M:%S]' })
  t.equal(byTime?.('[May 01, 2026 19:00:01] A message'), true)
  t.equal(byTime?.('  at line 5'), false)
  const byPattern = eventStart({ 'awslogs-multiline-pattern': '^(INFO|WARN)' })
  t.same(
    ['INFO a', ' b', 'WARN c'].map((line) => byPattern?.(line)),
    [true, false, true],
  )
  t.end()
})
