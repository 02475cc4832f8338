import { createRequire } from 'node:module'
import { SignJWT } from 'jose'
import * as portcullis from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { contract } from 'portcullis/contract'
import * as policies from 'portcullis/policies'
import * as testing from 'portcullis/testing'
import { Server } from 'socket.io'
import { io as connect } from 'socket.io-client'
import { scenario } from '../scenario.cjs'

const { deny: denyOfTheOtherCopy } = createRequire(import.meta.url)('portcullis')
await scenario({ Server, connect, SignJWT, portcullis, contract, policies, jwt, testing, denyOfTheOtherCopy })
