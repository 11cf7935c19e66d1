/** A program that begins a lab of one machine, says so, and waits to be killed: for the test of what comes after. */
import { network } from './enter.ts'
import { layFoundation } from './lab.ts'
import { Machine } from './machine.ts'

const directory = layFoundation()
const machine = new Machine(directory, 1, 'abandoned')
await machine.powerOn()
const program = await machine.run(['sleep', '3600'], {})
process.stdout.write(`${JSON.stringify({ network, directory, pid: program.pid })}\n`)
setInterval(() => undefined, 60_000)
