"""What the daemon takes at rest."""
import pytest

from conftest import BINARY
from harness.client import request
from harness.expect import passed, sanitized

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
AT_REST = 12 << 20  # libraries included; issue 7's bound


@pytest.mark.parametrize("tls", [{}, {"tls": {"ca_file": ""}}], ids=["own-ca", "system-ca"])
def test_memory_at_rest(daemon, raw_upstream, tls):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream, **tls)
    if not tls:
        passed(running.get("/widget/a"))
    if sanitized(BINARY):
        return
    assert running.memory() < AT_REST


def test_every_part_still_works_after_the_start(daemon, raw_upstream):
    """Code is dropped from memory after the start: it comes back when it is needed, also what only a reload needs."""
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream)
    with running.client() as client:
        passed(client.get("/widget/a"))
        running.reload()
        passed(client.get("/widget/a"))
        client.send(request("/widget/a", "POST", body=b"x" * 100000))
        passed(client.response())
