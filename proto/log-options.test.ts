import { test } from 'tap'
import { awslogsProblem, eventStart } from './log-options.ts'

const base = { 'awslogs-group': 'g', 'awslogs-region': 'us-east-1' }

const slowPatterns = [
  '^(a+)+$',
  '(a|aa){2,}',
  '.*.*.*.*x',
  'x*x*x*y',
  '^(x+){4}y',
  '^(?:x|x){30}y',
  '^(x?){40}x{40}y',
  'x{1,200}x{1,200}x{1,200}y',
  '(?=x*x*x*y)',
  '^(?<name>[\\]x]+){9}y',
  '^\\d+.*|(\\p{L}+\\s?)*y',
]
const quickPatterns = [
  '^(INFO|WARN|ERROR) \\(+',
  '^\\[?\\d{4}-\\d{2}-\\d{2}[T ](\\d{2}:){2}\\d{2}',
  '\\d{1,2}:\\d{2} .*ERROR',
  '^\\S+ \\S+ \\S+',
  '^x*x*x*y',
  '^(?:\\p{Lu}|[)(|*+]){1,8}:',
  '(?<level>INFO|WARN)\\k<level>?',
]

await test('what cannot be taken is named, with what to do', (t) => {
  const cases: readonly [object, RegExp][] = [
    [{ 'awslogs-nope': 'x' }, /^unknown log opt 'awslogs-nope'/],
    [{ 'awslogs-format': 'json/emf' }, /awslogs-format 'json\/emf' is not available/],
    [{ 'awslogs-datetime-format': '%Y', 'awslogs-multiline-pattern': 'x' }, /at the same time/],
    [{ 'awslogs-datetime-format': 'plain' }, /has a verb that strftime does not know, or none/],
    [{ 'awslogs-datetime-format': '%Q' }, /has a verb/],
    [{ 'awslogs-multiline-pattern': '(' }, /is no regular expression/],
    ...slowPatterns.map((pattern): [object, RegExp] => [
      { 'awslogs-multiline-pattern': pattern },
      /can take too long on some lines/,
    ]),
    [{ 'awslogs-multiline-pattern': '((x{200}){200}){200}' }, /too long with its repetitions written out/],
    [{ 'awslogs-multiline-pattern': '' }, /must have 1 to 512 characters/],
  ]
  for (const [options, expected] of cases) t.match(awslogsProblem({ ...base, ...options }), expected)
  for (const options of [
    {},
    { 'awslogs-create-group': 'true', mode: 'non-blocking', 'max-buffer-size': '4m' },
    ...quickPatterns.map((pattern) => ({ 'awslogs-multiline-pattern': pattern })),
    { 'awslogs-datetime-format': '\\[%b %d, %Y %H:%M:%S\\]' },
  ]) {
    t.equal(awslogsProblem({ ...base, ...options }), undefined)
  }
  t.end()
})

await test('no pattern that is taken holds a line for long', (t) => {
  const lines = ['x'.repeat(256), '1'.repeat(256), `${'x '.repeat(127)}!`, 'INFO'.repeat(64)]
  for (const pattern of quickPatterns) {
    const starts = eventStart({ 'awslogs-multiline-pattern': pattern })
    for (const line of lines) t.type(starts?.(line), 'boolean', pattern)
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
