"""The servers under check, each in a directory of its own, on a free port of the loopback address."""

import os
import re
import socket
import subprocess
import threading

PASSWORD = "secret"
DATABASE = "tertulia"
#: The same through PgBouncer in transaction mode.
POOLED = "tertulia_pooled"
USERS = {"tertulia": PASSWORD, "alice": "alice's", "bob": "bob's"}

PATIENCE_S = 30


def stop(process):
    """Ends a process of ours; its status."""
    process.terminate()
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Started:
    """A server whose log says where it is ready."""

    def __init__(self, command, ready, environment=None):
        self.log = []
        self.port = None
        self._is_ready = threading.Event()
        # The server takes TERTULIA_… for settings; those around us belong to whoever runs the tests.
        around = {name: value for name, value in os.environ.items() if not name.startswith("TERTULIA_")}
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**around, **(environment or {})},
        )
        threading.Thread(target=self._read, args=[re.compile(ready)], daemon=True).start()
        if not self._is_ready.wait(PATIENCE_S) or self.port is None:
            stop(self.process)
            raise RuntimeError(f"{command[0]} did not start:\n" + "".join(self.log))

    def _read(self, ready):
        for line in self.process.stderr:
            self.log.append(line)
            found = ready.search(line)
            if found and self.port is None:
                self.port = int(found.group(1))
                self._is_ready.set()
        self._is_ready.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)


def tertulia(binary, directory):
    data = os.path.join(directory, "data")
    command = [binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--map-size", "4GB", "--log", "info"]
    return Started(command, r"ready to accept connections address=127\.0\.0\.1:(\d+)", {"TERTULIA_PASSWORD": PASSWORD})


def pgbouncer(port, directory):
    """PgBouncer before the server at this port: DATABASE in session mode, POOLED in transaction mode."""
    users = os.path.join(directory, "users.txt")
    with open(users, "w") as file:
        file.writelines(f'"{name}" "{password}"\n' for name, password in USERS.items())
    settings = os.path.join(directory, "pgbouncer.ini")
    with open(settings, "w") as file:
        file.write(f"""[databases]
{DATABASE} = host=127.0.0.1 port={port} dbname={DATABASE} pool_mode=session
{POOLED} = host=127.0.0.1 port={port} dbname={DATABASE} pool_mode=transaction

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {free_port()}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
server_reset_query = DISCARD ALL
; pgjdbc sends it, and PgBouncer cannot set it for each client
ignore_startup_parameters = extra_float_digits
""")
    for path in [directory, users, settings]:
        os.chmod(path, 0o755)
    # it refuses to run as root
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    return Started(["pgbouncer", *user, settings], r"listening on 127\.0\.0\.1:(\d+)")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
