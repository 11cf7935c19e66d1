/**
 * What the api bench stands beside: a bare HTTP server that reads a body and answers as many bytes as it is asked for,
 * and, where asked, first commits the body to SQLite and syncs it, one commit for each request.
 */
import { createServer } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

const directory = process.argv[2] ?? '.'
const database = new DatabaseSync(join(directory, 'bare.db'))
database.exec(
  'pragma journal_mode = wal; pragma synchronous = full; create table log (id integer primary key, body text)',
)
const insert = database.prepare('insert into log (body) values (?)')

const server = createServer((incoming, answer) => {
  const chunks: Buffer[] = []
  incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
  incoming.on('end', () => {
    if (incoming.headers['x-sync'] === '1') insert.run(Buffer.concat(chunks).toString('utf8'))
    answer.setHeader('content-type', 'application/json')
    answer.end('x'.repeat(Number(incoming.headers['x-answer-bytes'] ?? 2)))
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.send?.(typeof address === 'object' && address !== null ? address.port : 0)
})
// Whoever started it is gone.
process.on('disconnect', () => process.exit(0))
