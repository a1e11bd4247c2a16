"""WebSocket by hand: handshakes and frames as exact bytes, for both ends (RFC 6455)."""
import base64
import hashlib
import os
import struct

from .client import request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def upgrade(target="/ws?tx_id=1", fields=(), leave_out=(), method="GET", key=KEY, version="13"):
    """The bytes of a client's handshake. `leave_out` names headers (lower case) that are not sent."""
    usual = ["Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}",
             f"Sec-WebSocket-Version: {version}"]
    usual = [line for line in usual if line.partition(":")[0].lower() not in leave_out]
    return request(target, method, usual + list(fields))


def accept(key):
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key if isinstance(key, bytes) else key.encode()) + guid).digest()).decode()


def switching(key=KEY, fields=(), leave_out=()):
    """The bytes of a server's 101."""
    usual = ["Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Accept: {accept(key)}"]
    usual = [line for line in usual if line.partition(":")[0].lower() not in leave_out]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *usual, *fields, "", ""]).encode()


def frame(opcode, payload=b"", masked=False, fin=True):
    n = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if masked else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += struct.pack(">BH", bit | 126, n)
    else:
        head += struct.pack(">BQ", bit | 127, n)
    if masked:
        mask = os.urandom(4)
        repeated = int.from_bytes((mask * (n // 4 + 1))[:n], "big")
        payload = (int.from_bytes(payload, "big") ^ repeated).to_bytes(n, "big")
        head += mask
    return head + payload


def close_frame(code=1000, reason=b"", masked=False):
    return frame(CLOSE, struct.pack(">H", code) + reason, masked)


def read_frame(take):
    """(opcode, payload, masked) of the next frame; take(n) gives exactly n bytes."""
    first, second = take(2)
    assert first & 0x70 == 0, f"reserved bits are set: {first:#x}"
    n = second & 0x7f
    if n == 126:
        n = struct.unpack(">H", take(2))[0]
    elif n == 127:
        n = struct.unpack(">Q", take(8))[0]
    mask = take(4) if second & 0x80 else None
    payload = take(n)
    if mask is not None:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return first & 0x0f, payload, mask is not None


def read_close(take):
    """(code, reason, masked)"""
    opcode, payload, masked = read_frame(take)
    assert opcode == CLOSE, f"opcode {opcode} instead of a Close: {payload[:100]!r}"
    return struct.unpack(">H", payload[:2])[0], payload[2:], masked


class Pair:
    """A tunnel with a client's raw end and, from a scripted upstream, the other. `early`: behind the 101."""

    def __init__(self, daemon, upstream, early=b"", fields=(), answer_fields=(), **options):
        self.client = daemon.client(**options)
        self.client.send(upgrade(fields=fields))
        self.request = upstream.request()
        self.upstream = self.request.connection
        self.upstream.sock.settimeout(20)
        self.upstream.send(switching(fields=answer_fields) + early)
        self.answer = self.client.response()
        assert self.answer.status == 101, self.answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.upstream.close("truncate")

    def take(self, n):
        """n bytes at the client."""
        while len(self.client.buffer) < n:
            assert self.client.receive(), f"the end instead of {n} bytes; before it: {self.client.buffer[:200]!r}"
        return self.client.take(n)

    def take_up(self, n):
        """n bytes at the upstream."""
        return self.upstream.read_exactly(n)

    def both_ways(self, text=b"still here"):
        self.client.send(frame(TEXT, text, masked=True))
        assert read_frame(self.take_up) == (TEXT, text, True)
        self.upstream.send(frame(TEXT, text))
        assert read_frame(self.take) == (TEXT, text, False)
