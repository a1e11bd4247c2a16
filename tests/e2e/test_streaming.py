"""Large, slow and broken-off exchanges: memory stays bounded, and a truncated answer is never complete."""
import hashlib
import os

import pytest

from conftest import BINARY
from harness.client import request
from harness.expect import passed, refused, sanitized
from harness.upstream import OK

LARGE = int(os.environ.get("E2E_LARGE_BYTES", 1 << 30))
RSS_BOUND = (1 << 30) if sanitized(BINARY) else (64 << 20)


# --- large and slow ---
def check_pattern(client, total):
    """Reads a body in fakeproof's pattern and compares all of it."""
    at = 0
    while at < total:
        if not client.buffer and not client.receive():
            raise AssertionError(f"ended after {at} of {total} bytes")
        piece = client.take(min(len(client.buffer), total - at))
        first = at // 16
        count = (at + len(piece) + 15) // 16 - first
        expected = b"".join(b"%015x\n" % n for n in range(first, first + count))
        assert piece == expected[at % 16:at % 16 + len(piece)], f"wrong bytes near {at}"
        at += len(piece)


@pytest.mark.parametrize("spec", [{}, {"chunked": True}, {"until_close": True}], ids=["length", "chunked", "close"])
def test_large_answers_arrive_right(daemon, fake, spec):
    size = 24 << 20
    running = daemon(fake)
    fake.fault("large", bytes=size, **spec)
    with running.client() as client:
        client.vault = None
        client.send(b"GET /widget/a HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = client.read_head()
        assert head.startswith("HTTP/1.1 200 ")
        check_pattern(client, size)
        assert client.at_end()


def test_memory_stays_bounded_for_a_very_large_answer(daemon, fake):
    running = daemon(fake)
    fake.fault("large", bytes=LARGE)
    with running.client(patience=60) as client:
        client.vault = None
        client.send(request("/widget/a"))
        assert f"Content-Length: {LARGE}" in client.read_head()
        client.discard(LARGE)
    assert running.memory("VmHWM") < RSS_BOUND


def test_back_pressure_reaches_upstream(daemon, fake):
    running = daemon(fake)
    before = running.memory()
    fake.fault("large", bytes=8 << 30)
    with running.client(receive_buffer=65536) as client:
        client.send(request("/widget/a"))
        client.read_head()
        passed(running.get("/widget/transactions/x"), 404)
        grown = running.memory("VmHWM") - before
        assert grown < (256 << 20 if sanitized(BINARY) else 16 << 20)
    fake.wait("aborted", 1)


def test_many_slow_readers_cost_little(daemon, fake):
    running = daemon(fake)
    before = running.memory()
    fake.fault("large", bytes=64 << 20, count=0)
    clients = [running.client(receive_buffer=4096) for _ in range(50)]
    for client in clients:
        client.send(request("/widget/a"))
    for client in clients:
        client.read_head()
    if not sanitized(BINARY):
        assert running.memory("VmHWM") - before < 50 * 400 * 1024
    for client in clients:
        client.close()
    fake.wait("aborted", 50)


def test_a_body_of_max_body_passes_and_one_byte_more_is_refused(daemon, fake):
    running = daemon(fake, max_body="2m")
    body = os.urandom(2 << 20)
    fake.fault("digest")
    answer = passed(running.get("/widget/a", method="POST", body=body)).json
    assert answer == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    with running.client() as client:
        client.try_send(request("/widget/a", "POST", body=body + b"x"))
        refused(client.response(), 413)
    fake.fault("digest")  # it reads to the end, so that the daemon is the one to object
    with running.client() as client:
        client.send(request("/widget/a", "POST", ["Transfer-Encoding: chunked"]))
        client.try_send(b"%x\r\n%s\r\n" % (len(body), body))
        client.try_send(b"1\r\nx\r\n0\r\n\r\n")
        response = client.response()
        refused(response, 413, "proxy_body_too_large", sent="maybe")  # a part of it was on its way already
    running.wait_log('"status":413', '"sent":"maybe"', response.field("X-Request-Id"))


def begin_a_stream(client):
    """A chunked body, so much of it that its beginning is sent on at once; the rest is the caller's."""
    client.send(request("/widget/a", "POST", ["Transfer-Encoding: chunked"]))
    client.send(b"%x\r\n%s\r\n" % (200_000, b"x" * 200_000))


@pytest.mark.parametrize("rest,status", [(b"no chunk\r\n", 400), (b"", 408)])
def test_a_refusal_in_the_midst_of_a_streamed_body_tells_what_was_sent(daemon, raw_upstream, rest, status):
    upstream = raw_upstream(read_bodies=False)
    running = daemon(upstream, body_timeout="1s")
    with running.client() as client:
        begin_a_stream(client)
        upstream.request()  # its beginning has left this host
        client.send(rest)
        response = client.response()
        refused(response, status, sent="maybe")
    running.wait_log(f'"status":{status}', '"sent":"maybe"', response.field("X-Request-Id"))


@pytest.mark.parametrize("rest,status", [(b"no chunk\r\n", 400), (b"", 408), (b"f" * 16 + b"1\r\n", 400)])
def test_a_body_without_end_does_not_hide_that_it_was_answered(daemon, raw_upstream, rest, status):
    """Upstream's answer waits for the body's end. That it never comes must not pass for a request never sent."""
    upstream = raw_upstream(read_bodies=False)
    running = daemon(upstream, body_timeout="2s")
    with running.client() as client:
        begin_a_stream(client)
        asked = upstream.request()
        asked.answer(OK)
        asked.connection.wait_end()  # the daemon has it, and has let go
        client.send(rest)
        response = client.response()
        refused(response, status, sent="yes")
    running.wait_log(f'"status":{status}', '"sent":"yes"', response.field("X-Request-Id"))


@pytest.mark.parametrize("rest", [b"no chunk\r\n", b""])
def test_a_refusal_is_given_though_the_body_it_waits_for_has_no_end(daemon, raw_upstream, rest):
    upstream = raw_upstream(read_bodies=False)
    running = daemon(upstream, body_timeout="2s")
    with running.client() as client:
        begin_a_stream(client)
        asked = upstream.request()
        asked.answer(b"HTTP/1.1 nonsense\r\n\r\n")
        asked.connection.wait_end()
        client.send(rest)
        response = client.response()
        refused(response, 502, "proxy_protocol_error", sent="yes")
    running.wait_log('"status":502', '"sent":"yes"', response.field("X-Request-Id"))


def test_an_echo_of_both_framings(daemon, fake):
    running = daemon(fake)
    body = os.urandom(500000)
    fake.fault("echo", count=0)
    assert passed(running.get("/widget/a", method="POST", body=body)).body == body
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 9999]), body[i:i + 9999]) for i in range(0, len(body), 9999))
    with running.client() as client:
        client.send(request("/widget/a", "POST", ["Transfer-Encoding: chunked"]) + chunked + b"0\r\n\r\n")
        assert passed(client.response()).body == body


# --- ends ---
def test_a_client_that_leaves_cancels_the_call(daemon, fake):
    running = daemon(fake)
    fake.fault("stall", count=0)
    for leave in ("close", "reset"):
        client = running.client()
        client.send(request("/widget/a"))
        fake.wait("stalled", 1 if leave == "close" else 2)
        getattr(client, leave)()
        fake.wait("aborted", 1 if leave == "close" else 2)


def test_a_client_that_leaves_in_the_middle_of_its_body(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream)
    client = running.client()
    client.send(request("/widget/a", "POST", ["Content-Length: 1000"]) + b"x" * 500)
    client.close()
    passed(running.get("/widget/b"))
    assert b"POST /widget/a" not in b"".join(c.received for c in upstream.connections) or all(
        b"x" * 501 not in c.received for c in upstream.connections)


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
@pytest.mark.parametrize("size", [300, 4 << 20])
def test_a_truncated_answer_is_never_complete(daemon, fake, how, size):
    running = daemon(fake)
    fake.fault("large", bytes=size, after=size // 2, how=how)
    with running.client() as client:
        response = client.get("/widget/a", method="POST")
        if response is not None and response.status == 502:
            refused(response, 502, "proxy_protocol_error", sent="yes")
        else:
            assert response is None or (response.status == 200 and not response.complete)
            assert client.at_end()


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
def test_a_truncated_chunked_answer_is_never_complete(daemon, fake, how):
    running = daemon(fake)
    fake.fault("large", bytes=4 << 20, after=2 << 20, chunked=True, how=how)
    with running.client() as client:
        response = client.get("/widget/a")
        assert response is None or not response.complete
        assert client.at_end()


@pytest.mark.parametrize("how", ["reset", "truncate"])
def test_an_answer_until_close_without_close_notify_is_truncated(daemon, fake, how):
    running = daemon(fake)
    fake.fault("large", bytes=4 << 20, after=2 << 20, until_close=True, how=how)
    with running.client() as client:
        response = client.get("/widget/a")
        assert response is None or not response.complete


def test_nothing_is_leaked_by_hundreds_of_mixed_exchanges(daemon, fake):
    running = daemon(fake)
    passed(running.get("/widget/transactions/x"), 404)
    before = len(running.descriptors())
    for i in range(60):
        passed(running.get("/widget/transactions/x"), 404)
        refused(running.get("/nowhere"), 404)
        fake.fault("large", bytes=100000, after=50000)
        running.get("/widget/a")
        fake.fault("stall")
        client = running.client()
        client.send(request("/widget/a"))
        fake.wait("stalled", i + 1)
        client.close()
    fake.wait("aborted", 60)
    fake.control("POST", "/close-idle")
    running.settled_descriptors(before + 8, "after 240 exchanges")
