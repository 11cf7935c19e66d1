/**
 * The controller without the question whether a caller may: the same build, with one module in the place of the one that
 * decides. For the bench alone.
 */
import { registerHooks } from 'node:module'

const open = new URL('open-access.ts', import.meta.url).href

registerHooks({
  resolve: (specifier, context, next) =>
    specifier.endsWith('/access/check.ts') ? { url: open, shortCircuit: true } : next(specifier, context),
})

await import(new URL('../controller/main.ts', import.meta.url).href)
