const { SignJWT } = require('jose')
const portcullis = require('portcullis')
const { jwt } = require('portcullis/adapters/jwt')
const { contract } = require('portcullis/contract')
const policies = require('portcullis/policies')
const testing = require('portcullis/testing')
const { Server } = require('socket.io')
const { io: connect } = require('socket.io-client')
const { scenario } = require('../scenario.cjs')

async function main() {
  const { deny: denyOfTheOtherCopy } = await import('portcullis')
  await scenario({ Server, connect, SignJWT, portcullis, contract, policies, jwt, testing, denyOfTheOtherCopy })
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
