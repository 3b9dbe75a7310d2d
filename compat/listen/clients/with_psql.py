"""psql, by a script on its standard input. It looks for notifications only after a statement, so it is given one again
and again. The protocol of these programs stands in ../README.md."""

import json
import re
import subprocess
import sys
import threading

PLAIN, *OTHERS = sys.argv[1:]
TOLD = re.compile(r'Asynchronous notification "(.*?)" with payload "(.*)" received from server process with PID \d+\.')
ASKED_EVERY_S = 0.05


def say(**what):
    print(json.dumps(what), flush=True)


def quoted(channel):
    return '"' + channel.replace('"', '""') + '"'


class Psql:
    def __init__(self):
        self.asked = threading.Lock()
        self.stopped = threading.Event()
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, *lines):
        with self.asked:
            if not self.stopped.is_set():
                self.process.stdin.write("\n".join(lines) + "\n")
                self.process.stdin.flush()

    def end(self):
        with self.asked:
            self.stopped.set()
            self.process.stdin.close()

    def ask_on(self):
        while not self.stopped.wait(ASKED_EVERY_S):
            self.ask("SELECT 1;")

    def read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            found = TOLD.fullmatch(line)
            if found:
                channel, payload = found.groups()
                say(channel=channel, payload=payload)
                if channel == PLAIN:
                    self.obey(json.loads(payload).get("do"))
            elif line.startswith("event "):
                say(event=line.removeprefix("event "))

    def each(self, word, channels, event):
        self.ask(*(f"{word} {quoted(channel)};" for channel in channels), rf"\echo event {event}")

    def obey(self, command):
        if command == "unlisten":
            self.each("UNLISTEN", OTHERS, "unlistened")
        elif command == "listen":
            self.each("LISTEN", OTHERS, "listening")
        elif command == "stop":
            self.end()


psql = Psql()
psql.each("LISTEN", [PLAIN, *OTHERS], "listening")
asker = threading.Thread(target=psql.ask_on, daemon=True)
asker.start()
psql.read()
sys.exit(psql.process.wait())
