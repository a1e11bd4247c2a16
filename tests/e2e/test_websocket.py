"""WebSocket tunnels: the handshake's checks on both sides, bytes both ways, back-pressure, ends of every kind."""
import asyncio
import hashlib
import socket
import threading
import time

import pytest
import websockets

from harness.client import request
from harness.expect import passed, refused, sanitized
from harness.upstream import OK, Ended
from harness.websocket import (BINARY, KEY, TEXT, Pair, accept, close_frame, frame, read_close, read_frame, switching,
                               upgrade)
from harness.waiting import until

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20, 16 << 20]


def payload(n):
    block = hashlib.sha512(str(n).encode()).digest() * 1024
    return (block * (n // len(block) + 1))[:n]


# --- bytes ---
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("unix", [False, True])
def test_frames_of_every_size_come_back(daemon, fakeproof, tmp_path, plain, unix):
    fake = fakeproof(plain=plain)
    fake.fault("ws", echo=True, count=0)
    path = str(tmp_path / "app.sock")
    running = daemon(fake, **({"listen": [f"unix:{path}"]} if unix else {}))

    async def talk():
        connecting = websockets.unix_connect(path, "ws://localhost/ws", max_size=None, compression=None) if unix else \
            websockets.connect(f"ws://127.0.0.1:{running.port}/ws", max_size=None, compression=None)
        async with connecting as ws:
            for n in SIZES:
                await ws.send(payload(n))
                assert await ws.recv() == payload(n)
        assert ws.close_code == 1000

    asyncio.run(asyncio.wait_for(talk(), 60))
    end = running.wait_log('"event":"websocket_end"')
    assert '"end":"client_closed"' in end or '"end":"upstream_closed"' in end


def test_the_handshake_arrives_with_our_token(daemon, raw_upstream, token):
    running = daemon(upstream := raw_upstream(), origin="https://partner.example")
    fields = ["Sec-WebSocket-Protocol: v2.proof, v1.proof", "Authorization: Bearer mine", "Cookie: a=b",
              "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
    answer = ["Sec-WebSocket-Protocol: v1.proof", "Sec-WebSocket-Extensions: permessage-deflate", "X-Request-Id: r-17"]
    with Pair(running, upstream, fields=fields, answer_fields=answer) as pair:
        seen = pair.request
        assert seen.line == b"GET /ws?tx_id=1 HTTP/1.1"
        assert seen.field(b"Authorization") == b"Bearer " + token.encode()
        assert seen.field(b"Host") == f"127.0.0.1:{upstream.port}".encode()
        assert seen.field(b"Upgrade").lower() == b"websocket"
        assert seen.field(b"Connection").lower() == b"upgrade"
        assert seen.field(b"Origin") == b"https://partner.example"
        assert seen.field(b"Sec-WebSocket-Key") == KEY.encode()
        assert seen.field(b"Sec-WebSocket-Version") == b"13"
        assert seen.field(b"Sec-WebSocket-Protocol") == b"v2.proof, v1.proof"
        assert seen.field(b"Sec-WebSocket-Extensions") == b"permessage-deflate; client_max_window_bits"
        assert seen.field(b"Cookie") == b"a=b"
        assert pair.answer.field("Sec-WebSocket-Accept") == accept(KEY)
        assert pair.answer.field("Upgrade").lower() == "websocket"
        assert pair.answer.field("Connection").lower() == "upgrade"
        assert pair.answer.field("Sec-WebSocket-Protocol") == "v1.proof"
        assert pair.answer.field("Sec-WebSocket-Extensions") == "permessage-deflate"
        assert pair.answer.field("X-Request-Id") == "r-17"
        pair.both_ways()
    line = running.wait_log('"event":"websocket_end"')
    assert '"request_id":"r-17"' in line and '"path":"/ws"' in line and "tx_id" not in line
    assert '"bytes_in":16,' in line and '"bytes_out":12,' in line


def test_bytes_right_behind_either_handshake_arrive(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    early_up, early_down = frame(BINARY, payload(5000), masked=True), frame(BINARY, payload(9000))
    with running.client() as client:
        client.send(upgrade() + early_up)
        seen = upstream.request()
        assert upstream.none_came() and seen.connection.buffer == b"", "bytes left before the 101"
        seen.connection.send(switching() + early_down)
        assert client.response().status == 101
        while len(client.buffer) < len(early_down):
            assert client.receive()
        assert client.buffer == early_down
        assert seen.connection.read_exactly(len(early_up)) == early_up
        seen.end("orderly")


def test_a_split_101_and_one_byte_at_a_time(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with running.client() as client:
        for byte in upgrade():
            client.send(bytes([byte]))
        seen = upstream.request()
        for byte in switching() + frame(TEXT, b"Hello"):
            seen.connection.send(bytes([byte]))
        assert client.response().status == 101
        while len(client.buffer) < 7:
            assert client.receive()
        assert client.buffer == frame(TEXT, b"Hello")
        for byte in frame(TEXT, b"World", masked=True):
            client.send(bytes([byte]))
        assert read_frame(seen.connection.read_exactly) == (TEXT, b"World", True)


# --- back-pressure ---
def pour(send, total, done):
    """Sends `total` bytes of a pattern and counts what was taken, in a thread."""
    block = payload(1 << 16)

    def run():
        try:
            for _ in range(total // len(block)):
                send(block)
                done[0] += len(block)
        except (OSError, Ended):
            pass
        done[1] = True

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def drain_pattern(sock, total):
    """Reads what pour() sent, straight from the socket, and compares it."""
    block, at, left = payload(1 << 16), 0, memoryview(bytearray(1 << 16))
    while at < total:
        start = at % len(block)
        n = sock.recv_into(left[start:])
        assert n > 0, f"the end after {at} bytes"
        at += n
        if start + n == len(block):
            assert left == block, f"wrong bytes in the 64 KiB before {at}"


def stands_still(done):
    while True:
        before = done[0]
        time.sleep(0.4)
        if done[0] == before:
            return before


@pytest.mark.parametrize("towards", ["client", "upstream"])
def test_a_side_that_reads_nothing_stops_the_other(daemon, raw_upstream, towards):
    running = daemon(upstream := raw_upstream())
    total = 64 << 20
    with Pair(running, upstream, receive_buffer=65536) as stalled, Pair(running, upstream) as live:
        live.both_ways()
        before = running.memory("RssAnon")  # code that comes into memory only now is not the tunnels'
        done = [0, False]
        if towards == "client":
            stalled.upstream.sock.settimeout(60)
            thread = pour(stalled.upstream.sock.sendall, total, done)
        else:
            stalled.client.sock.settimeout(60)
            thread = pour(stalled.client.sock.sendall, total, done)
        sent = stands_still(done)
        assert sent < total, "nothing held the sender back"
        if not sanitized(running.binary):
            assert running.memory("RssAnon") - before < 512 * 1024
        live.both_ways()
        drain_pattern(stalled.client.sock if towards == "client" else stalled.upstream.sock, total)
        thread.join(20)
        assert done == [total, True]
        live.both_ways()


def test_many_stalled_tunnels_do_not_starve_a_live_one(daemon, fakeproof):
    fake = fakeproof()
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake)
    clients = []
    before = running.memory("RssAnon")
    for _ in range(50):
        client = running.client(receive_buffer=4096)
        client.send(upgrade())
        assert client.response().status == 101
        clients.append(client)
    fake.control("POST", "/ws", {"action": "flood", "bytes": 4 << 20})
    deadline = time.monotonic() + 20
    times = []
    with running.client() as live:
        live.send(upgrade())
        assert live.response().status == 101
        while len(times) < 100 and time.monotonic() < deadline:
            began = time.monotonic()
            live.send(frame(TEXT, b"ping", masked=True))
            while len(live.buffer) < 6:
                assert live.receive()
            assert live.take(6) == frame(TEXT, b"ping")
            times.append(time.monotonic() - began)
    assert len(times) == 100, "the live tunnel is starved"
    assert sorted(times)[50] < 0.2
    if not sanitized(running.binary):
        assert running.memory("RssAnon") - before < 50 * 64 * 1024
    for client in clients:
        client.close()


# --- ends ---
@pytest.mark.parametrize("tls", [True, False])
def test_a_client_that_ends_its_side_still_hears(daemon, raw_upstream, tls):
    running = daemon(upstream := raw_upstream(tls=tls))
    with Pair(running, upstream) as pair:
        pair.client.send(b"\x81\x81abcd\x00").half_close()
        assert pair.take_up(7) == b"\x81\x81abcd\x00"
        with pytest.raises(Ended, match="end"):
            pair.upstream.receive()
        if not tls:  # Python's ssl cannot go on writing after the peer's close_notify
            pair.upstream.send(frame(TEXT, b"last"))
            assert read_frame(pair.take) == (TEXT, b"last", False)
        pair.upstream.close("orderly")
        assert pair.client.at_end() and pair.client.broken is None
    running.wait_log('"event":"websocket_end"', '"end":"client_closed"')


def test_an_upstream_that_ends_its_side_still_hears(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(tls=False))
    with Pair(running, upstream) as pair:
        pair.upstream.send(frame(TEXT, b"last"))
        pair.upstream.sock.shutdown(socket.SHUT_WR)
        assert read_frame(pair.take) == (TEXT, b"last", False)
        assert pair.client.at_end() and pair.client.broken is None
        pair.client.send(frame(TEXT, b"from the client", masked=True))
        assert read_frame(pair.take_up) == (TEXT, b"from the client", True)
        pair.client.close()
        pair.upstream.wait_end()
    running.wait_log('"event":"websocket_end"', '"end":"upstream_closed"')


@pytest.mark.parametrize("how", ["reset", "truncate"])
def test_an_upstream_that_breaks_resets_the_client(daemon, raw_upstream, how):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as pair:
        pair.upstream.send(frame(TEXT, b"whole") + b"\x81\x05ha")
        assert pair.take(11) == frame(TEXT, b"whole") + b"\x81\x05ha"
        pair.upstream.close(how)
        assert pair.client.at_end()
        assert pair.client.broken is not None, "a cut stream looks like an orderly end"
    running.wait_log('"event":"websocket_end"', '"end":"upstream_broke"')


def test_a_close_frame_makes_a_cut_harmless(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as pair:
        pair.upstream.send(close_frame(4000, b"over"))
        pair.upstream.close("truncate")
        assert read_close(pair.take) == (4000, b"over", False)
        assert pair.client.at_end() and pair.client.broken is None
    running.wait_log('"event":"websocket_end"', '"end":"upstream_closed"')


def test_a_client_that_resets_ends_the_upstream(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as pair:
        pair.both_ways()
        pair.client.reset()
        pair.upstream.wait_end()
    running.wait_log('"event":"websocket_end"', '"end":"client_gone"')


@pytest.mark.parametrize("unix", [False, True])
def test_a_client_that_closes_altogether_frees_everything(daemon, raw_upstream, tmp_path, unix):
    running = daemon(upstream := raw_upstream(), **({"listen": [f"unix:{tmp_path}/a.sock"]} if unix else {}))
    with Pair(running, upstream) as first:
        before = len(running.descriptors())
        with Pair(running, upstream) as pair:
            pair.client.close()
            running.wait_log('"event":"websocket_end"', '"end":"client_closed"')  # upstream has not ended yet
            pair.upstream.wait_end()
        running.settled_descriptors(before, "after a tunnel's end")
        first.both_ways()


def test_silence_ends_a_tunnel_where_that_is_configured(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(), websocket_idle_timeout="1s")
    with Pair(running, upstream) as pair:
        began = time.monotonic()
        for _ in range(3):
            time.sleep(0.6)
            pair.both_ways()
        assert read_close(pair.take) == (1001, b"idle timeout", False)
        assert time.monotonic() - began > 2.7
        pair.client.send(close_frame(1001, masked=True))
        assert read_close(pair.take_up)[0] == 1001
        pair.upstream.send(close_frame(1001))
        assert pair.client.at_end()
    running.wait_log('"event":"websocket_end"', '"close":"answered"', '"end":"idle"')


# --- handshakes that are refused here ---
HANDSHAKES = {
    "another version": ({"version": "8"}, 426),
    "no version": ({"leave_out": ["sec-websocket-version"]}, 400),
    "no key": ({"leave_out": ["sec-websocket-key"]}, 400),
    "a short key": ({"key": "c2hvcnQ="}, 400),
    "a key that is not base64": ({"key": "!!!!!!!!!!!!!!!!!!!!!!=="}, 400),
    "two keys": ({"fields": [f"Sec-WebSocket-Key: {KEY}"]}, 400),
    "two versions": ({"fields": ["Sec-WebSocket-Version: 13"]}, 400),
    "no Connection": ({"leave_out": ["connection"]}, 400),
    "two protocols to upgrade to": ({"leave_out": ["upgrade"], "fields": ["Upgrade: websocket, h2c"]}, 400),
    "POST": ({"method": "POST", "fields": ["Content-Length: 0"]}, 400),
    "a body": ({"fields": ["Content-Length: 5"]}, 400),
    "a chunked body": ({"fields": ["Transfer-Encoding: chunked"]}, 400),
    "another path": ({"target": "/widget/ws"}, 400),
    "a path not allowed": ({"target": "/wss"}, 404),
    "an Origin": ({"fields": ["Origin: https://evil.example"]}, 403),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_malformed_handshakes_are_refused(daemon, raw_upstream, name):
    options, status = HANDSHAKES[name]
    running = daemon(upstream := raw_upstream())
    with running.client() as client:
        body = b"hello" if "Content-Length: 5" in options.get("fields", ()) else \
            b"5\r\nhello\r\n0\r\n\r\n" if "Transfer-Encoding: chunked" in options.get("fields", ()) else b""
        response = client.try_send(upgrade(**options) + body).response()
        refused(response, status)
        if status == 426:
            assert response.field("Sec-WebSocket-Version") == "13"
            assert response.field("Upgrade") == "websocket"  # RFC 9110 15.5.22, and 7.8 for the option
            assert "upgrade" in [o.strip().lower() for o in response.field("Connection").split(",")]
    assert upstream.none_came()


def test_an_upgrade_in_http_1_0_is_refused(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with running.client() as client:
        refused(client.send(upgrade().replace(b"HTTP/1.1", b"HTTP/1.0")).response(), 400)
    assert upstream.none_came()


def test_an_upgrade_to_something_else_is_an_ordinary_request(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(automatic=OK))
    fields = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"]
    passed(running.get("/widget/a", fields=fields))
    seen = upstream.request()
    assert seen.field(b"Upgrade") is None and seen.field(b"HTTP2-Settings") is None
    assert b"upgrade" not in (seen.field(b"Connection") or b"").lower()


def test_what_follows_a_refused_handshake_is_no_frame_for_upstream(daemon, raw_upstream):
    """A pipelined request behind an upgrade: upstream sees one request at a time, whatever became of the upgrade."""
    running = daemon(upstream := raw_upstream())
    with running.client() as client:
        client.send(upgrade() + request("/widget/b"))
        seen = upstream.request()
        assert seen.connection.buffer == b""
        seen.answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        response = client.response()
        assert response.status == 404 and response.body == b"{}"
        if not client.ended and (response.field("Connection") or "").lower() != "close":
            second = upstream.request()
            assert second.line == b"GET /widget/b HTTP/1.1"
            second.answer(OK)
            passed(client.response())
    assert upstream.none_came()


# --- answers of upstream ---
SPOILT = {
    "a wrong accept": switching("AAAAAAAAAAAAAAAAAAAAAA=="),
    "no accept": switching(leave_out=["sec-websocket-accept"]),
    "two accepts": switching(fields=[f"Sec-WebSocket-Accept: {accept(KEY)}"]),
    "no Upgrade": switching(leave_out=["upgrade"]),
    "another Upgrade": switching(leave_out=["upgrade"], fields=["Upgrade: h2c"]),
    "no Connection": switching(leave_out=["connection"]),
    "a body": switching(fields=["Content-Length: 5"]) + b"hello",
    "an extension nobody offered": switching(fields=["Sec-WebSocket-Extensions: permessage-deflate"]),
    "a subprotocol nobody offered": switching(fields=["Sec-WebSocket-Protocol: v1"]),
    "HTTP/1.0": switching().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "garbage": b"\x16\x03\x01garbage\r\n\r\n",
    "a folded line": switching(fields=["X-A: b", " c"]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_no_tunnel_after_a_101_in_doubt(daemon, raw_upstream, name):
    running = daemon(upstream := raw_upstream())
    with running.client() as client:
        client.send(upgrade() + frame(TEXT, b"early", masked=True))
        seen = upstream.request()
        seen.connection.send(SPOILT[name])
        response = client.response()
        refused(response, 502, sent="yes" if response.json["sent"] == "yes" else "maybe")
        seen.connection.wait_end()
        assert seen.connection.buffer == b"", "bytes of the client reached upstream"
    assert '"event":"websocket_end"' not in running.log


def test_a_101_nobody_asked_for_is_no_answer(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(automatic=switching()))
    response = running.get("/widget/a")
    refused(response, 502, sent=response.json["sent"])
    assert len(upstream.taken()) >= 1


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "400 Bad Request", "403 Forbidden", "404 Not Found",
                                    "426 Upgrade Required", "500 Internal Server Error", "503 Service Unavailable"])
def test_other_answers_come_back_as_they_are(daemon, raw_upstream, status):
    running = daemon(upstream := raw_upstream())
    body = b'{"error":"x"}'
    with running.client() as client:
        client.send(upgrade())
        upstream.request().answer(f"HTTP/1.1 {status}\r\nX-Request-Id: up-1\r\nContent-Length: {len(body)}\r\n\r\n"
                                  .encode() + body)
        response = client.response()
        assert f"{response.status} {response.reason}" == status
        assert response.body == body and response.field("X-Request-Id") == "up-1"
        assert response.field("Proxy-Status") is None
    assert upstream.none_came(), "a handshake was repeated"


@pytest.mark.parametrize("how", ["orderly", "truncate", "reset"])
def test_a_handshake_without_any_answer_is_sent_once_more(daemon, raw_upstream, how):
    """Connections kept for later may die just as they are taken; an app that watches a payment should not see it."""
    running = daemon(upstream := raw_upstream(tls=False))
    with running.client() as client:
        client.send(upgrade())
        first = upstream.request()
        first.end(how)
        second = upstream.request()
        assert (second.line, second.fields) == (first.line, first.fields)
        second.answer(switching())
        assert client.response().status == 101
    with running.client() as client:
        client.send(upgrade())
        for _ in range(2):
            upstream.request().end(how)
        refused(client.response(), 502, "proxy_protocol_error", sent="maybe")
    assert upstream.none_came()


def test_a_refused_token_is_followed_by_the_next(daemon, fakeproof, vault):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old])
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake, token_file=[new, old])
    with running.client() as client:
        client.send(upgrade())
        assert client.response().status == 101
        client.send(frame(TEXT, b"hello", masked=True))
        while len(client.buffer) < 7:
            assert client.receive()
        assert client.buffer == frame(TEXT, b"hello")


def test_only_when_every_token_is_refused_the_app_gets_401(daemon, fakeproof, vault, token):
    fake = fakeproof([vault.token("another")])
    running = daemon(fake, token_file=[vault.token("second"), token])
    with running.client() as client:
        response = client.send(upgrade()).response()
        passed(response, 401)
        assert response.json["error"] == "unauthorised"
    assert len(fake.heads("/ws")) == 2


# --- capacity ---
def test_beyond_max_websockets_nothing_is_opened_upstream(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(), max_websockets=2)
    with Pair(running, upstream) as first:
        with Pair(running, upstream):
            with running.client() as third:
                body = refused(third.send(upgrade()).response(), 503, "proxy_overloaded")
                assert "max_websockets" in body["message"]
            assert upstream.none_came()
            with running.client() as plain:  # ordinary requests are not affected
                plain.send(request("/widget/a"))
                upstream.request().answer(OK)
                passed(plain.response())
        running.wait_log('"event":"websocket_end"')
        with Pair(running, upstream) as again:
            again.both_ways()
        first.both_ways()


@pytest.mark.parametrize("files", [128, 129, 130])  # what a tunnel takes one after the other runs out at each of them
def test_without_descriptors_handshakes_are_refused_and_come_back(daemon, raw_upstream, files):
    running = daemon(upstream := raw_upstream(), process={"nofile": files})
    pairs, others = [], []
    try:
        for _ in range(200):
            client = running.client()
            client.try_send(upgrade())
            others.append(client)
            try:
                seen = upstream.request(0.5)
            except AssertionError:
                break
            seen.connection.send(switching())
            response = client.response()
            if response is None or response.status == 503:
                others.pop().close()
                break
            assert response.status == 101
            others.pop()
            pairs.append(client)
        assert 10 < len(pairs) < 120
        for client in pairs:
            client.sock.setblocking(False)
            with pytest.raises(BlockingIOError):  # to whom 101 was said, the tunnel is open
                client.sock.recv(1)
        for client in others:  # each is answered with an error or closed, none is left hanging
            response = client.response()
            assert response is None or response.status in (502, 503), response
        assert running.process.poll() is None
    finally:
        for client in pairs + others:
            client.close()
    until(lambda: len(running.descriptors()) < 60, "the descriptors are free again")
    upstream.taken()
    with Pair(running, upstream) as pair:
        pair.both_ways()
