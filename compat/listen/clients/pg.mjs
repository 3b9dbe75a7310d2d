// pg: LISTEN by query, notifications as events. The protocol of these programs stands in ../README.md.
import pg from 'pg'

const [plain, ...others] = process.argv.slice(2)
const say = what => console.log(JSON.stringify(what))

const db = new pg.Client()
await db.connect()
const each = async (word, channels, event) => {
  for (const channel of channels) await db.query(`${word} ${db.escapeIdentifier(channel)}`)
  say({ event })
}

db.on('notification', async ({ channel, payload }) => {
  say({ channel, payload })
  const command = channel === plain && JSON.parse(payload).do
  if (command === 'unlisten') {
    await each('UNLISTEN', others, 'unlistened')
  } else if (command === 'listen') {
    await each('LISTEN', others, 'listening')
  } else if (command === 'stop') {
    await db.end()
  }
})
await each('LISTEN', [plain, ...others], 'listening')
