"""Asking a daemon as an operator does: its admin socket, and the commands."""
import http.client
import json
import re
import socket
import subprocess

from .waiting import PATIENCE


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, patience=PATIENCE):
        super().__init__("localhost", timeout=patience)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response, vault, what):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read().decode()
        vault.saw(what, self.body)
        vault.saw(what, str(response.headers))

    @property
    def json(self):
        return json.loads(self.body)


def socket_of(daemon):
    return f"{daemon.directory}/admin.sock"


def ask(daemon, path, method="GET", body=None, **headers):
    """One request on the admin socket."""
    connection = UnixConnection(socket_of(daemon))
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse(), daemon.vault, f"the admin answer to {path}")
    finally:
        connection.close()


def ask_tcp(daemon, port, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse(), daemon.vault, f"the admin answer to {path}")
    finally:
        connection.close()


SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def metrics(daemon):
    """{(name, frozenset of label pairs): value} of /metrics."""
    found = {}
    for line in ask(daemon, "/metrics").body.splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            found[name, frozenset(LABEL.findall(labels or ""))] = float(value)
    return found


def metric(daemon, name, **labels):
    """The sum of a metric over all series with these labels."""
    return sum(value for (n, pairs), value in metrics(daemon).items() if n == name and set(labels.items()) <= pairs)


def command(daemon, *arguments, stdin=None, patience=PATIENCE * 2):
    """Runs proofproxy with the daemon's config; its output is looked through for tokens."""
    done = subprocess.run([daemon.binary, "-c", daemon.config_file, *arguments], capture_output=True, text=True,
                          input=stdin, timeout=patience, check=False)
    daemon.vault.saw(f"the output of {arguments[0]}", done.stdout + done.stderr)
    return done
