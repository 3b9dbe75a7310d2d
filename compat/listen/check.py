"""Runs LISTEN clients against a server of its own, directly and through PgBouncer, and prints what works of each."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import servers
from programs import COMMANDS
from scenario import FEATURES, NOT_OFFERED, OK, World, check, observe, observe_stranger

#: The whole run is over by then.
LIMIT_S = 170


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", help="the program `tertulia`")
    parser.add_argument("--only", default=",".join(COMMANDS), help="clients, with commas between")
    parser.add_argument(
        "--transaction", action="store_true", help="print what is heard in transaction mode instead, and judge nothing"
    )
    given = parser.parse_args()
    given.only = given.only.split(",")
    unknown = set(given.only) - set(COMMANDS)
    if unknown:
        parser.error(f"unknown clients {sorted(unknown)}; there are {', '.join(COMMANDS)}")
    return given


def line(cells):
    widths = [28, *(max(len(feature), 4) for feature in FEATURES)]
    print("| " + " | ".join(f"{cell:{width}}" for cell, width in zip(cells, widths)) + " |", flush=True)


def check_all(only, world, paths):
    """Prints the matrix; how many cells passed and failed."""
    passed = failed = 0
    reasons = []
    line(["client", *FEATURES])
    line(["---"] * (len(FEATURES) + 1))
    for path, port in paths:
        for name in only:
            results, wrong = check(world, name, port)
            line([name + path, *results.values()])
            reasons += [f"{reason}   [{path.strip() or 'directly'}]" for reason in wrong]
            passed += sum(result == OK for result in results.values())
            failed += sum(result not in (OK, NOT_OFFERED) for result in results.values())
    print("\n".join(["", *reasons]))
    return passed, failed


def watch_out(log):
    """What a log has of warnings and errors."""
    return [entry for entry in log if any(word in entry for word in ["WARN", "ERROR", "panicked", "unexpected"])]


def run(given, directory):
    with servers.tertulia(given.binary, directory) as server, servers.pgbouncer(server.port, directory) as pool:
        world = World(server.port)
        if given.transaction:
            for name in given.only:
                print(f"{name}: {observe(world, name, pool.port)}", flush=True)
            print(observe_stranger(world, pool.port))
            dropped = sum("packet 'A' from server when not linked" in entry for entry in pool.log)
            print(f"PgBouncer dropped {dropped} notifications for which no client was there")
            return 0
        began = time.monotonic()
        passed, failed = check_all(given.only, world, [("", server.port), (" via PgBouncer", pool.port)])
        if failed:
            print("".join(["The server's log:\n", *watch_out(server.log), "PgBouncer's:\n", *watch_out(pool.log)]))
        print(f"{time.monotonic() - began:.0f} s")
        print(f"{passed} passed, {failed} failed")
        return 1 if failed else 0


def main():
    given = arguments()
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not over after {LIMIT_S} s"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to stop"))
    signal.alarm(LIMIT_S)
    versions = subprocess.run(["pgbouncer", "--version"], capture_output=True, text=True).stdout.splitlines()[:1]
    print(*versions)
    directory = tempfile.mkdtemp(prefix="tertulia-listen-")
    try:
        return run(given, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    sys.exit(main())
