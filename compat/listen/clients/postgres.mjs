// postgres.js: listen() has a connection of its own, which it opens anew by itself. The protocol of these programs stands
// in ../README.md.
import postgres from 'postgres'

const [plain, ...others] = process.argv.slice(2)
const say = what => console.log(JSON.stringify(what))

const sql = postgres()
const listening = new Map()
const listen = async channels => {
  for (const channel of channels) listening.set(channel, await sql.listen(channel, told(channel)))
  say({ event: 'listening' })
}
const told = channel => async payload => {
  say({ channel, payload })
  const command = channel === plain && JSON.parse(payload).do
  if (command === 'unlisten') {
    for (const other of others) await listening.get(other).unlisten()
    say({ event: 'unlistened' })
  } else if (command === 'listen') {
    await listen(others)
  } else if (command === 'stop') {
    await sql.end({ timeout: 5 })
  }
}
await listen([plain, ...others])
