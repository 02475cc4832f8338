import { startWorkroom } from './start.ts'

const guarded = !process.argv.includes('--without-gate')
const origins = process.env.ORIGIN?.split(',')
const { url, close } = await startWorkroom({
  host: process.env.HOST ?? '127.0.0.1',
  port: Number(process.env.PORT ?? 3_000),
  guarded,
  ...(origins === undefined ? {} : { origins }),
  log: console.log,
})

console.log(`Workroom: ${url}${guarded ? '' : '  (without the gate: the attacks on the page get through)'}`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void close())
