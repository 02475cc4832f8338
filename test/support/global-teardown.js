import { started } from './global-setup.js'

export default async function globalTeardown() {
  await started.redis?.stop()
}
