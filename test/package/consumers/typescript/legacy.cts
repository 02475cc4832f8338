import portcullis = require('portcullis')
import policies = require('portcullis/policies')
import adapter = require('portcullis/adapters/jwt')
import contracts = require('portcullis/contract')
import testing = require('portcullis/testing')
import { Server } from 'socket.io'

const gate: portcullis.Gate = portcullis.guard(new Server())
gate.use(policies.rateLimit({ limit: 1, perMs: 1_000 }))
void [adapter.jwt, contracts.contract, testing.harness]
