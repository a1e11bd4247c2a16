"""Crowds of bad clients at once, with the default limits: good callers are served, and everything recovers."""
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import ca, certs, daemon, fakeproof, pytest_configure, token, vault  # noqa: F401: the fixtures are used
from crowd import Attack, Honest
from harness.admin import ask, metric
from harness.expect import sanitized
from harness.waiting import until

# A good caller's 99th percentile in the midst of the worst attack, in seconds; where the machine is so busy that it is
# long before the attack, as many times that. Attackers, upstream and callers run on the same machine.
P99, P99_TIMES = 3.0, 100
SECONDS = float(os.environ.get("ATTACK_SECONDS", "10"))


@pytest.fixture
def fake(fakeproof):  # noqa: F811
    fake = fakeproof()
    fake.fault("status", path="/widget/honest", status=200, body='{"ok":true}', count=0)
    fake.fault("large", path="/widget/large", bytes=8 << 20, count=0)
    return fake


class Watch:
    """What the daemon was like before, to be compared with afterwards."""

    def __init__(self, running):
        self.running = running
        with Honest(running.address) as quiet:
            time.sleep(1.5)
        self.quiet = quiet.result
        assert self.quiet["failed"] == 0, self.quiet
        self.descriptors = len(running.descriptors())
        self.memory = running.memory()

    def attack(self, seconds, honest=None, **groups):
        """The attack, with good callers from before its start to its end."""
        with Honest(self.running.address, **(honest or {})) as callers:
            with Attack(self.running.address, **groups) as attack:
                time.sleep(seconds)
                peak = len(self.running.descriptors())
        print(f"\nquiet: {self.quiet}\nattacked: {callers.result}\nattack: {attack.result}\n"
              f"descriptors: {peak}, peak memory: {self.running.memory('VmHWM') >> 20} MiB")
        bound = json.loads(ask(self.running, "/status").body)["memory"]["bound_bytes"]
        assert sanitized(self.running.binary) or self.running.memory("VmHWM") < bound
        return callers.result, attack.result, peak

    def recovered(self):
        running = self.running
        until(lambda: metric(running, "proofproxy_connections") == 0, "every client is gone")
        until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")
        until(lambda: len(running.descriptors()) <= self.descriptors + self.idle() + 10,
              "every descriptor is back, but for idle connections to upstream")
        with Honest(running.address) as after:
            time.sleep(1)
        assert after.result["failed"] == 0, after.result

    def idle(self):
        """Connections to upstream kept for the next calls; counted anew every second."""
        return json.loads(ask(self.running, "/status").body)["environments"][0]["pool"]["idle"]

    def served(self, callers):
        assert callers["calls"] > 50, callers
        assert callers["failed"] == 0, callers
        self.in_time(callers)

    def in_time(self, callers):
        assert callers["p99"] < max(P99, P99_TIMES * self.quiet["p99"]), (self.quiet, callers)


@pytest.fixture
def watch(daemon, fake):  # noqa: F811
    return Watch(daemon(fake, settings={"log": {"access": False}}))


def test_thousands_of_slow_clients(watch):
    callers, attack, peak = watch.attack(SECONDS, slow_head=5000, slow_body=1000, slow_read=1000)
    watch.served(callers)
    assert attack["open"] > 5000 and peak > 5000, attack
    watch.recovered()


def test_greedy_and_malformed_clients(watch):
    """Those who send all the time what will be refused, or ask without reading, or ask whether they may send."""
    often = {"count": 100, "back_after": 1}
    callers, attack, _ = watch.attack(
        SECONDS / 2, idle=1000, idle_after=500, expecting=300, pipelining=50, chunk_extensions=20, huge_head=often,
        many_headers=often, malformed=often)
    watch.served(callers)
    assert {"huge_head 431", "many_headers 431", "malformed 400"} <= set(attack["answers"]), attack
    watch.recovered()


def test_who_sends_all_the_time_gets_a_turn_like_others(watch):
    callers, attack, _ = watch.attack(3, chunk_extensions=40)
    watch.served(callers)
    assert callers["p99"] < 1, callers
    assert attack["sent"] > 50 << 20, attack
    watch.recovered()


@pytest.mark.parametrize("kinds", [["slow_head", "idle", "idle_after"], ["slow_body", "slow_read"]], ids="+".join)
def test_more_clients_than_descriptors(daemon, fake, kinds):  # noqa: F811
    watch = Watch(daemon(fake, settings={"log": {"access": False}}, process={"nofile": 1024}))
    each = {"count": 800 // len(kinds), "back_after": 2}
    callers, attack, peak = watch.attack(SECONDS / 4, **{kind: each for kind in kinds})
    watch.served(callers)
    assert attack["connections"] >= 800 and 400 < peak < 1024, attack
    watch.recovered()


def test_descriptors_taken_away_in_the_midst(daemon, fake):  # noqa: F811
    """accept and connect fail with EMFILE: the slow clients go, and the good ones are served."""
    watch = Watch(daemon(fake, settings={"log": {"access": False}}))
    limit = 400
    resource.prlimit(watch.running.pid, resource.RLIMIT_NOFILE, (limit, limit))
    callers, attack, peak = watch.attack(SECONDS / 4, slow_head=700, idle=300)
    watch.in_time(callers)
    # Which of the two, a newcomer or a connection to upstream, gets the last descriptor is a matter of luck.
    assert callers["failed"] <= callers["calls"] // 20, callers
    assert attack["connections"] > 1000 and peak <= limit, attack
    watch.recovered()


def test_websockets_that_are_never_read(daemon, fake):  # noqa: F811
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake, max_websockets=1200, client_idle_timeout="5s", settings={"log": {"access": False}})
    watch = Watch(running)
    before = running.memory()
    with Honest(running.address) as callers:
        with Attack(running.address, websocket={"count": 1000, "stays_away": True}):
            until(lambda: metric(running, "proofproxy_websocket_sessions") == 1000, "every WebSocket is open")
            fake.control("POST", "/ws", {"action": "flood", "bytes": 300000})
            time.sleep(1)
            grown = running.memory() - before
            until(lambda: metric(running, "proofproxy_websocket_sessions") == 0,
                  "who takes nothing for so long is cut off", patience=60)
    watch.served(callers.result)
    if not sanitized(running.binary):
        assert grown < 1000 * 200 * 1024, f"{grown / 1000:.0f} bytes each"
    watch.recovered()


# --- slowhttptest: another's idea of these attacks, and its own judgement ---
TOOL = ["slowhttptest", "-c", "900", "-r", "300", "-l", "6", "-p", "3", "-i", "2", "-v", "1"]


@pytest.mark.parametrize("mode", [["-H"], ["-B", "-s", "100000"], ["-X", "-w", "10", "-y", "20", "-n", "3", "-z", "32",
                                                                   "-k", "3"]], ids=["headers", "body", "read"])
def test_slowhttptest(watch, mode):
    running = watch.running
    url = f"{running.url}/widget/{'large' if mode[0] == '-X' else 'honest'}"
    with Honest(running.address) as callers:
        done = subprocess.run([*TOOL, *mode, "-u", url], capture_output=True, text=True, timeout=60, check=False)
    said = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", done.stdout)
    assert "service available:" in said and "service available:   NO" not in said, said[-2000:]
    watch.served(callers.result)
    watch.recovered()
