"""Answers that come before the request was sent whole, and what happens to the connection they came on."""
import signal
import time

import pytest

from harness.client import request
from harness.expect import passed, refused
from harness.upstream import OK
from harness.waiting import until

BODY = bytes(range(256)) * 4096
REFUSED = b'{"error":"unauthorised","code":"invalid_token","message":"unknown"}'


def answer(status, body=REFUSED, close=True):
    return (b"HTTP/1.1 %d Early\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
            % (status, len(body), b"Connection: close\r\n" if close else b"", body))


@pytest.mark.parametrize("how", ["orderly", "truncate", "reset"])
@pytest.mark.parametrize("size", [100_000, len(BODY)])
def test_a_401_before_the_body_was_read_is_replayed(daemon, raw_upstream, vault, how, size):
    """The connection breaks while the body is still being written to it; the replay may be on another by then."""
    tokens = {vault.token("new"), vault.token("old")}
    upstream = raw_upstream(read_bodies=False)
    running = daemon(upstream, token_file=sorted(tokens))
    with running.client() as client:
        for _ in range(8):
            client.send(request("/widget/session", "POST", body=BODY[:size]))
            first = upstream.request()
            if how == "reset":  # a part is read, the answer arrives, and the rest meets nobody
                first.connection.read_exactly(1)
            first.answer(answer(401), end=how)
            second = upstream.request()
            assert {first.field(b"authorization"), second.field(b"authorization")} == \
                {b"Bearer " + t.encode() for t in tokens}
            assert second.connection.read_body(second.head)[0] == BODY[:size]
            second.answer(OK)
            passed(client.response())
    assert upstream.none_came()


@pytest.mark.parametrize("status", [401, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", REFUSED], ids=["no body", "body"])
def test_bytes_behind_an_answer_that_is_tried_again_are_never_an_answer(daemon, raw_upstream, vault, status, body):
    """They came before the next request: on the same connection they would be taken for its answer."""
    upstream = raw_upstream()
    running = daemon(upstream, token_file=[vault.token("new"), vault.token("old")])
    with running.client() as client:
        client.send(request("/widget/a"))
        first = upstream.request()
        first.answer(answer(status, body, close=False) + answer(200, b"smuggled", close=False))
        second = upstream.request()
        assert second.connection is not first.connection
        second.answer(OK)
        assert passed(client.response()).body == b"{}"
        first.connection.wait_end()


def test_no_try_begins_for_a_client_that_left(daemon, raw_upstream):
    """The client's end and the end of the pause before the next try come to the daemon in one and the same turn."""
    upstream = raw_upstream(tls=False)
    running = daemon(upstream, retries={"attempts": 5, "budget_percent": 100})
    for _ in range(10):
        with running.client() as client:
            client.send(request("/widget/a"))
            upstream.request().answer(answer(503, close=False))
            time.sleep(0.005)  # it has read that, and pauses for 12 to 25 ms
            running.process.send_signal(signal.SIGSTOP)
            client.reset()
            time.sleep(0.05)
            running.process.send_signal(signal.SIGCONT)
        assert upstream.none_came(within=0.1)
    until(lambda: running.log.count('"end":"client_gone"') == 10, "all ten are seen to have left")
