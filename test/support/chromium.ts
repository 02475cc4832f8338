import { test } from '@jest/globals'
import { chromium, type Browser, type LaunchOptions } from 'playwright-core'
import { findChromium, missingChromium } from './executables.js'

const executablePath = findChromium()

/** `test` where a Chromium is found; elsewhere the test is reported as skipped, which CI counts as a failure. */
export const browserTest: typeof test | typeof test.skip = executablePath ? test : test.skip

/** A headless Chromium. The caller closes it. */
export function launch(options: LaunchOptions = {}): Promise<Browser> {
  if (!executablePath) throw new Error(missingChromium)
  return chromium.launch({
    ...options,
    executablePath,
    headless: true,
    args: [
      // Chromium refuses its sandbox to root, as whom CI containers run; the pages are our own.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...(options.args ?? []),
    ],
  })
}
