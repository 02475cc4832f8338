import { accessSync, constants } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * The first of these programs that can be run: a bare name is looked for on PATH, an absolute path is tried as it is.
 * @param {readonly string[]} candidates
 * @returns {string | undefined}
 */
export function findExecutable(candidates) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return candidates
    .flatMap((name) => (isAbsolute(name) ? [name] : folders.map((folder) => join(folder, name))))
    .find(isExecutable)
}

/** Where a Chromium is, or undefined. A CHROMIUM_PATH that leads nowhere is an error, not a reason to look elsewhere. */
export function findChromium() {
  const given = process.env.CHROMIUM_PATH
  if (!given) return findExecutable(['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', '/usr/bin/chromium'])
  const found = findExecutable([given])
  if (!found) throw new Error(`CHROMIUM_PATH is ${given}, which is not a program that can be run.`)
  return found
}

export const missingChromium =
  'No Chromium found: the browser tests are reported as skipped. To run them: apt-get install -y chromium, or set CHROMIUM_PATH.'
