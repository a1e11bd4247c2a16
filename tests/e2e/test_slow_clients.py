"""Clients that hold places and do nothing with them: who goes when places run out, and who never does."""
import json
import resource
import select
import subprocess
import time

import pytest

from harness.admin import metric
from harness.client import request
from harness.expect import passed, refused
from harness.upstream import OK
from harness.waiting import until

PLACES = 64  # clients at once with this many descriptors: half of what is left besides the daemon's own
FILES = 2 * PLACES + 128


def slow_head(client):
    client.send(b"GET /widget/a HTTP/1.1\r\nHost: localhost\r\n")


def slow_body(client):
    client.send(request("/widget/a", "POST", ["Content-Length: 100000"]) + b"x" * 10)


def slow_upload(client):
    """Enough of its body is here for upstream to be asked."""
    client.send(request("/widget/large", "POST", ["Content-Length: 100000"]) + b"x" * 70000)


def expecting(client):
    client.send(request("/widget/a", "POST", ["Content-Length: 1000", "Expect: 100-continue"]))


def slow_reader(client):
    client.send(request("/widget/large"))


def idle(client):
    passed(client.get("/widget/a"))


def silent(client):
    del client


@pytest.fixture
def upstream(fake):
    fake.fault("status", path="/widget/a", status=200, body="{}", count=0)
    fake.fault("large", path="/widget/large", bytes=8 << 20, count=0)
    return fake


def queued(running):
    """What the kernel keeps for each client of what it was sent and did not read, in bytes."""
    shown = subprocess.run(["ss", "-tmHn", f"sport = :{running.port}"], capture_output=True, text=True, check=True)
    return [int(part[1:]) for line in shown.stdout.splitlines() if "skmem:(" in line
            for part in line.partition("skmem:(")[2].split(",") if part.startswith("w")]


def crowd(running, behave, count):
    clients = []
    for _ in range(count):
        client = running.client(receive_buffer=4096)
        behave(client)
        clients.append(client)
    if behave is slow_reader:
        until(lambda: sum(n > 100_000 for n in queued(running)) >= count, "none of them can be sent more")
    time.sleep(0.3)  # beyond the patience for which nobody is sent away before others
    return clients


def polled(clients, events):
    found = []
    for client in clients:
        poll = select.poll()
        poll.register(client.sock, events)
        if poll.poll(0):
            found.append(client)
    return found


def gone(clients):
    """Those who were sent away."""
    return polled(clients, select.POLLRDHUP)  # and always POLLERR, POLLHUP


def readable(clients):
    return polled(clients, select.POLLIN)


@pytest.mark.parametrize("behave", [silent, slow_head, idle, slow_body, slow_upload, expecting, slow_reader])
def test_a_newcomer_is_served_when_others_hold_every_place(daemon, upstream, behave):
    running = daemon(upstream, process={"nofile": FILES})
    clients = crowd(running, behave, PLACES)
    for _ in range(10):
        passed(running.get("/widget/a"))
        passed(running.get("/widget/a", method="POST", body=b"{}"))
    assert 1 <= len(gone(clients)) <= 20
    assert gone(clients) == clients[:len(gone(clients))], "those who had waited longest went first"
    for client in clients:
        client.close()
    until(lambda: metric(running, "proofproxy_connections") == 0, "every connection is gone")


def test_who_goes_hears_why(daemon, upstream):
    running = daemon(upstream, process={"nofile": FILES})
    clients = crowd(running, slow_head, PLACES)
    passed(running.get("/widget/a"))
    response = clients[0].response()
    assert response.status == 503 and response.json["code"] == "proxy_overloaded" and response.json["sent"] == "no"
    assert clients[0].at_end()
    running.wait_log('"end":"evicted"', '"reason":"overloaded"', response.field("X-Request-Id"))
    assert metric(running, "proofproxy_local_rejections_total", reason="overloaded") >= 1


def test_slow_heads_go_before_good_clients_between_two_calls(daemon, upstream):
    running = daemon(upstream, process={"nofile": FILES})
    good = crowd(running, idle, 10)
    bad = crowd(running, slow_head, PLACES - 10)
    for _ in range(30):
        passed(running.get("/widget/a"))
    for client in good:
        passed(client.get("/widget/a"))
    assert gone(good) == [] and gone(bad) != []


@pytest.mark.parametrize("behave", [slow_body, slow_upload, expecting, slow_reader])
def test_slow_clients_cannot_hold_max_inflight(daemon, upstream, behave):
    running = daemon(upstream, max_inflight=8)
    clients = crowd(running, behave, 8)
    before = len(running.log)
    for _ in range(4):
        passed(running.get("/widget/a", method="POST", body=b"{}"))
    assert len(gone(clients)) == 1, "one place is enough for one call at a time"
    # Which of the slow readers took something longest ago is the kernel's to know.
    assert behave is slow_reader or gone(clients) == clients[:1], "who had waited longest went first"
    line = json.loads(running.wait_log('"end":"evicted"', after=before))
    if behave is not slow_reader:
        first = clients[0].response()
        answer = clients[0].response() if first.status == 100 else first
        refused(answer, 503, "proxy_overloaded", sent="maybe" if behave is slow_upload else "no")
        assert (line["request_id"], line["sent"]) == (answer.field("X-Request-Id"), answer.json["sent"])
    until(lambda: metric(running, "proofproxy_inflight") == 7, "the others are still under way")
    for client in clients:
        client.close()
    until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")


@pytest.mark.parametrize("behave", [slow_body, expecting])
def test_bodies_that_do_not_come_take_no_place_from_other_calls(daemon, upstream, behave):
    running = daemon(upstream, max_inflight=8)
    clients = crowd(running, behave, 8)
    for _ in range(4):
        passed(running.get("/widget/a"))
    assert gone(clients) == []
    for client in clients:
        client.close()
    until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")


@pytest.mark.parametrize("length, first, then", [
    (20, 10, 10),  # it is whole now
    (200000, 50000, 30000),  # it is enough for upstream to be asked
])
def test_a_body_that_comes_when_all_places_are_taken(daemon, upstream, length, first, then):
    running = daemon(upstream, max_inflight=4)
    upstream.fault("stall", path="/widget/stuck", count=0)
    late = running.client()
    late.send(request("/widget/a", "POST", [f"Content-Length: {length}"]) + b"x" * first)
    stuck = crowd(running, lambda client: client.send(request("/widget/stuck")), 4)
    late.try_send(b"x" * then)
    refused(late.response(), 503, "proxy_overloaded")
    for client in (late, *stuck):
        client.close()
    until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")
    passed(running.get("/widget/a", method="POST", body=b"{}"))


def test_nobody_goes_for_others_who_waits_for_upstream(daemon, upstream):
    running = daemon(upstream, max_inflight=8)
    upstream.fault("stall", path="/widget/stuck", count=0)
    clients = crowd(running, lambda client: client.send(request("/widget/stuck")), 8)
    refused(running.get("/widget/a"), 503, "proxy_overloaded")
    refused(running.get("/widget/a"), 503, "proxy_overloaded")
    assert gone(clients) == []
    for client in clients:
        client.close()
    until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")
    passed(running.get("/widget/a"))


def test_a_stuck_upstream_leaves_other_environments_alone(daemon, raw_upstream, vault):
    stuck, well = raw_upstream(tls=False), raw_upstream(tls=False, automatic=OK)
    # More requests at once than clients: the first environment could fill every place.
    running = daemon(process={"nofile": FILES}, environments={
        "production": {"base_url": stuck.url, "token_file": [vault.token()], "max_inflight": 1000},
        "sandbox": {"base_url": well.url, "token_file": [vault.token()]}})
    clients = [running.client("production") for _ in range(PLACES)]
    for client in clients:
        client.try_send(request("/widget/stuck"))
    for _ in range(20):
        passed(running.get("/widget/a", environment="sandbox"))
    until(lambda: len(readable(clients)) >= PLACES // 2, "at most half of all places went to one environment")
    answered = readable(clients)
    refused(answered[0].response(), 503, "proxy_overloaded")
    for client in clients:
        client.close()


def test_descriptors_that_run_out_cost_the_slow_ones(daemon, upstream):
    running = daemon(upstream)
    passed(running.get("/widget/a"))
    clients = crowd(running, slow_head, 40)
    used = max(map(int, running.descriptors())) + 1
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used, used))  # not one more, for accept and connect alike
    for _ in range(10):
        passed(running.get("/widget/a"))
    assert 1 <= len(gone(clients)) <= 20


def test_the_kernel_keeps_little_for_who_reads_nothing(daemon, upstream):
    running = daemon(upstream)
    clients = crowd(running, slow_reader, 3)
    assert max(queued(running)) < 512 * 1024
    for client in clients:
        client.close()
