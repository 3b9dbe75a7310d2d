"""What is done to a client program, and what it must hear of it: each feature is a column of the matrix."""

import itertools
import json
import time

import psycopg

from programs import RECONNECTING, START_S, Program, Silent
from servers import DATABASE, POOLED, USERS

PLAIN = "room_7"
QUOTED = 'Room "7"'
TABLE = "chat.messages"
QUERY = """SELECT id, "content" FROM chat.messages WHERE conversation_id = 7 AND content <> 'the "quiet" ones'"""
CHANNELS = [PLAIN, QUOTED, TABLE, QUERY]

SCHEMA = """
    CREATE NAMESPACE chat;
    CREATE TABLE chat.messages (
      id BIGINT PRIMARY KEY, conversation_id BIGINT NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL,
      created_at TIMESTAMP
    ) WITH (TYPE = 'USER');
    CREATE USER alice PASSWORD 'alice''s';
    CREATE USER bob PASSWORD 'bob''s';
    GRANT USAGE ON SCHEMA chat TO alice, bob;
    GRANT SELECT, INSERT, UPDATE, DELETE ON chat.messages TO alice, bob;
"""

INSERT = "INSERT INTO chat.messages VALUES (%(id)s, %(conversation_id)s, %(role)s, %(content)s, %(created_at)s)"
RENAME = "UPDATE chat.messages SET content = %s WHERE id = %s"
MOVE = "UPDATE chat.messages SET conversation_id = %s WHERE id = %s"
DELETE = "DELETE FROM chat.messages WHERE id = %s"


class Unlike(Exception):
    """A program heard something else than it must."""


def connect(port, user, database=DATABASE):
    return psycopg.connect(
        host="127.0.0.1", port=port, user=user, password=USERS[user], dbname=database, autocommit=True
    )


def message(id, content="hello", conversation_id=7):
    """A row as a client reads it in an event."""
    return {
        "id": str(id),
        "conversation_id": str(conversation_id),
        "role": "user",
        "content": content,
        "created_at": "2026-11-24T18:30:00.5",
    }


def change(kind, rows=None, old=None, more=False):
    """An event less its position."""
    event = {"type": "change", "change_type": kind}
    event |= {"rows": rows} if rows else {}
    event |= {"old_values": old} if old else {}
    return event | ({"more": True} if more else {})


def acknowledgement(channel):
    columns = [("id", "bigint"), ("content", "text")]
    if channel == TABLE:
        columns[1:1] = [("conversation_id", "bigint"), ("role", "text")]
        columns.append(("created_at", "timestamp without time zone"))
    columns = [{"name": name, "type": type} for name, type in columns]
    return {"type": "subscription_ack", "channel": channel, "columns": columns}


def short(event):
    """The columns that QUERY selects."""
    rows = {label: [{key: row[key] for key in ["id", "content"]} for row in event[label]]
            for label in ["rows", "old_values"] if label in event}
    return event | rows


class World:
    """Sessions that write, beside the programs that listen."""

    def __init__(self, port):
        self.admin = connect(port, "tertulia")
        self.admin.execute(SCHEMA)
        self.alice, self.bob = connect(port, "alice"), connect(port, "bob")
        self.ids = iter(range(1, 1_000_000))

    def in_another_conversation(self):
        """Rows that QUERY does not select; the events that TABLE has."""
        id = next(self.ids)
        first, second = message(id, conversation_id=8), message(id, 'more "words"', 8)
        self.bob.execute(INSERT, message(id, "not for alice"))
        self.alice.execute(INSERT, first)
        self.alice.execute(RENAME, [second["content"], id])
        self.alice.execute(DELETE, [id])
        self.bob.execute(DELETE, [id])
        return [change("insert", [first]), change("update", [second], [first]), change("delete", old=[second])]

    def in_the_conversation(self):
        """Rows that come into what QUERY selects, change there and leave it; the events that TABLE and QUERY have."""
        id = next(self.ids)
        away, here, renamed = message(id, conversation_id=8), message(id), message(id, "renamed")
        quiet = message(id, 'the "quiet" ones')
        self.alice.execute(INSERT, away)
        self.alice.execute(MOVE, [7, id])
        self.alice.execute(RENAME, [renamed["content"], id])
        self.alice.execute(RENAME, [quiet["content"], id])
        self.alice.execute(DELETE, [id])
        table = [
            change("insert", [away]),
            change("update", [here], [away]),
            change("update", [renamed], [here]),
            change("update", [quiet], [renamed]),
            change("delete", old=[quiet]),
        ]
        return table, [short(change("insert", [here])), short(table[2]), short(change("delete", old=[renamed]))]

    def transactions(self):
        """Several changes to a commit, and a rollback; the events that TABLE and QUERY have."""
        a, b, c, d = (next(self.ids) for _ in range(4))
        with self.alice.transaction():
            for id in [a, b, c]:
                self.alice.execute(INSERT, message(id))
            self.alice.execute(RENAME, ["renamed", a])
            self.alice.execute(DELETE, [c])
        with self.alice.transaction(force_rollback=True):
            self.alice.execute(DELETE, [a])
        with self.alice.transaction():
            self.alice.execute(INSERT, message(d))
            self.alice.execute(DELETE, [a])
        table = [
            change("insert", [message(a, "renamed"), message(b)]),
            change("delete", old=[message(a, "renamed")], more=True),
            change("insert", [message(d)]),
        ]
        return table, [short(event) for event in table]

    def tell(self, channel, payload):
        self.admin.execute("SELECT pg_notify(%s, %s)", [channel, json.dumps(payload, separators=(",", ":"))])

    def break_connections(self):
        """Ends alice's sessions but the one that writes."""
        own = self.alice.info.backend_pid
        who = self.admin.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'alice' AND pid <> %s", [own])
        for (pid,) in who.fetchall():
            self.admin.execute("SELECT pg_terminate_backend(%s)", [pid])

    def subscriptions(self):
        return self.admin.execute("SELECT count(*) FROM system.live").fetchone()[0]


class Listening:
    """One client program on its way through the features."""

    def __init__(self, world, program):
        self.world, self.program = world, program
        self.heard = []
        self.fences = 0
        self.positions = {}

    def until_now(self):
        """What it hears on each channel up to a notification that is sent now."""
        self.fences += 1
        fence = {"fence": self.fences}
        self.world.tell(PLAIN, fence)
        heard = {channel: [] for channel in CHANNELS}
        while True:
            said = self.heard.pop(0) if self.heard else self.program.next()
            channel, payload = said["channel"], json.loads(said["payload"])
            if payload == fence:
                return heard
            heard.setdefault(channel, []).append(self.without_position(channel, payload))

    def without_position(self, channel, event):
        if "type" in event:
            seq = event.pop("seq", None)
            if type(seq) is not int or seq < self.positions.get(channel, 0):
                raise Unlike(f"position {seq} after {self.positions.get(channel)} on {channel}")
            self.positions[channel] = seq
        return event

    def expect(self, heard, **expected):
        """Exactly this on these channels, and nothing on the others."""
        names = {"plain": PLAIN, "quoted": QUOTED, "table": TABLE, "query": QUERY}
        for name, channel in names.items():
            wanted, got = expected.get(name, []), heard.pop(channel)
            for at, (one, other) in enumerate(itertools.zip_longest(wanted, got)):
                if one != other:
                    one, other = (json.dumps(event, ensure_ascii=False)[:600] for event in [one, other])
                    raise Unlike(f"on {channel}, event {at}\n      expected {one}\n      heard    {other}")
        if heard:
            raise Unlike(f"on other channels: {heard}")

    def acknowledged(self):
        self.expect(self.until_now(), table=[acknowledgement(TABLE)], query=[acknowledgement(QUERY)])

    def plain(self):
        twice = {"text": 'grüße, "你好" \\ 🙂'}
        self.world.admin.execute("NOTIFY room_7, '{\"n\": 1}'")
        with self.world.admin.transaction():
            self.world.tell(PLAIN, twice)
            self.world.tell(PLAIN, {"n": 2})
            self.world.tell(PLAIN, twice)
            self.world.tell("somewhere else", {"n": 3})
        self.expect(self.until_now(), plain=[{"n": 1}, twice, {"n": 2}])

    def quoted(self):
        self.world.admin.execute("""NOTIFY "Room ""7""\", '{"n": 4}'""")
        self.expect(self.until_now(), quoted=[{"n": 4}])

    def large(self):
        large = {"text": "0123456789" * 100_000}
        self.world.tell(PLAIN, large)
        self.expect(self.until_now(), plain=[large])

    def table(self):
        table = self.world.in_another_conversation()
        self.expect(self.until_now(), table=table)

    def query(self):
        table, query = self.world.in_the_conversation()
        self.expect(self.until_now(), table=table, query=query)

    def transaction(self):
        table, query = self.world.transactions()
        self.expect(self.until_now(), table=table, query=query)

    def reconnect(self):
        self.world.break_connections()
        self.positions.clear()
        anew = set()
        while anew != {TABLE, QUERY}:
            said = self.program.next()
            self.heard.append(said)
            if json.loads(said["payload"]).get("type") == "subscription_ack":
                anew.add(said["channel"])
        self.acknowledged()
        self.plain()
        self.query()

    def unlisten(self):
        self.world.tell(PLAIN, {"do": "unlisten"})
        self.program.wait_for("unlistened", self.heard)
        self.expect(self.until_now(), plain=[{"do": "unlisten"}])
        self.world.in_the_conversation()
        self.world.tell(QUOTED, {"n": 5})
        self.expect(self.until_now())
        self.world.tell(PLAIN, {"do": "listen"})
        self.program.wait_for("listening", self.heard)
        acknowledged = {"table": [acknowledgement(TABLE)], "query": [acknowledgement(QUERY)]}
        self.expect(self.until_now(), plain=[{"do": "listen"}], **acknowledged)
        self.query()

    def released(self):
        self.world.tell(PLAIN, {"do": "stop"})
        status = self.program.end()
        if status != 0:
            raise Unlike(f"ended with status {status}" + self.program.complaint())
        deadline = time.monotonic() + 5
        while self.world.subscriptions():
            if time.monotonic() > deadline:
                raise Unlike(f"{self.world.subscriptions()} subscriptions are left")
            time.sleep(0.01)


#: What is checked of each client, in this order.
FEATURES = {
    "begin": Listening.acknowledged,
    "plain": Listening.plain,
    "quoted": Listening.quoted,
    "1 MB": Listening.large,
    "table": Listening.table,
    "query": Listening.query,
    "transaction": Listening.transaction,
    "unlisten": Listening.unlisten,
    "reconnect": Listening.reconnect,
    "end": Listening.released,
}

OK, NOT_OFFERED, NOT_REACHED = "ok", "-", "?"


def check(world, name, port):
    """A client through all features: what became of each, and the failures' reasons."""
    results, reasons = dict.fromkeys(FEATURES, NOT_REACHED), []
    with Program(name, port, DATABASE, "alice", CHANNELS) as program:
        listening = Listening(world, program)
        for feature, step in FEATURES.items():
            if feature == "reconnect" and name not in RECONNECTING:
                results[feature] = NOT_OFFERED
                continue
            try:
                if feature == "begin":
                    program.wait_for("listening", listening.heard, START_S)
                step(listening)
                results[feature] = OK
            except (Silent, Unlike) as error:
                results[feature] = "FAIL"
                reasons.append(f"{name}, {feature}: {error}")
                if isinstance(error, Silent):
                    break
    return results, reasons


def observe(world, name, port):
    """What a client hears through a pool in transaction mode, and what is left when it has gone; in words."""
    heard = []
    with Program(name, port, POOLED, "alice", CHANNELS) as program:
        try:
            program.wait_for("listening", heard, START_S)
            begun = len(heard)
            world.tell(PLAIN, {"n": 1})
            world.in_another_conversation()
            world.in_the_conversation()
            deadline = time.monotonic() + 1
            while (left := deadline - time.monotonic()) > 0:
                heard.append(program.next(left))
        except Silent as error:
            if program.process.poll() is not None:
                return f"{error}"
    return (
        f"LISTEN was answered, {begun} of 2 acknowledgements and {len(heard) - begun} of 12 notifications came; "
        f"{world.subscriptions()} live queries are left when it has gone"
    )


def observe_stranger(world, port):
    """What another client of the same user hears, that never said LISTEN; in words."""
    with connect(port, "alice", POOLED) as stranger:
        with stranger.transaction():
            stranger.execute("SELECT 1")
            world.in_another_conversation()
        stranger.execute("SELECT 1")
        heard = [told.channel for told in stranger.notifies(timeout=0.5)]
    return f"one that never said LISTEN heard {len(heard)} notifications, on {', '.join(sorted(set(heard))) or 'none'}"
