import { AbilityBuilder, createMongoAbility, subject, type MongoAbility } from '@casl/ability'
import { describe, expect, jest, test } from '@jest/globals'
import { ConfigError, type Denied, type Gate, PolicyFault } from 'portcullis'
import { abilities, authorize } from 'portcullis/policies'
import { admitted, denied, faulted, harness, type Probe, type Result } from 'portcullis/testing'

type Rules = Parameters<typeof createMongoAbility>[0]
const can = (action: string | string[], subject: any, more: object = {}) => ({ action, subject, ...more })
const cannot = (action: string | string[], subject: any, more: object = {}) => ({ action, subject, inverted: true, ...more })
const peerOf = (...rules: unknown[]) => ({ ability: createMongoAbility(rules as Rules) })
const dataOf = ({ data }: { data: any }) => data

/** One place in which `authorize` may stand, and how to bring it a value to judge. */
interface Place {
  readonly stage: string
  readonly ask: (probe: Probe, value: unknown, peer: object) => Promise<Result>
}
const asks: readonly Place[] = [
  { stage: 'event', ask: (probe, value, peer) => probe.event('note', value, { peer }) },
  { stage: 'deliver', ask: (probe, value, peer) => probe.deliver('note', value, { peer }) },
]

const messageOf = ({ error }: Result): string => (error as Error).message
const reasonOf = ({ error }: Result): unknown => (error as Denied).cause

describe.each(asks)('at the $stage stage', ({ ask }) => {
  const probe = harness(authorize('read', 'Note', dataOf))
  const asked = (value: unknown, ...rules: unknown[]) => ask(probe, value, peerOf(...rules))

  test('a peer may do what a rule permits', async () => {
    expect(await asked({}, can('read', 'Note'))).toEqual(admitted({ sync: true }))
    expect(await asked({}, can('manage', 'all'))).toEqual(admitted())
    expect(await asked({}, can(['create', 'read'], ['Room', 'Note']))).toEqual(admitted())
  })

  test('a peer may do nothing else', async () => {
    for (const rules of [[], [can('create', 'Note')], [can('read', 'Room')], [can('read', 'Note'), cannot('read', 'Note')], [can('manage', 'all'), cannot('manage', 'Note')]]) {
      expect(await asked({}, ...rules)).toEqual(denied('FORBIDDEN'))
    }
  })

  test('conditions are those of the resource at hand', async () => {
    const rules = [can('read', 'Note', { conditions: { owner: 'alice' } }), cannot('read', 'Note', { conditions: { 'state.locked': true } })]
    expect(await asked({ owner: 'alice', state: { locked: false } }, ...rules)).toEqual(admitted())
    expect(await asked({ owner: 'bob', state: { locked: false } }, ...rules)).toEqual(denied('FORBIDDEN'))
    expect(await asked({ owner: 'alice', state: { locked: true } }, ...rules)).toEqual(denied('FORBIDDEN'))
  })

  test.each([undefined, null, 'a note', 7, true, [], [{ owner: 'alice' }]])('%p is no resource, and nobody may do anything with it', async (value) => {
    expect(await asked(value, can('manage', 'all'))).toEqual(denied('FORBIDDEN'))
  })

  test.each([
    ['beside an ordinary rule', can('read', 'Note', { conditions: { owner: 'alice' } })],
    ['beside a right to everything', can('manage', 'all')],
  ])('a condition that lacks its value permits nothing, %s', async (_, beside) => {
    const broken = can('read', 'Note', { conditions: { owner: undefined } })
    for (const rules of [[broken, beside], [beside, broken]]) {
      expect(await asked({ title: 'has no owner' }, ...rules)).toEqual(faulted('INTERNAL'))
      expect(await asked(undefined, ...rules)).not.toEqual(admitted())
    }
  })

  test('an operator that CASL does not know never opens what it was to close', async () => {
    const rules = [can('read', 'Note'), cannot('read', 'Note', { conditions: { $or: [{ secret: true }, { owner: 'bob' }] } })]
    expect(createMongoAbility(rules as Rules).can('read', subject('Note', { secret: true }))).toBe(true) // CASL by itself
    const result = await asked({ secret: true }, ...rules)
    expect(result).toEqual(faulted('INTERNAL'))
    expect(messageOf(result)).toContain('"$or" is no operator')
  })

  test('what a payload says of its own type is not listened to', async () => {
    const rules = [can('read', 'Public'), can('read', 'Note', { conditions: { owner: 'alice' } })]
    const payload = (): any => JSON.parse('{ "__caslSubjectType__": "Public", "owner": "bob" }')
    expect(createMongoAbility(rules as Rules).can('read', payload())).toBe(true) // CASL by itself
    expect(await asked(payload(), ...rules)).toEqual(denied('FORBIDDEN'))
    expect(await asked({ ...payload(), owner: 'alice' }, ...rules)).toEqual(admitted())
    expect(await asked(subject('Public', { owner: 'bob' }), ...rules)).toEqual(denied('FORBIDDEN'))
    expect(await asked({ constructor: { modelName: 'Public' }, owner: 'bob' }, ...rules)).not.toEqual(admitted())
  })

  test('the resource is neither copied nor changed, frozen or not', async () => {
    const note = Object.freeze({ owner: 'alice', parts: Object.freeze([1]) })
    const result = await asked(note, can('read', 'Note', { conditions: { owner: 'alice' } }))
    expect(result.data).toBe(note)
    const open = { owner: 'alice' }
    await asked(open, can('read', 'Note'))
    expect(Reflect.ownKeys(open)).toEqual(['owner'])
  })

  test('a field of an instance that is not its own counts in a condition', async () => {
    class Note {
      get secret() { return true } // prettier-ignore
    }
    const ofInstance = harness(authorize('read', 'Note', () => new Note()))
    expect(await ask(ofInstance, {}, peerOf(can('read', 'Note'), cannot('read', 'Note', { conditions: { secret: true } })))).toEqual(denied('FORBIDDEN'))
  })

  test('no ability is a fault that says what is missing, never a pass', async () => {
    for (const peer of [{}, { ability: undefined }, { ability: null }, { ability: 'manage all' }, { ability: { can: () => true } }, { ability: [can('manage', 'all')] }]) {
      const result = await ask(probe, {}, peer)
      expect(result).toEqual(faulted('INTERNAL'))
      expect(result.policy).toBe('authorize')
      expect(messageOf(result)).toContain('Declare use(abilities(...)) above it')
    }
  })

  test('a refusal tells the client nothing, and operators the reason', async () => {
    const result = await asked({ locked: true }, can('read', 'Note'), cannot('read', 'Note', { conditions: { locked: true }, reason: 'the note is locked by legal' }))
    expect(result.refusal).toEqual({ code: 'FORBIDDEN', message: 'This is not allowed.', id: expect.any(String) })
    expect(reasonOf(result)).toBe('the note is locked by legal')
    expect(reasonOf(await asked({}))).toBe('no rule permits "read" on "Note"')
    expect(reasonOf(await asked({}, can('read', 'Note'), cannot('read', 'Note')))).toBe('a rule forbids "read" on "Note"')
    expect(reasonOf(await asked(null))).toBe('no rule permits "read" on "Note", the resource being null')
  })

  test('a resource function that throws is a fault', async () => {
    const broken = harness(authorize('read', 'Note', () => { throw new Error('no database') })) // prettier-ignore
    expect(await ask(broken, {}, peerOf(can('manage', 'all')))).toEqual(faulted('INTERNAL'))
  })

  test('a right that is taken away is gone at once', async () => {
    const peer = peerOf(can('read', 'Note'))
    expect(await ask(probe, {}, peer)).toEqual(admitted())
    peer.ability.update([])
    expect(await ask(probe, {}, peer)).toEqual(denied('FORBIDDEN'))
    peer.ability.update([can('read', 'Note')])
    expect(await ask(probe, {}, peer)).toEqual(admitted())
  })

  test('a right that is taken away from a shared ability made by a builder is gone at once, for this peer alone', async () => {
    const policy = abilities(() => {
      const { can, build } = new AbilityBuilder<MongoAbility>(createMongoAbility)
      can('read', 'Note', { owner: 'alice' })
      return build()
    })
    const [one, other] = [(await harness(policy).connect()).facts, (await harness(policy).connect()).facts]
    const note = { owner: 'alice' }
    expect(await ask(probe, note, one)).toEqual(admitted())
    one.ability.update([])
    expect(await ask(probe, note, one)).toEqual(denied('FORBIDDEN'))
    expect(await ask(probe, note, other)).toEqual(admitted())
  })

  test('an update to rules that are not sound closes everything, and reports why', async () => {
    const peer = peerOf(can('manage', 'all'))
    expect(await ask(probe, {}, peer)).toEqual(admitted())
    peer.ability.update([can('manage', 'all'), can('read', 'Note', { conditions: { owner: undefined } })])
    expect(messageOf(await ask(probe, {}, peer))).toContain('rule 1: conditions.owner is undefined')
    expect(() => peer.ability.update([can('read', 'Note'), can('read', 'Note', { fields: [] })])).toThrow(/cannot be empty/)
    expect(messageOf(await ask(probe, {}, peer))).toContain('did not finish')
    peer.ability.update([can('read', 'Note')])
    expect(await ask(probe, {}, peer)).toEqual(admitted())
  })

  test('an update that throws half-way closes everything', async () => {
    const peer = peerOf(can('manage', 'all'))
    peer.ability.on('update', () => { throw new Error('a listener of the application') }) // prettier-ignore
    expect(await ask(probe, {}, peer)).toEqual(admitted())
    expect(() => peer.ability.update([])).toThrow('a listener of the application')
    expect(await ask(probe, {}, peer)).toEqual(faulted('INTERNAL'))
  })

  test('an ability that cannot be updated any more is taken as it is', async () => {
    expect(await ask(probe, {}, { ability: Object.freeze(createMongoAbility([can('read', 'Note')])) })).toEqual(admitted())
  })

  test('a type may be a class', async () => {
    class Note {
      owner = 'alice'
    }
    const byClass = harness(authorize('read', Note, dataOf))
    const ofInstance = (type: any) => harness(authorize('read', type, () => new Note()))
    const peer = { ability: createMongoAbility<MongoAbility<[string, any]>>([{ action: 'read', subject: Note, conditions: { owner: 'alice' } }]) }
    expect(await ask(ofInstance(Note), {}, peer)).toEqual(admitted())
    expect(await ask(byClass, { owner: 'alice' }, peer)).toEqual(admitted())
    expect(await ask(byClass, { owner: 'bob' }, peer)).toEqual(denied('FORBIDDEN'))
    expect(reasonOf(await ask(byClass, { owner: 'bob' }, peer))).toBe('no rule permits "read" on "Note"')
    expect(await ask(ofInstance('Note'), {}, peer)).toEqual(denied('FORBIDDEN'))
  })
})

describe.each(asks)('without a resource, at the $stage stage', ({ ask }) => {
  const probe = harness(authorize('read', 'Note'))
  const asked = (...rules: unknown[]) => ask(probe, { owner: 'alice' }, peerOf(...rules))

  test('the type as a whole decides', async () => {
    expect(await asked(can('read', 'Note'))).toEqual(admitted())
    expect(await asked(can('read', 'Note', { conditions: {} }))).toEqual(admitted())
    expect(await asked(can('read', 'Room'))).toEqual(denied('FORBIDDEN'))
    expect(await asked(can('manage', 'all'), cannot('read', 'Note'))).toEqual(denied('FORBIDDEN'))
  })

  test.each([
    ['permits some', [can('read', 'Note', { conditions: { owner: 'alice' } })]],
    ['forbids some', [can('read', 'Note'), cannot('read', 'Note', { conditions: { secret: true } })]],
    ['permits some through a wider rule', [can('manage', 'all', { conditions: { owner: 'alice' } })]],
  ])('a rule that %s is a fault: CASL by itself would say yes', async (_, rules) => {
    expect(createMongoAbility(rules as Rules).can('read', 'Note')).toBe(true)
    const result = await asked(...rules)
    expect(result).toEqual(faulted('INTERNAL'))
    expect(messageOf(result)).toContain('Give authorize a function that finds it')
  })

  test('a rule with conditions that an unconditional one overrides does not matter', async () => {
    const some = can('read', 'Note', { conditions: { owner: 'alice' } })
    expect(await asked(some, can('manage', 'all'))).toEqual(admitted())
    expect(await asked(some, cannot('read', 'Note'))).toEqual(denied('FORBIDDEN'))
  })

  test('a rule with conditions about something else does not matter', async () => {
    expect(await asked(can('read', 'Note'), can('read', 'Room', { conditions: { id: 7 } }), can('update', 'Note', { conditions: { id: 7 } }))).toEqual(admitted())
  })
})

describe.each(asks)('fields, at the $stage stage', ({ ask }) => {
  const person = { name: 'Ann', tenant: 'acme', rate: 90 }
  const limited = [can('read', 'Person', { fields: ['name', 'tenant'], conditions: { tenant: 'acme' } })]
  const all = [can('read', 'Person', { conditions: { tenant: 'acme' } })]
  const asked = (options: any, ...rules: unknown[]) => ask(harness(authorize('read', 'Person', dataOf, options)), person, peerOf(...rules))

  test('one field must be permitted', async () => {
    expect(await asked({ field: 'name' }, ...limited)).toEqual(admitted())
    expect(await asked({ field: 'rate' }, ...limited)).toEqual(denied('FORBIDDEN'))
    expect(await asked({ field: 'rate' }, ...all)).toEqual(admitted())
    expect(reasonOf(await asked({ field: 'rate' }, ...limited))).toBe('no rule permits "read" on "Person", rate')
  })

  test('several must all be permitted', async () => {
    expect(await asked({ fields: ['name', 'tenant'] }, ...limited)).toEqual(admitted())
    expect(await asked({ fields: ['name', 'rate'] }, ...limited)).toEqual(denied('FORBIDDEN'))
    expect(await asked({ fields: ['name', 'rate'] }, ...all, cannot('read', 'Person', { fields: 'rate' }))).toEqual(denied('FORBIDDEN'))
    expect(await asked({ fields: ['name', 'tenant'] }, ...all, cannot('read', 'Person', { fields: 'rate' }))).toEqual(admitted())
  })

  test('which ones may depend on what is asked', async () => {
    const fields = ({ data }: { data: object }) => Object.keys(data)
    expect(await asked({ fields }, ...limited)).toEqual(denied('FORBIDDEN'))
    expect(await asked({ fields }, ...all)).toEqual(admitted())
    const partly = harness(authorize('read', 'Person', () => person, { fields }))
    expect(await ask(partly, { name: 1 }, peerOf(...limited))).toEqual(admitted())
    expect(await ask(partly, { rate: 1 }, peerOf(...limited))).toEqual(denied('FORBIDDEN'))
  })

  test('a field without a name, which CASL takes for no field in particular, is not permitted by a rule with fields', async () => {
    const partly = harness(authorize('read', 'Person', () => person, { fields: ({ data }: { data: object }) => Object.keys(data) }))
    expect(await ask(partly, { '': 1 }, peerOf(...limited))).toEqual(denied('FORBIDDEN'))
  })

  test('a function that names none refuses, and one that names no fields is a fault', async () => {
    expect(await asked({ fields: () => [] }, can('manage', 'all'))).toEqual(denied('FORBIDDEN'))
    for (const fields of [() => undefined, () => 'name', () => [1], async () => { throw new Error('late') }]) { // prettier-ignore
      expect(await asked({ fields }, can('manage', 'all'))).toEqual(faulted('INTERNAL'))
    }
  })

  test.each([
    ['some are permitted', limited],
    ['some are forbidden', [...all, cannot('read', 'Person', { fields: ['rate'] })]],
  ])('a question about the whole is a fault when only %s: CASL by itself would say yes', async (_, rules) => {
    expect(createMongoAbility(rules as Rules).can('read', subject('Person', { ...person }))).toBe(true)
    const result = await asked({}, ...rules)
    expect(result).toEqual(faulted('INTERNAL'))
    expect(messageOf(result)).toContain('limited to some fields')
  })

  test('rules about fields do not matter to the whole where they change nothing', async () => {
    expect(await asked({}, ...limited, can('manage', 'all'))).toEqual(admitted())
    expect(await asked({}, can('manage', 'all'), ...limited)).toEqual(admitted())
    expect(await asked({}, can('read', 'Person'), cannot('read', 'Person', { fields: ['rate'], conditions: { tenant: 'globex' } }))).toEqual(admitted())
    expect(await asked({}, cannot('read', 'Person', { fields: ['rate'] }))).toEqual(denied('FORBIDDEN'))
    expect(await asked({}, can('read', 'Person', { fields: ['name'], conditions: { tenant: 'globex' } }))).toEqual(denied('FORBIDDEN'))
  })

  test('need no resource where no rule has conditions', async () => {
    const byType = harness(authorize('read', 'Person', undefined, { field: 'name' }))
    expect(await ask(byType, person, peerOf(can('read', 'Person', { fields: ['name'] })))).toEqual(admitted())
    expect(await ask(byType, person, peerOf(can('read', 'Person', { fields: ['rate'] })))).toEqual(denied('FORBIDDEN'))
    expect(await ask(byType, person, peerOf(can('read', 'Person', { fields: ['rate'], conditions: { id: 1 } })))).toEqual(denied('FORBIDDEN'))
    expect(await ask(byType, person, peerOf(...limited))).toEqual(faulted('INTERNAL'))
  })
})

describe('at the connect stage', () => {
  const enter = (rules: unknown[], ...args: any[]) => harness([abilities(() => rules as never), authorize('enter', 'Chat', ...args)] as never)

  test('a peer enters when it may', async () => {
    expect(await enter([can('enter', 'Chat')]).connect()).toEqual(admitted({ sync: true }))
    expect(await enter([]).connect()).toEqual(denied('FORBIDDEN'))
  })

  test('the resource may come from the handshake, at once or later', async () => {
    const rules = [can('enter', 'Chat', { conditions: { team: 'blue' } })]
    const of = ({ handshake }: any) => ({ team: handshake.auth.team })
    for (const resource of [of, async (ctx: any) => of(ctx)]) {
      expect(await enter(rules, resource).connect({ auth: { team: 'blue' } })).toEqual(admitted())
      expect(await enter(rules, resource).connect({ auth: { team: 'red' } })).toEqual(denied('FORBIDDEN'))
      expect(await enter(rules, resource).connect()).toEqual(denied('FORBIDDEN'))
    }
  })

  test('above abilities it is a fault', async () => {
    const probe = harness([authorize('enter', 'Chat'), abilities(() => [can('manage', 'all')])])
    expect(await probe.connect()).toEqual(faulted('INTERNAL'))
  })
})

describe('at the join stage', () => {
  const rooms = new Map([['blue', { id: 'blue', members: ['alice'] }], ['red', { id: 'red', members: ['bob'] }]])
  const rules = [can('read', 'Room', { conditions: { members: 'alice' } })]

  test.each([
    ['at once', (id: string): unknown => rooms.get(id)],
    ['later', async (id: string): Promise<unknown> => rooms.get(id)],
  ])('the resource is the one that the room names, found %s', async (_, find) => {
    const probe = harness(authorize('read', 'Room', ({ params }: any) => find(params.id)))
    const join = (room: string) => probe.join(room, { pattern: 'room:{id}', peer: peerOf(...rules) })
    expect(await join('room:blue')).toEqual(admitted())
    expect(await join('room:red')).toEqual(denied('FORBIDDEN'))
    expect(await join('room:nowhere')).toEqual(denied('FORBIDDEN'))
  })

  test('a resource that cannot be found because of an error is a fault', async () => {
    const probe = harness(authorize('read', 'Room', async () => { throw new Error('no database') })) // prettier-ignore
    expect(await probe.join('room:blue', { peer: peerOf(can('manage', 'all')) })).toEqual(faulted('INTERNAL'))
  })
})

describe('at the event stage', () => {
  test('the resource may take time, and the rights are those of then', async () => {
    const peer = peerOf(can('read', 'Note'))
    const probe = harness(authorize('read', 'Note', async ({ data }: any) => data))
    const result = await probe.event('note', {}, { peer })
    expect(result).toEqual(admitted({ sync: false }))
    const taken = probe.event('note', {}, { peer })
    peer.ability.update([])
    expect(await taken).toEqual(denied('FORBIDDEN'))
  })

  test('nothing is there for a thenable that a client could send', async () => {
    const probe = harness(authorize('read', 'Note', dataOf))
    expect(await probe.event('note', { then: 'text' }, { peer: peerOf(can('read', 'Note')) })).toEqual(admitted({ data: { then: 'text' } }))
  })
})

describe('at the deliver stage', () => {
  const note = { owner: 'team', text: 'hello' }

  test('one decision is made for all peers of the same ability, and one for each other', async () => {
    const find = jest.fn(dataOf)
    const [mine, yours] = [peerOf(can('read', 'Note', { conditions: { owner: 'team' } })), peerOf(can('read', 'Room'))]
    const results = await harness(authorize('read', 'Note', find)).broadcast('note', note, [mine, yours, mine, yours, { ...mine }])
    expect(results.map(({ outcome }) => outcome)).toEqual(['admitted', 'denied', 'admitted', 'denied', 'admitted'])
    expect(find).toHaveBeenCalledTimes(2)
  })

  test('a right that is taken away parts a peer from those it shared an ability with', async () => {
    const policy = abilities(() => createMongoAbility([can('read', 'Note', { conditions: { owner: 'team' } })]))
    const peers: any[] = [(await harness(policy).connect()).facts, (await harness(policy).connect()).facts]
    const find = jest.fn(dataOf)
    const probe = harness(authorize('read', 'Note', find))
    const outcomes = async () => (await probe.broadcast('note', note, peers)).map(({ outcome }) => outcome)
    expect(await outcomes()).toEqual(['admitted', 'admitted'])
    expect(find).toHaveBeenCalledTimes(1)
    peers[0].ability.update([])
    expect(await outcomes()).toEqual(['denied', 'admitted'])
    expect(find).toHaveBeenCalledTimes(3)
    peers[0].ability.update(peers[1].ability.rules)
    expect(await outcomes()).toEqual(['admitted', 'admitted'])
    expect(find).toHaveBeenCalledTimes(4)
  })

  test('a promised resource is a fault, and its rejection ends nothing', async () => {
    const probe = harness(authorize('read', 'Note', async () => { throw new Error('no database') })) // prettier-ignore
    const result = await probe.deliver('note', note, { peer: peerOf(can('manage', 'all')) })
    expect(result).toEqual(faulted('INTERNAL'))
    expect(messageOf(result)).toContain('is a promise')
  })

  test('peers without an ability get nothing, and each other peer its own', async () => {
    const results = await harness(authorize('read', 'Note', dataOf)).broadcast('note', note, [{}, peerOf(can('read', 'Note')), {}])
    expect(results.map(({ outcome }) => outcome)).toEqual(['fault', 'admitted', 'fault'])
  })

  test('it decides for a recipient, too, where another policy must be asked for each', async () => {
    const each = { name: 'each', deliver: (_: unknown, next: () => undefined) => next() }
    const results = await harness([each, authorize('read', 'Note', dataOf)]).broadcast('note', note, [peerOf(), peerOf(can('read', 'Note')), {}])
    expect(results.map(({ outcome }) => outcome)).toEqual(['denied', 'admitted', 'fault'])
  })
})

describe('a mask', () => {
  const person = Object.freeze({ name: 'Ann', tenant: 'acme', rate: 90 })
  const basic = can('read', 'Person', { fields: ['name', 'tenant'], conditions: { tenant: 'acme' } })
  const probe = harness(authorize('read', 'Person', dataOf, { mask: true }))
  const seenBy = async (data: unknown, ...rules: unknown[]) => probe.deliver('person', data, { peer: peerOf(...rules) })

  test('takes out what a recipient may not read, and leaves the original as it was', async () => {
    const [staff, admin, stranger] = await probe.broadcast('person', person, [peerOf(basic), peerOf(can('read', 'Person')), peerOf(can('read', 'Note'))])
    expect(staff!.data).toEqual({ name: 'Ann', tenant: 'acme' })
    expect(admin!.data).toBe(person)
    expect(stranger).toEqual(denied('FORBIDDEN'))
  })

  test('takes out what a rule forbids', async () => {
    const result = await seenBy(person, can('read', 'Person'), cannot('read', 'Person', { fields: ['rate'], conditions: { tenant: 'acme' } }))
    expect(result).toEqual(admitted({ data: { name: 'Ann', tenant: 'acme' } }))
    expect(await seenBy(person, can('read', 'Person'), cannot('read', 'Person', { fields: ['rate'], conditions: { tenant: 'globex' } }))).toEqual(admitted({ data: person }))
  })

  test('takes out what no rule names, new fields included', async () => {
    expect(await seenBy({ ...person, '': 1, new: 2, ['__proto__']: { rate: 3 } }, basic)).toEqual(admitted({ data: { name: 'Ann', tenant: 'acme' } }))
  })

  test('refuses where nothing is left', async () => {
    expect(await seenBy({ rate: 90, tenant: 'acme' }, can('read', 'Person', { fields: ['name'] }))).toEqual(denied('FORBIDDEN'))
    expect(await seenBy({}, can('read', 'Person'))).toEqual(denied('FORBIDDEN'))
    expect(await seenBy({ ...person, tenant: 'globex' }, basic)).toEqual(denied('FORBIDDEN'))
  })

  test('keeps the other arguments', async () => {
    const result = await probe.deliver('person', undefined, { args: [person, 'second'], peer: peerOf(basic) })
    expect(result.args).toEqual([{ name: 'Ann', tenant: 'acme' }, 'second'])
  })

  class Person {
    name = 'Ann'
    toJSON() { return { name: 'Ann', rate: 90 } } // prettier-ignore
  }
  test.each([
    ['a list', [person], () => person],
    ['an instance', new Person(), dataOf],
    ['an object that says what is sent in its place', { name: 'Ann', toJSON: () => person }, dataOf],
    ['text', 'Ann', () => person],
    ['nothing', undefined, () => person],
  ])('cannot be put on %s, which is a fault', async (_, data, find) => {
    const other = harness(authorize('read', 'Person', find, { mask: true }))
    expect(await other.deliver('person', data, { peer: peerOf(can('manage', 'all')) })).toEqual(faulted('INTERNAL'))
  })

  test('knows top-level fields only: a rule that forbids a nested one is a fault', async () => {
    const result = await seenBy(person, can('read', 'Person'), cannot('read', 'Person', { fields: ['address.zip'] }))
    expect(result).toEqual(faulted('INTERNAL'))
    expect(messageOf(result)).toContain('address.zip')
  })

  test('needs no resource where no rule has conditions', async () => {
    const byType = harness(authorize('read', 'Person', undefined, { mask: true }))
    expect(await byType.deliver('person', person, { peer: peerOf(can('read', 'Person', { fields: 'name' })) })).toEqual(admitted({ data: { name: 'Ann' } }))
    expect(await byType.deliver('person', person, { peer: peerOf(basic) })).toEqual(faulted('INTERNAL'))
  })

  test('stands at deliveries and replies, and nowhere else', () => {
    const policy = authorize('read', 'Person', dataOf, { mask: true }) as never
    expect(() => harness((gate: Gate) => gate.deliver('person', policy).reply('person:get', policy))).not.toThrow()
    expect(() => harness((gate: Gate) => gate.event('person', policy))).toThrow(/has no event hook\. It belongs at \.deliver/)
    expect(() => harness((gate: Gate) => gate.connect(policy))).toThrow(ConfigError)
    expect(() => harness((gate: Gate) => gate.join('person:{id}', policy))).toThrow(ConfigError)
  })
})

describe('a mistake in the declaration', () => {
  const wrong: [string, unknown[], RegExp][] = [
    ['no action', [undefined, 'Note'], /takes an action first/],
    ['an empty action', ['', 'Note'], /takes an action first/],
    ['a list of actions', [['read'], 'Note'], /takes an action first/],
    ['no type', ['read'], /the type of the resource/],
    ['an instance for a type', ['read', {}], /the type of the resource/],
    ['a resource instead of a function', ['read', 'Note', { owner: 'alice' }], /a function from the context/],
    ['options instead of a resource', ['read', 'Note', { field: 'name' }], /a function from the context/],
    ['options that are no object', ['read', 'Note', dataOf, 'name'], /the options are an object/],
    ['null for options', ['read', 'Note', dataOf, null], /the options are an object/],
    ['an option that does not exist', ['read', 'Note', dataOf, { filed: 'name' }], /no option "filed"/],
    ['two at once', ['read', 'Note', dataOf, { field: 'name', mask: true }], /takes one of/],
    ['an empty field', ['read', 'Note', dataOf, { field: '' }], /`field` is the name/],
    ['a field that is missing', ['read', 'Note', dataOf, { field: undefined }], /`field` is the name/],
    ['no fields', ['read', 'Note', dataOf, { fields: [] }], /`fields` is a list/],
    ['fields that are missing', ['read', 'Note', dataOf, { fields: undefined }], /`fields` is a list/],
    ['a field among fields that is no name', ['read', 'Note', dataOf, { fields: ['a', 1] }], /`fields` is a list/],
    ['a mask of names', ['read', 'Note', dataOf, { mask: ['rate'] }], /`mask` is true or false/],
  ]
  test.each(wrong)('%s throws where it is made', (_, args, message) => {
    const make = authorize as (...args: unknown[]) => unknown
    expect(() => make(...args)).toThrow(ConfigError)
    expect(() => make(...args)).toThrow(message)
  })

  test('has no hook at the request stage', () => {
    expect(Object.keys(authorize('read', 'Note'))).toEqual(['name', 'connect', 'event', 'join', 'deliver'])
    expect(authorize('read', 'Note').name).toBe('authorize')
  })

  test('faults name the policy', async () => {
    const result = await harness(authorize('read', 'Note')).event('note', {}, { peer: {} })
    expect(result.error).toBeInstanceOf(PolicyFault)
    expect((result.error as PolicyFault).policy).toBe('authorize')
  })
})
