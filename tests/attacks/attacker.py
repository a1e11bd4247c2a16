#!/usr/bin/python3
"""Thousands of bad clients in one process. Its argument is JSON: {"address": [HOST, PORT], "groups": [{"kind": ...,
"count": ...}]}. Prints a line of JSON when all have connected once, and another one at the end of standard input."""
import collections
import json
import random
import resource
import select
import socket
import sys
import time

HOST = b"Host: localhost\r\n"


class Bad:
    """One client. Whoever is thrown out comes back, unless its group says that it stays away."""

    receive_buffer = None
    reads = True  # else what comes is left in the socket
    interval = 1.0

    def __init__(self, crowd, options):
        self.crowd, self.options = crowd, options
        self.interval = options.get("interval", self.interval)
        self.sock = None
        self.out = b""

    def open(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if self.receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.sock.connect_ex(self.crowd.address)
        self.out = self.first()
        self.head = b""
        self.crowd.opened(self)

    def first(self):
        return b""

    def more(self):
        """What is said every `interval` seconds, or as soon as the socket takes more when that is 0."""
        return b""

    def events(self):
        wanted = select.EPOLLRDHUP if not self.reads else select.EPOLLIN
        return wanted | (select.EPOLLOUT if self.out or self.interval == 0 else 0)

    def ready(self, events):
        if events & select.EPOLLOUT and not self.write():
            return
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            self.read()

    def write(self):
        try:
            if not self.out and self.interval == 0:
                self.out = self.more()
            if self.out:
                n = self.sock.send(self.out)
                self.crowd.sent += n
                self.out = self.out[n:]
                self.crowd.written(self)
        except BlockingIOError:
            return True
        except OSError:
            self.ended()
            return False
        return True

    def read(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and len(self.head) < 64:
            self.head += data
        if not data:
            self.ended()

    def ended(self):
        status = self.head[9:12].decode("latin-1") if self.head.startswith(b"HTTP/1.1 ") else "closed"
        self.crowd.answers[f"{self.options['kind']} {status}"] += 1
        self.sock.close()
        self.sock = None
        self.crowd.closed(self)


class Idle(Bad):
    pass


class IdleAfter(Bad):
    """One good request, then nothing."""

    def first(self):
        return b"GET /widget/transactions/x HTTP/1.1\r\n" + HOST + b"\r\n"


class SlowHead(Bad):
    def first(self):
        return b"GET /widget/transactions/x HTTP/1.1\r\n" + HOST

    def more(self):
        return b"X-%d: a\r\n" % random.randrange(1000)


class SlowBody(Bad):
    def first(self):
        length = self.options.get("length", 100000)
        head = b"POST /widget/session HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length
        return head + b"x" * self.options.get("start", 10)

    def more(self):
        return b"x"


class Expecting(Bad):
    """Asks whether it may send its body, and never does."""

    def first(self):
        return b"POST /widget/session HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"


class SlowRead(Bad):
    receive_buffer = 2304
    reads = False

    def first(self):
        return b"GET /widget/large HTTP/1.1\r\n" + HOST + b"\r\n"


class Pipelining(Bad):
    """Asks and asks, and never reads an answer."""

    receive_buffer = 2304
    reads = False
    interval = 0

    def first(self):
        return self.more()

    def more(self):
        return (b"GET /widget/transactions/x HTTP/1.1\r\n" + HOST + b"\r\n") * 100


class HugeHead(Bad):
    interval = 0

    def first(self):
        return b"GET /widget/transactions/x HTTP/1.1\r\n" + HOST + b"X-Huge: "

    def more(self):
        return b"y" * 8192


class ManyHeaders(Bad):
    interval = 0

    def first(self):
        return b"GET /widget/transactions/x HTTP/1.1\r\n" + HOST

    def more(self):
        return b"X-A: b\r\n" * 200


class ChunkExtensions(Bad):
    """A body of single bytes, each with a long chunk extension, as fast as they are taken."""

    interval = 0

    def first(self):
        return b"POST /widget/session HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

    def more(self):
        return (b"1;" + b"e" * 1000 + b"\r\nx\r\n") * 8


class Malformed(Bad):
    interval = 0

    def first(self):
        return b"GET /widget/x HTTP/1.1\r\n" + HOST + b"Content-Length: nonsense\r\n\r\n"


class WebSocket(Bad):
    """Opens a WebSocket and never reads from it; with `talks` it sends without end."""

    receive_buffer = 2304
    reads = False

    def first(self):
        self.interval = 0 if self.options.get("talks") else 1e9
        return (b"GET /ws?tx_id=1 HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

    def more(self):
        return b"\x82\xfe\x10\x00mask" + b"z" * 4096


KINDS = {"idle": Idle, "idle_after": IdleAfter, "slow_head": SlowHead, "slow_body": SlowBody, "expecting": Expecting,
         "slow_read": SlowRead, "pipelining": Pipelining, "huge_head": HugeHead, "many_headers": ManyHeaders,
         "chunk_extensions": ChunkExtensions, "malformed": Malformed, "websocket": WebSocket}


class Crowd:
    def __init__(self, address, groups):
        self.address = tuple(address)
        self.epoll = select.epoll()
        self.by_fd = {}
        self.answers = collections.Counter()
        self.sent = self.connections = 0
        self.due = collections.deque()  # (when, client), sorted: all intervals of a crowd are alike
        self.away = collections.deque()  # (when, client): those who will be back
        self.waiting = collections.deque(KINDS[g["kind"]](self, g) for g in groups for _ in range(g["count"]))
        self.mix()

    def mix(self):
        mixed = list(self.waiting)
        random.Random(1).shuffle(mixed)
        self.waiting = collections.deque(mixed)

    def opened(self, client):
        self.connections += 1
        self.by_fd[client.sock.fileno()] = client
        self.epoll.register(client.sock, client.events())
        if 0 < client.interval < 1e9:
            self.due.append((time.monotonic() + client.interval, client, client.sock))

    def written(self, client):
        if not client.out and client.interval != 0:
            self.epoll.modify(client.sock, client.events())

    def closed(self, client):
        if not client.options.get("stays_away"):
            self.away.append((time.monotonic() + client.options.get("back_after", 0.2), client))

    def turn(self, stdin):
        for _ in range(min(len(self.waiting), 100)):
            self.waiting.popleft().open()
        now = time.monotonic()
        while self.away and self.away[0][0] <= now:
            self.away.popleft()[1].open()
        while self.due and self.due[0][0] <= now:
            _, client, sock = self.due.popleft()
            if client.sock is not sock:
                continue
            client.out += client.more()
            if client.write() and client.sock is not None:
                self.due.append((now + client.interval, client, sock))
        for fd, events in self.epoll.poll(0 if self.waiting else 0.05, 1024):
            if fd == stdin:
                return False
            client = self.by_fd.get(fd)
            if client is not None and client.sock is not None and client.sock.fileno() == fd:
                client.ready(events)
        return True

    def run(self):
        stdin = sys.stdin.fileno()
        self.epoll.register(stdin, select.EPOLLIN | select.EPOLLHUP)
        said = False
        while self.turn(stdin):
            if not said and not self.waiting:
                said = True
                print(json.dumps({"ready": True}), flush=True)
        open_now = sum(c.sock is not None for c in set(self.by_fd.values()))
        print(json.dumps({"open": open_now, "connections": self.connections, "sent": self.sent,
                          "answers": dict(self.answers)}), flush=True)


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options = json.loads(sys.argv[1])
    Crowd(options["address"], options["groups"]).run()


if __name__ == "__main__":
    main()
