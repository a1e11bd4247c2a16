"""Answers that come before the request was sent whole, and what happens to the connection they came on."""
import pytest

from harness.client import request
from harness.expect import passed, refused
from harness.upstream import OK

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
