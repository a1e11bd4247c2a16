"""A client that sends exact bytes and reads answers strictly."""
import socket
import struct

from .waiting import PATIENCE


class Malformed(AssertionError):
    """The daemon's answer breaks the protocol."""


class Response:
    def __init__(self, status, reason, fields, body, complete, raw_head):
        self.status, self.reason, self.fields = status, reason, fields
        self.body, self.complete, self.raw_head = body, complete, raw_head

    def field(self, name):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        if len(values) > 1:
            raise Malformed(f"{name} came {len(values)} times")
        return values[0] if values else None

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        import json

        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.raw_head!r} {self.body[:300]!r}>"


def parse_head(head):
    """(status, reason, fields) of a head, held to RFC 9112."""
    lines = head.split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdigit() or rest[3:4] not in (" ", ""):
        raise Malformed(f"status line {lines[0]!r}")
    fields = []
    for line in lines[1:]:
        name, colon, content = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line or "\0" in line:
            raise Malformed(f"header line {line!r}")
        fields.append((name, content.strip(" \t")))
    return int(rest[:3]), rest[4:], fields


class Client:
    """One connection to the daemon: TCP by (host, port), or a Unix socket by its path."""

    def __init__(self, address, vault=None, patience=PATIENCE, receive_buffer=None):
        if isinstance(address, (str, bytes)):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(patience)
        self.sock.connect(address)
        self.vault = vault
        self.buffer = b""
        self.received = 0
        self.ended = False
        self.broken = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def try_send(self, data):
        """For requests that may be refused before they are sent whole."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the daemon already ended it
        return self

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def receive(self):
        """One more read; False at the end. A reset counts as an end, noted in `broken`."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError as error:
            self.broken = error
            data = b""
        except socket.timeout:
            raise AssertionError(f"the daemon neither answers nor closes; so far: {self.buffer[:500]!r}") from None
        if not data:
            self.ended = True
            return False
        self.received += len(data)
        self.buffer += data
        if self.vault is not None:
            self.vault.saw("an answer", data)
        return True

    def take(self, n):
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self.receive():
                return None
        before, _, self.buffer = self.buffer.partition(mark)
        return before

    def read_head(self):
        head = self.read_until(b"\r\n\r\n")
        if head is None:
            if self.buffer:
                raise Malformed(f"half a head: {self.buffer[:300]!r}")
            return None
        return head.decode("latin-1")

    def response(self, head_only=False, interim=False):
        """The next answer; None when the connection ends instead. Interim answers are skipped unless asked for."""
        while True:
            head = self.read_head()
            if head is None:
                return None
            status, reason, fields = parse_head(head)
            if status == 101 or status >= 200 or interim:
                break
        response = Response(status, reason, fields, b"", True, head)
        if head_only or status < 200 or status in (204, 304):
            return response
        self._read_body(response)
        return response

    def _read_body(self, response):
        encoding, length = response.field("Transfer-Encoding"), response.field("Content-Length")
        if encoding is not None:
            if length is not None or encoding.lower() != "chunked":
                raise Malformed(f"framing of {response!r}")
            response.complete = self._read_chunks(response)
        elif length is not None:
            if not length.isdigit():
                raise Malformed(f"Content-Length {length!r}")
            while len(self.buffer) < int(length) and self.receive():
                pass
            response.body = self.take(int(length))
            response.complete = len(response.body) == int(length)
        else:
            while self.receive():
                pass
            response.body = self.take(len(self.buffer))
            response.complete = self.broken is None

    def _read_chunks(self, response):
        pieces = []
        try:
            while True:
                line = self.read_until(b"\r\n")
                if line is None:
                    return False
                size = int(line.split(b";")[0], 16)
                while len(self.buffer) < size + 2:
                    if not self.receive():
                        pieces.append(self.take(size))
                        return False
                pieces.append(self.take(size))
                if self.take(2) != b"\r\n":
                    raise Malformed("a chunk does not end in CRLF")
                if size == 0:
                    return True
        finally:
            response.body = b"".join(pieces)

    def responses(self):
        """All answers until the connection ends."""
        found = []
        while True:
            response = self.response()
            if response is None:
                return found
            found.append(response)

    def at_end(self):
        """True when the daemon ends the connection and sends nothing before."""
        return not self.buffer and not self.receive()

    def discard(self, n):
        """Reads and drops n bytes."""
        while n > 0:
            if not self.buffer and not self.receive():
                raise AssertionError(f"the connection ended {n} bytes early")
            n -= len(self.take(n))

    def get(self, target, method="GET", fields=(), body=None, host="localhost"):
        """Sends one request and returns its answer."""
        self.send(request(target, method, fields, body, host))
        return self.response(head_only=method == "HEAD")


def request(target, method="GET", fields=(), body=None, host="localhost"):
    """The bytes of a correct request; `fields` are whole lines without their end."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"] + list(fields)
    if body is not None and not any(f.lower().startswith(("transfer-encoding:", "content-length:")) for f in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")
