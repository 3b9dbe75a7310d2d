"""psycopg 3: LISTEN by execute, notifications from notifies(). The protocol of these programs stands in ../README.md."""

import json
import sys

import psycopg
from psycopg import sql

plain, *others = sys.argv[1:]


def say(**what):
    print(json.dumps(what), flush=True)


def listening(db, word, channels):
    for channel in channels:
        db.execute(sql.SQL(word + " {}").format(sql.Identifier(channel)))


def command(db):
    """Prints what comes until it is a command."""
    for note in db.notifies():
        say(channel=note.channel, payload=note.payload)
        if note.channel == plain and "do" in json.loads(note.payload):
            return json.loads(note.payload)["do"]


with psycopg.connect(autocommit=True) as db:
    listening(db, "LISTEN", [plain, *others])
    say(event="listening")
    while (told := command(db)) != "stop":
        listening(db, told.upper(), others)
        say(event={"listen": "listening", "unlisten": "unlistened"}[told])
