/**
 * Keeps out of the process what dockerode brings along and the agent never asks of it: BuildKit sessions (gRPC) and engines
 * behind SSH. Loaded, they hold 14 MB for ever (docs/decisions/0010-a-lighter-dockerode.md). To be imported before it.
 */
import { registerHooks } from 'node:module'

const unused: ReadonlySet<string> = new Set(['@grpc/grpc-js', '@grpc/proto-loader', 'ssh2'])
const nothing = 'gantry:nothing'

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (!unused.has(specifier)) return nextResolve(specifier, context)
    return { url: nothing, format: 'commonjs', shortCircuit: true }
  },
  load(url, context, nextLoad) {
    if (url !== nothing) return nextLoad(url, context)
    return { format: 'commonjs', source: 'module.exports = {}', shortCircuit: true }
  },
})
