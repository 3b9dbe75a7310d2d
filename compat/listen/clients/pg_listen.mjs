// pg-listen, on pg: it quotes with pg-format, parses payloads as JSON and connects anew by itself. The protocol of these
// programs stands in ../README.md.
import subscriberOf from 'pg-listen'

const [plain, ...others] = process.argv.slice(2)
const say = what => console.log(JSON.stringify(what))

const subscriber = (subscriberOf.default ?? subscriberOf)()
subscriber.events.on('error', error => {
  console.error(error)
  process.exit(1)
})
for (const channel of [plain, ...others]) {
  subscriber.notifications.on(channel, payload => say({ channel, payload: JSON.stringify(payload) }))
}
const listen = async channels => {
  for (const channel of channels) await subscriber.listenTo(channel)
  say({ event: 'listening' })
}
subscriber.notifications.on(plain, async ({ do: command }) => {
  if (command === 'unlisten') {
    for (const channel of others) await subscriber.unlisten(channel)
    say({ event: 'unlistened' })
  } else if (command === 'listen') {
    await listen(others)
  } else if (command === 'stop') {
    await subscriber.unlistenAll()
    await subscriber.close()
  }
})
await subscriber.connect()
await listen([plain, ...others])
