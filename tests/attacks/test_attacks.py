"""Crowds of bad clients at once, with the default limits: good callers are served, and everything recovers."""
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import ca, certs, daemon, fakeproof, pytest_configure, token, vault  # noqa: F401: the fixtures are used
from crowd import Attack, Honest
from harness.admin import metric
from harness.expect import sanitized
from harness.waiting import until

# A good caller's 99th percentile in the midst of the worst attack. The machine runs attackers, upstream and callers
# besides; without an attack it is some milliseconds.
P99 = float(os.environ.get("ATTACK_P99", "2.0"))
SECONDS = float(os.environ.get("ATTACK_SECONDS", "12"))


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
            time.sleep(2)
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
        return callers.result, attack.result, peak

    def recovered(self):
        running = self.running
        until(lambda: metric(running, "proofproxy_connections") == 0, "every client is gone")
        until(lambda: metric(running, "proofproxy_inflight") == 0, "nothing is under way")
        running.settled_descriptors(self.descriptors + 40, "after the attack")
        with Honest(running.address) as after:
            time.sleep(1)
        assert after.result["failed"] == 0, after.result


def served(callers):
    assert callers["calls"] > 100, callers
    assert callers["failed"] == 0, callers
    assert callers["p99"] < P99, callers


@pytest.fixture
def watch(daemon, fake):  # noqa: F811
    return Watch(daemon(fake, settings={"log": {"access": False}}))


def test_thousands_of_slow_clients(watch):
    callers, attack, peak = watch.attack(SECONDS, slow_head=5000, slow_body=1000, slow_read=1000)
    served(callers)
    assert attack["open"] > 5000 and peak > 5000, attack
    watch.recovered()
