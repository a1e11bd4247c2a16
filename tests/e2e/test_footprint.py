"""What the daemon takes at rest."""
import pytest

from conftest import BINARY
from harness.client import request
from harness.expect import passed, sanitized
from harness.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
AT_REST = 12 << 20  # libraries included; issue 7's bound
IDLE_CLIENT = 4 << 10  # between two calls; it was 48 KiB


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


def test_idle_clients_take_little_memory(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream)
    clients = [running.client() for _ in range(501)]
    passed(clients[0].get("/widget/a"))
    before = running.memory()
    for client in clients[1:]:
        passed(client.get("/widget/a"))
    if not sanitized(BINARY):
        until(lambda: running.memory() - before < 500 * IDLE_CLIENT, "their memory is given back", patience=5)
    for client in clients:
        passed(client.get("/widget/a"))
    for client in clients:
        client.close()
