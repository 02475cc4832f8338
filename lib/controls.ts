import type { GateControls } from './attach.ts'
import type { Clock } from './clock.ts'
import { AudienceContext } from './context.ts'
import { Core } from './core.ts'
import { resolveOptions } from './options.ts'
import { Revocations } from './revocations.ts'
import type { Store } from './store.ts'

/** What a gate does for the policies attached to it. */
export function controlsOf(core: Core, revocations: Revocations): GateControls {
  const { store, clock } = core.settings
  return {
    store,
    clock,
    agenda: core.agenda,
    revoke: (target, options) => revocations.revoke(target, options),
    fault: (error) => core.fault(new AudienceContext(core, '/', '', [], []), error, 'gate'),
  }
}

/** The same for a process that has no gate and shares the store of those that have: what it revokes is remembered there, and told to them. */
export function controlsWithoutGate(store: Store, clock: Clock): GateControls {
  const core = new Core(resolveOptions({ store, clock }, undefined))
  return controlsOf(core, new Revocations(core))
}
