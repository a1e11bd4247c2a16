"""Request smuggling: every case of harness/faults.py, and what upstream saw of it, byte for byte."""
import pytest

from harness.faults import CASES
from harness.upstream import OK


def test_there_are_enough_cases():
    assert len(CASES) >= 150
    assert len({name for name, *_ in CASES}) == len(CASES)


def fits(expected, status):
    return status in expected if isinstance(expected, set) else status == expected


@pytest.mark.parametrize("name,data,statuses,lines", CASES, ids=[c[0] for c in CASES])
def test_request(daemon, raw_upstream, token, name, data, statuses, lines):
    upstream = raw_upstream(tls=False, automatic=OK)
    running = daemon(upstream, body_timeout="2s", header_timeout="2s")
    with running.client() as client:
        client.try_send(data).half_close()
        answers = client.responses()
    got = [a.status for a in answers]
    for at, expected in enumerate(statuses):
        status = got[at] if at < len(got) else None
        assert fits(expected, status), f"answer {at + 1} is {status}, expected {expected}; all: {answers}"
    assert len(got) <= len(statuses), answers
    seen = upstream.taken()
    if lines is not None:
        assert [r.line for r in seen] == lines, [r.head for r in seen]
    for r in seen:
        assert r.field(b"Authorization") == f"Bearer {token}".encode()
        assert r.field(b"Host") == f"127.0.0.1:{upstream.port}".encode()
        assert r.body in ([b""] if r.line.endswith(b"/second HTTP/1.1") else [b"", b"hello", b"hellohello",
                                                                              b"0\r\n\r\n"])
        assert b"evil" not in r.head + r.wire
    # Everything that came over each connection is those requests and nothing else.
    received = b"".join(c.received for c in upstream.connections)
    assert len(received) == sum(len(r.head) + len(r.wire) for r in seen)


def test_a_body_is_reframed(daemon, raw_upstream):
    """Whatever framing a client chose, upstream gets ours: its extensions and trailers are gone."""
    upstream = raw_upstream(tls=False, automatic=OK)
    running = daemon(upstream)
    with running.client() as client:
        client.send(b"POST /widget/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"0002;x=y\r\nab\r\n1;z\r\nc\r\n0;last\r\nX-Trailer: v\r\n\r\n")
        assert client.response().status == 200
    seen = upstream.request()
    assert seen.body == b"abc"
    assert b"x=y" not in seen.wire and b"0002" not in seen.wire and b"Trailer" not in seen.wire
