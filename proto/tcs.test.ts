/** The telemetry channel's frames, as the official agent sends them and as anybody else might. */
import * as fc from 'fast-check'
import { test } from 'tap'
import { parseTcsFrame, tcsFrameCharactersMax } from './tcs.ts'

const body =
  '{"type":"PublishMetricsRequest","message":{"metadata":{"cluster":"demo","containerInstance":"arn",' +
  '"fin":true,"idle":true,"messageId":"f20bd9aa"},"timestamp":1795264035.261}}'
const signature =
  'AWS4-HMAC-SHA256 Credential=EXAMPLEKEYID/20261121/us-east-1/ecs/aws4_request, SignedHeaders=host;x-amz-date, ' +
  'Signature=0123'

await test('the official agent puts a signed header block before each frame', async (t) => {
  const block = `Authorization: ${signature}\r\nHost: 127.0.0.1:8099\r\nX-Amz-Date: 20261121T120000Z\r\n\r\n`
  t.same(parseTcsFrame(block + body), {
    frame: JSON.parse(body) as unknown,
    signature: { authorization: signature, host: '127.0.0.1:8099', 'x-amz-date': '20261121T120000Z' },
  })
  const session = parseTcsFrame(`X-Amz-Security-Token: a:b=\n\n${body}`)
  t.same(session?.signature, { 'x-amz-security-token': 'a:b=' })
})

await test('a bare frame is a frame, and what is none is told apart', async (t) => {
  t.same(parseTcsFrame(body), { frame: JSON.parse(body) as unknown })
  t.same(parseTcsFrame('{"type":"StartTelemetrySessionRequest"}')?.frame.message, {})
  const wrong = [
    '',
    'Host: x\r\n\r\n',
    '{',
    '{"message":{}}',
    '{"type":5}',
    '{"type":"A","message":7}',
    `${body}x`,
    '[]',
  ]
  for (const text of wrong) t.equal(parseTcsFrame(text), undefined, text.slice(0, 30))
  t.equal(parseTcsFrame(`A: ${'x'.repeat(20_000)}\r\n\r\n${body}`), undefined, 'a header block beyond its bound')
  const padded = body + ' '.repeat(tcsFrameCharactersMax - body.length)
  t.ok(parseTcsFrame(padded), 'a frame of the greatest length')
  t.equal(parseTcsFrame(`${padded} `), undefined, 'a frame beyond it')
  fc.assert(
    fc.property(fc.string(), (text) => {
      const parsed = parseTcsFrame(text)
      return parsed === undefined || typeof parsed.frame.type === 'string'
    }),
  )
})
