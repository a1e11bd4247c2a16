"""Connections between and within requests: whatever arrives whenever is read, nothing is read in vain."""
import os
import time

import pytest

from harness.admin import metric
from harness.client import request
from harness.expect import passed, refused
from harness.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ANSWER_AFTER = 1.0  # seconds an upstream takes where a busy loop would show


@pytest.fixture
def upstream(raw_upstream):
    return raw_upstream(tls=False, automatic=OK)


def cpu_seconds(running):
    with open(f"/proc/{running.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def clients_of(running):
    return metric(running, "proofproxy_connections", environment="production")


def test_pieces_that_end_anywhere(daemon, upstream):
    """The end of the first request, or any place in the second, is where the daemon finds nothing more to read."""
    running = daemon(upstream)
    two = request("/widget/a") + request("/widget/b", "POST", body=b"0123456789")
    first = len(request("/widget/a"))
    with running.client() as client:
        for cut in range(1, len(two)):
            client.send(two[:cut])
            if cut >= first:
                passed(client.response())  # now its connection is at rest, with a piece of a request or without
            client.send(two[cut:])
            passed(client.response())
            if cut < first:
                passed(client.response())


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_requests_that_come_while_one_is_answered(daemon, raw_upstream, tmp_path, unix):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream, **({"listen": [f"unix:{tmp_path / 's'}"]} if unix else {}))
    with running.client() as client:
        for _ in range(3):
            client.send(request("/widget/a"))
            first = upstream.request()
            client.send(request("/widget/b"))
            client.send(request("/widget/c", "POST", body=b"x" * 100000)[:50000])
            refused(running.get("/nowhere"), 404)  # the daemon's loop has turned
            first.answer(OK)
            passed(client.response())
            upstream.request().answer(OK)
            passed(client.response())
            client.send(request("/widget/c", "POST", body=b"x" * 100000)[50000:])
            last = upstream.request()
            assert last.body == b"x" * 100000
            last.answer(OK)
            passed(client.response())


def test_what_lies_unread_is_not_looked_at_again_and_again(daemon, raw_upstream):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream)
    with running.client() as more, running.client() as ended:
        for client in (more, ended):
            client.send(request("/widget/a"))
        waiting = [upstream.request(), upstream.request()]
        more.send(request("/widget/b") * 100)
        ended.send(request("/widget/b"))
        ended.half_close()
        before = cpu_seconds(running)
        time.sleep(ANSWER_AFTER)
        assert cpu_seconds(running) - before < ANSWER_AFTER / 4
        for first in waiting:
            first.answer(OK)
        for _ in range(100 + 1):
            upstream.request().answer(OK)
        for client, answers in ((more, 1 + 100), (ended, 1 + 1)):
            for _ in range(answers):
                passed(client.response())
        assert ended.at_end()
        before = cpu_seconds(running)
        time.sleep(ANSWER_AFTER)
        assert cpu_seconds(running) - before < ANSWER_AFTER / 4


def test_more_clients_at_rest_than_fit(daemon, upstream):
    running = daemon(upstream)
    clients = [running.client() for _ in range(300)]
    for _ in range(3):
        for client in clients:
            passed(client.get("/widget/a"))
        for client in clients:
            client.send(request("/widget/b"))
        for client in reversed(clients):
            passed(client.response())
    for i, client in enumerate(clients):
        client.reset() if i % 2 else client.close()
    until(lambda: clients_of(running) == 0, "clients that left while at rest are let go")


def test_clients_at_rest_are_seen_to_leave(daemon, upstream):
    running = daemon(upstream)
    with running.client() as client:
        passed(client.get("/widget/a"))
        for leave in ("close", "reset", "half_close"):
            other = running.client()
            passed(other.get("/widget/a"))
            assert clients_of(running) == 2
            getattr(other, leave)()
            until(lambda: clients_of(running) == 1, f"a client that left ({leave}) is let go")
            other.close()
        passed(client.get("/widget/a"))


def test_a_drain_ends_clients_at_rest(daemon, upstream):
    running = daemon(upstream)
    with running.client() as client, running.client() as second:
        passed(client.get("/widget/a"))
        passed(second.get("/widget/a"))
        running.terminate()
        assert client.at_end() and second.at_end()
