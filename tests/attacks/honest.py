#!/usr/bin/python3
"""Good callers: each calls again and again, some on one connection, some on a new one each time, and notes how long it
took. Its argument is JSON: {"address", "callers", "pause", "target", "status"}. Ends with its standard input and prints
what came of it."""
import json
import select
import socket
import sys
import threading
import time

PATIENCE = 30.0


class Caller(threading.Thread):
    def __init__(self, options, number, stop):
        super().__init__()
        self.options, self.stop = options, stop
        self.keeps = number % 2 == 0
        self.posts = number % 4 >= 2
        self.sock = None
        self.times, self.failures = [], []

    def request(self):
        body = b'{"user_id":"u1"}' if self.posts else b""
        line = f"{'POST' if self.posts else 'GET'} {self.options['target']} HTTP/1.1\r\nHost: localhost\r\n"
        line += f"Content-Length: {len(body)}\r\n" if self.posts else ""
        return (line + ("" if self.keeps else "Connection: close\r\n") + "\r\n").encode() + body

    def answer(self):
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError(f"the connection ended after {data!r}")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                  if line.startswith(b"content-length:")]
        while len(body) < length[0]:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("the connection ended within an answer")
            body += more
        return int(head[9:12]), head, body

    def connect(self):
        self.sock = socket.create_connection(self.options["address"], PATIENCE)
        self.sock.settimeout(PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def stale(self):
        """A server may close an idle connection whenever it likes: every good client looks before it uses one."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def call(self):
        start = time.monotonic()
        if self.sock is not None and (not self.keeps or self.stale()):
            self.sock.close()
            self.sock = None
        if self.sock is None:
            self.connect()
        self.sock.sendall(self.request())
        status, head, body = self.answer()
        if status != self.options["status"]:
            raise ConnectionError(f"{head!r} {body[:300]!r}")
        self.times.append(time.monotonic() - start)

    def run(self):
        while not self.stop.is_set():
            try:
                self.call()
            except (OSError, IndexError, ValueError) as error:
                self.failures.append(f"{'kept' if self.keeps else 'new'} connection, {time.monotonic():.3f}: {error!r}")
                self.sock = None
            self.stop.wait(self.options.get("pause", 0.01))


def main():
    options = json.loads(sys.argv[1])
    options["address"] = tuple(options["address"])
    stop = threading.Event()
    callers = [Caller(options, i, stop) for i in range(options.get("callers", 8))]
    for caller in callers:
        caller.start()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()
    stop.set()
    for caller in callers:
        caller.join()
    times = sorted(t for c in callers for t in c.times)
    failures = [f for c in callers for f in c.failures]
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))] if times else None
    print(json.dumps({"calls": len(times) + len(failures), "failed": len(failures), "failures": failures[:20],
                      "p50": at(0.5), "p99": at(0.99), "max": times[-1] if times else None}), flush=True)


if __name__ == "__main__":
    main()
