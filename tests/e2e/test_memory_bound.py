"""The memory bound that the daemon states at its start: what each thing costs, and all of them at once."""
import json

import pytest

from conftest import BINARY
from harness.admin import ask, command, metric
from harness.client import request
from harness.expect import passed, sanitized
from harness.waiting import until
from harness.websocket import upgrade

MANY = 200
# Sanitizers have memory of their own: then everything is driven to its limit all the same, but not weighed.
WEIGHED = not sanitized(BINARY)


def stated(running):
    return json.loads(ask(running, "/status").body)["memory"]


def each(memory, part):
    return memory["parts"][part]["bytes"] / memory["parts"][part]["count"]


def big_head(client):
    client.send(b"GET /widget/a HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"y" * 46000)


def half_a_body(client):
    client.send(request("/widget/a", "POST", ["Content-Length: 1000000"]) + b"x" * 65000)


def stuck(client):
    client.send(request("/widget/stuck", "POST", body=b"x" * (1 << 20)))


def stuck_reader(client):
    client.send(request("/widget/large", "POST", body=b"x" * (1 << 20)))


def websocket(client):
    client.send(upgrade())
    assert client.read_head().startswith("HTTP/1.1 101 ")


@pytest.fixture
def upstream(fake):
    fake.fault("large", path="/widget/large", bytes=8 << 20, count=0)
    fake.fault("stall", path="/widget/stuck", count=0)
    fake.fault("ws", echo=True, count=0)
    return fake


def drive(running, behave, count):
    clients = []
    for _ in range(count):
        client = running.client(receive_buffer=4096)
        client.vault = None
        behave(client)
        clients.append(client)
    return clients


def settle(running):
    """Waits until it takes no more."""
    seen = []
    until(lambda: seen.append(running.memory()) or len(seen) > 5 and seen[-5] >= seen[-1] - 65536, "its memory settles",
          pause=0.1)


@pytest.mark.parametrize("behave, parts, least", [
    (big_head, ["clients"], 0.4),
    (half_a_body, ["clients", "bodies to come"], 0.4),
    (stuck, ["clients", "requests"], 0.4),
    (stuck_reader, ["clients", "requests"], 0.5),
    (websocket, ["WebSockets"], 0.1),  # most of it is for bytes right behind both handshakes, which hardly anyone sends
])
def test_each_thing_costs_what_is_stated(daemon, upstream, behave, parts, least):
    """At most that, also when a library changes; and not so much less that the statement means nothing."""
    running = daemon(upstream, settings={"log": {"access": False}})
    passed(running.get("/widget/transactions/x"), 404)
    before = running.memory()
    clients = drive(running, behave, MANY)
    if behave is websocket:
        upstream.control("POST", "/ws", {"action": "flood", "bytes": 1 << 20})
    settle(running)
    measured = (running.memory("VmHWM") - before) / MANY
    statement = sum(each(stated(running), part) for part in parts)
    if WEIGHED:
        assert least * statement < measured < statement, f"{measured:.0f} bytes of {statement:.0f}"
    for client in clients:
        client.close()
    until(lambda: metric(running, "proofproxy_connections") == 0, "every client is gone")


def test_everything_at_once_stays_below_the_bound(daemon, upstream):
    running = daemon(upstream, settings={"log": {"access": False}}, process={"nofile": 1600},
                     max_inflight=100, max_websockets=100, body_timeout="60s", header_timeout="60s")
    memory = stated(running)
    line = running.wait_log('"component":"memory"', "at most ", "max_inflight, max_body")
    assert f"({memory['bound_bytes']} bytes)" in line and line.index("requests 100 x ") > 0
    assert memory["bound_bytes"] == sum(part["bytes"] for part in memory["parts"].values())
    everybody = drive(running, websocket, 100)
    upstream.control("POST", "/ws", {"action": "flood", "bytes": 1 << 20})
    everybody += drive(running, stuck_reader, 100)
    everybody += drive(running, half_a_body, 100)
    everybody += drive(running, big_head, 500)
    settle(running)
    peak = running.memory("VmHWM")
    assert metric(running, "proofproxy_inflight") == 200
    assert metric(running, "proofproxy_websocket_sessions") == 100
    if WEIGHED:
        assert 0.35 * memory["bound_bytes"] < peak < memory["bound_bytes"], f"{peak} of {memory}"
    for client in everybody:
        client.close()
    until(lambda: metric(running, "proofproxy_connections") == 0, "every client is gone")
    until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")


def test_memory_goes_back_after_a_storm(daemon, upstream):
    running = daemon(upstream, settings={"log": {"access": False}})
    passed(running.get("/widget/transactions/x"), 404)
    before = running.memory()
    clients = drive(running, stuck_reader, MANY)
    settle(running)
    for client in clients:
        client.close()
    if WEIGHED:
        assert running.memory("VmHWM") - before > 180 << 20
        until(lambda: running.memory() - before < 40 << 20, "what the storm took was given back")


def test_a_reload_states_it_anew(daemon, upstream):
    running = daemon(upstream, max_inflight=100)
    before = stated(running)["bound_bytes"]
    shown = command(running, "status")
    assert "memory at most " in shown.stdout
    running.environments["production"]["max_body"] = "64k"
    running.write_config()
    position = len(running.log)
    running.reload()
    running.wait_log('"component":"memory"', "at most ", after=position)
    assert stated(running)["bound_bytes"] < before - 100 * 900 * 1024


def test_too_few_descriptors_for_max_inflight_are_told(daemon, upstream):
    running = daemon(upstream, max_inflight=1000, process={"nofile": 384})
    running.wait_log("max_inflight is 1000, but there are descriptors for 128 only: raise LimitNOFILE")
