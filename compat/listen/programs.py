"""The client programs, and one of them as a process that says what it hears."""

import glob
import json
import os
import queue
import subprocess
import sys
import threading

from servers import USERS, stop

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CLASSES = os.path.join(ROOT, "target", "compat", "listen", "classes")
JARS = sorted(glob.glob("/usr/share/java/postgresql.jar") + glob.glob("/usr/share/java/*scram*.jar"))

#: How long a client may take to start, and to hear what has been committed.
START_S = 30
HEAR_S = 15


def _client(name):
    return os.path.join(HERE, "clients", name)


#: What starts each client; channels are added.
COMMANDS = {
    "psql": [sys.executable, _client("with_psql.py")],
    "psycopg 3": [sys.executable, _client("with_psycopg.py")],
    "asyncpg": [sys.executable, _client("with_asyncpg.py")],
    "pg": ["node", _client("pg.mjs")],
    "pg-listen": ["node", _client("pg_listen.mjs")],
    "postgres.js": ["node", _client("postgres.mjs")],
    "tokio-postgres": [os.path.join(ROOT, "target", "debug", "examples", "listen_client")],
    "pgjdbc": ["java", "-XX:TieredStopAtLevel=1", "-cp", ":".join([CLASSES, *JARS]), "Pgjdbc"],
}

#: Those that connect again by themselves.
RECONNECTING = {"pg-listen", "postgres.js"}


class Silent(Exception):
    """A program ended, or said nothing for too long."""


class Program:
    """A client program that listens on some channels as a user."""

    def __init__(self, name, port, database, user, channels):
        self.said = queue.Queue()
        self.errors = []
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        environment |= {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGDATABASE": database,
            "PGUSER": user,
            "PGPASSWORD": USERS[user],
            "PYTHONUTF8": "1",
        }
        self.process = subprocess.Popen(
            [*COMMANDS[name], *channels], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", env=environment,
        )
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.said.put(line)
        self.said.put(None)

    def next(self, limit_s=HEAR_S):
        """The next line that it prints."""
        try:
            line = self.said.get(timeout=limit_s)
        except queue.Empty:
            raise Silent(f"said nothing for {limit_s} s" + self.complaint()) from None
        if line is None:
            raise Silent(f"ended with status {self.process.wait()}" + self.complaint())
        try:
            return json.loads(line)
        except ValueError:
            raise Silent(f"printed {line!r}" + self.complaint()) from None

    def wait_for(self, event, heard, limit_s=HEAR_S):
        """Waits for an event of its own, and keeps what it hears meanwhile."""
        while True:
            said = self.next(limit_s)
            if said.get("event") == event:
                return
            heard.append(said)

    def complaint(self):
        return "".join("\n      " + line.rstrip() for line in self.errors[-12:])

    def end(self):
        """Waits for its end, which it has been told of; its status."""
        try:
            return self.process.wait(HEAR_S)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            stop(self.process)
