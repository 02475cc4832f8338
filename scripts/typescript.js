// Lets Node run this repository's TypeScript in place: `node --import ./scripts/typescript.js file.ts`.
// Node 20 cannot strip types, and swc is here already for the tests; a runner of its own would be one more dependency.
import { register } from 'node:module'

process.setSourceMapsEnabled(true)
register('./typescript-hooks.js', import.meta.url)
