"""asyncpg: add_listener and remove_listener. The protocol of these programs stands in ../README.md."""

import asyncio
import json
import sys

import asyncpg

plain, *others = sys.argv[1:]


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    commands = asyncio.Queue()

    def told(_db, _pid, channel, payload):
        say(channel=channel, payload=payload)
        if channel == plain and "do" in json.loads(payload):
            commands.put_nowait(json.loads(payload)["do"])

    async def listen(channels):
        # add_listener registers the callback only after the server's answer, and what came with that answer is dropped.
        # In a transaction nothing comes before its end.
        async with db.transaction():
            for channel in channels:
                await db.add_listener(channel, told)
        say(event="listening")

    db = await asyncpg.connect()
    await listen([plain, *others])
    while (command := await commands.get()) != "stop":
        if command == "listen":
            await listen(others)
        else:
            for channel in others:
                await db.remove_listener(channel, told)
            say(event="unlistened")
    await db.remove_listener(plain, told)
    await db.close()


asyncio.run(main())
