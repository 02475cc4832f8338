import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server } from 'socket.io'
import msgpack from 'socket.io-msgpack-parser'
import { WebSocket } from 'ws'

// Run in a process of its own: a bare server with the msgpack parser and recovery, and one client that sends the message of its arguments.

const http = createServer()
new Server(http, { parser: msgpack, connectionStateRecovery: {} })
http.listen(0, '127.0.0.1', () => {
  const socket = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/socket.io/?EIO=4&transport=websocket`)
  socket.once('message', () => socket.send(Buffer.from(process.argv[2]!, 'hex')))
  // Reached where the server answers the CONNECT.
  socket.once('open', () => socket.on('message', (data: Buffer) => (data.includes('sid') && !data.toString().startsWith('0') ? process.exit(0) : undefined)))
})
