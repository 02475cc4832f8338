import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { transform } from '@swc/core'
import type { Express } from 'express'

const folder = new URL('../../client/', import.meta.url)

/**
 * Serves `portcullis/client` to the page from its sources, without their types. In an application with a build step the bundler
 * does this; here the browser is given a path of this server for the one bare name that it would not know.
 */
export function serveCompanion(app: Express): void {
  app.get('/portcullis/client/:file', async ({ params: { file } }, response, next) => {
    if (!/^[a-z]+\.ts$/.test(file)) return next()
    const source = await readFile(fileURLToPath(new URL(file, folder)), 'utf8').catch(() => undefined)
    if (source === undefined) return next()
    const { code } = await transform(source, { swcrc: false, configFile: false, jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' } })
    response.type('text/javascript').send(code.replace(/from ['"]socket\.io-client['"]/, "from '/socket.io/socket.io.esm.min.js'"))
  })
}
