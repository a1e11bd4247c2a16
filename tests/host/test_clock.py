"""The wall clock jumps, by years, both ways: what is promised in seconds is kept, no token is lost over a date."""
import pathlib
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import (  # noqa: F401: the fixtures are used
    BUILD, certs, daemon, fake, fakeproof, pytest_configure, token, vault,
)
from harness.admin import ask
from harness.client import request
from harness.expect import passed, refused
from harness.vault import fingerprint
from harness.waiting import until
from harness.websocket import TEXT, frame, read_frame, upgrade

HOUR, YEAR = 3600, 365 * 86400
JUMPS = {"a-year-on": YEAR, "two-years-back": -2 * YEAR, "into-1970": None, "an-hour-on": HOUR, "an-hour-back": -HOUR}
KYC = "/widget/users/u1/kyc-status"


class Clock:
    """The offset between the daemon's wall clock and ours, in seconds."""

    def __init__(self, path):
        self.path = path
        self.path.write_bytes(b"0".ljust(32, b"\0"))
        library = BUILD / "tests/host/clock.so"
        assert library.exists(), f"{library} is missing: make check-host builds it"
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(path)}

    def jump(self, seconds):
        if seconds is None:
            seconds = 60 - int(time.time())
        with open(self.path, "r+b") as f:
            f.write(str(seconds).encode().ljust(32, b"\0"))


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "offset")


@pytest.fixture
def plain(fakeproof):
    """Without TLS: a certificate's dates are another matter."""
    fake = fakeproof(plain=True)
    fake.control("POST", "/kyc", {"user": "u1", "status": "verified"})
    fake.fault("ws", path="/ws", echo=True, count=0)
    return fake


def status(running):
    return ask(running, "/status").json


def token_of(running, token):
    tokens = status(running)["environments"][0]["tokens"]
    return next((t for t in tokens if t["fingerprint"] == fingerprint(token)), None)


@pytest.mark.parametrize("to", list(JUMPS.values()), ids=list(JUMPS))
def test_what_is_open_stays_open(daemon, plain, clock, to):
    """Timeouts, idle connections and tunnels go by the monotonic clock."""
    running = daemon(plain, process={"environ": clock.environ}, request_timeout="5s", client_idle_timeout="30s",
                     websocket_idle_timeout="30s", connect_timeout="5s", probe_interval="1s")
    with running.client() as idle, running.client() as waiting, running.client() as tunnel:
        tunnel.send(upgrade())
        assert tunnel.response().status == 101
        passed(idle.get(KYC))
        plain.fault("delay", path=KYC, ms=700)
        waiting.send(request(KYC))
        plain.wait("requests", least=3)
        clock.jump(to)
        passed(waiting.response())
        passed(idle.get(KYC))
        passed(running.get(KYC))
        tunnel.send(frame(TEXT, b"still here", masked=True))

        def take(n):
            while len(tunnel.buffer) < n:
                assert tunnel.receive(), "the tunnel ended"
            return tunnel.take(n)

        assert read_frame(take) == (TEXT, b"still here", False)
        assert status(running)["state"] == "ready"
        assert ask(running, "/metrics").status == ask(running, "/").status == ask(running, "/readyz").status == 200
        clock.jump(0)
        passed(idle.get(KYC))
    running.reload()
    passed(running.get(KYC))


@pytest.mark.parametrize("to", [YEAR, -2 * YEAR], ids=["on", "back"])
def test_timeouts_come_in_time(daemon, plain, clock, to):
    running = daemon(plain, process={"environ": clock.environ}, request_timeout="1s", header_timeout="1s")
    plain.fault("stall", path="/widget/users/*")
    with running.client() as slow, running.client() as stuck:
        slow.send(b"GET / HT")
        stuck.send(request(KYC))
        plain.wait("requests", least=1)
        begin = time.monotonic()
        clock.jump(to)
        refused(stuck.response(), 504, sent="maybe")
        assert 0.2 < time.monotonic() - begin < 4
        slow.responses()  # a 408 or nothing, and then the end
        assert time.monotonic() - begin < 4


def test_an_expiry_that_comes_and_goes(daemon, fakeproof, vault, clock):
    """A date in a comment decides the order of tokens; it never leaves an app without one."""
    dated, other = vault.token("dated"), vault.token("other")
    fake = fakeproof(tokens=[dated, other], plain=True)
    tomorrow = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    running = daemon(fake, token_file=[f"{dated} expires={tomorrow}", other], process={"environ": clock.environ})
    passed(running.get("/widget/transactions/x"), 404)
    assert token_of(running, dated)["verdict"] == "accepted"
    for offset, verdict, used in ((YEAR, "expired", other), (0, "accepted", dated), (-2 * YEAR, "accepted", dated)):
        clock.jump(offset)
        running.reload()
        passed(running.get("/widget/transactions/x"), 404)
        until(lambda: token_of(running, dated)["verdict"] == verdict, f"at {offset} it is {verdict}")
        before = token_of(running, used)["requests"]
        passed(running.get("/widget/transactions/x"), 404)
        assert token_of(running, used)["requests"] > before, f"at {offset}"


def test_all_expired_by_a_wrong_clock(daemon, fakeproof, token, clock):
    fake = fakeproof(plain=True)
    tomorrow = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    running = daemon(fake, token_file=[f"{token} expires={tomorrow}"], process={"environ": clock.environ})
    clock.jump(YEAR)
    running.reload()
    passed(running.get("/widget/transactions/x"), 404)
    assert token_of(running, token)["verdict"] == "expired"
    assert any("expire" in problem for problem in status(running)["problems"])


def test_grace_is_not_ended_by_a_jump(daemon, fakeproof, vault, clock):
    """A token that vanished is kept for old_token_grace of real time, whatever the date says."""
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof(tokens=[old], plain=True)
    running = daemon(fake, token_file=[old], process={"environ": clock.environ}, old_token_grace="1h")
    passed(running.get("/widget/transactions/x"), 404)
    running.set_tokens(new)
    until(lambda: token_of(running, new) is not None, "the new token is held")
    clock.jump(YEAR)
    running.reload()
    passed(running.get("/widget/transactions/x"), 404)
    assert token_of(running, old)["verdict"] == "accepted" and not token_of(running, old)["in_file"]


def test_token_files_are_noticed_whatever_the_date(daemon, fakeproof, vault, clock):
    first, second = vault.token("first"), vault.token("second")
    fake = fakeproof(tokens=[first, second], plain=True)
    running = daemon(fake, token_file=[first], process={"environ": clock.environ})
    for offset, now in ((-2 * YEAR, second), (YEAR, first), (None, second)):
        clock.jump(offset)
        running.set_tokens(now)
        until(lambda: (token_of(running, now) or {}).get("in_file"), f"the token written at {offset} is held")
        passed(running.get("/widget/transactions/x"), 404)


def test_tls_sessions_of_another_time(daemon, fake, clock):
    """A session whose time lies in the future or long ago is not resumed; the connection is made anew."""
    running = daemon(fake, process={"environ": clock.environ})
    passed(running.get("/widget/transactions/x"), 404)
    for offset in (2 * YEAR, 0, HOUR):
        clock.jump(offset)
        fake.control("POST", "/close-idle", {})
        passed(running.get("/widget/transactions/x"), 404)


def test_a_drain_after_a_jump(daemon, plain, clock):
    running = daemon(plain, settings={"drain_timeout": "1s"}, process={"environ": clock.environ})
    passed(running.get(KYC))
    plain.fault("stall", path=KYC)
    with running.client() as stuck:
        stuck.send(request(KYC))
        plain.wait("requests", least=2)
        clock.jump(-2 * YEAR)
        begin = time.monotonic()
        running.expected_exit = 1
        assert running.terminate() == 1
        assert 0.8 < time.monotonic() - begin < 5
