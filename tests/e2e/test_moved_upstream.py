"""A reload that gives an environment another upstream: no token goes to the one it is not for, and nobody notices."""
import threading
import time

import pytest

from harness.admin import ask
from harness.client import request
from harness.expect import passed
from harness.upstream import OK

REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"


class Place:
    """An upstream with tokens of its own, and which of all tokens were sent there."""

    def __init__(self, raw_upstream, *tokens, **options):
        self.tokens, self.sent = tokens, set()
        self.upstream = raw_upstream(tls=False, automatic=self.answer, **options)

    def answer(self, asked):
        token = asked.field(b"authorization").removeprefix(b"Bearer ").decode()
        self.sent.add(token)
        return OK if token in self.tokens else REFUSED


def move(running, place, name):
    path = running.directory / f"{name}.token"
    running.write_tokens(path, place.tokens)
    running.environments["production"].update(base_url=place.upstream.url, token_file=str(path))
    running.write_config()
    running.reload()


@pytest.mark.parametrize("probe_interval", ["0s", "60s"])
def test_a_token_does_not_follow_to_another_upstream(daemon, raw_upstream, vault, probe_interval):
    first, second = Place(raw_upstream, vault.token()), Place(raw_upstream, vault.token())
    running = daemon(first.upstream, token_file=first.tokens, probe_interval=probe_interval)
    with running.client() as client:
        passed(client.get("/widget/a"))
        move(running, second, "second")
        passed(client.get("/widget/a"))
        move(running, first, "first")
        passed(client.get("/widget/a"))
    assert first.sent == set(first.tokens) and second.sent == set(second.tokens)
    assert ask(running, "/status").json["environments"][0]["tokens"][0]["in_file"]


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_go_on_while_it_moves(daemon, raw_upstream, vault, workers):
    places = [Place(raw_upstream, vault.token(), vault.token()) for _ in range(2)]
    running = daemon(places[0].upstream, token_file=places[0].tokens, settings={"workers": workers},
                     probe_interval="100ms")
    over, statuses = threading.Event(), []

    def call():
        while not over.is_set():
            with running.client() as client:
                for _ in range(20):
                    statuses.append(client.get("/widget/a").status)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for i in range(1, 13):
            move(running, places[i % 2], f"place{i % 2}")
            before, until = len(statuses), time.monotonic() + 20
            while len(statuses) < before + 10 and time.monotonic() < until:
                time.sleep(0.005)
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert len(statuses) > 100 and set(statuses) == {200}
    for place in places:
        assert place.sent <= set(place.tokens)


def test_what_is_under_way_ends_where_it_began(daemon, raw_upstream, vault):
    """Also with a replay: the token refused there is followed by another one for there."""
    refused, good, other = vault.token(), vault.token(), vault.token()
    here, there = raw_upstream(tls=False), Place(raw_upstream, other)
    running = daemon(here, token_file=[refused, good], retries={"attempts": 1})
    with running.client() as client:
        client.send(request("/widget/a", "POST", body=b"x" * 100))
        asked = here.request()
        assert asked.field(b"authorization") == b"Bearer " + refused.encode()
        move(running, there, "there")
        passed(running.get("/widget/b"))
        asked.answer(REFUSED)
        again = here.request()
        assert again.field(b"authorization") == b"Bearer " + good.encode() and again.body == b"x" * 100
        again.answer(OK)
        passed(client.response())
        passed(client.get("/widget/c"))
    assert there.sent == {other}


def test_a_bad_token_file_keeps_it_where_it_is(daemon, raw_upstream, vault):
    here, there = Place(raw_upstream, vault.token()), Place(raw_upstream, vault.token())
    running = daemon(here.upstream, token_file=here.tokens)
    (running.directory / "production.token").write_text("")
    running.environments["production"]["base_url"] = there.upstream.url
    running.write_config()
    running.reload()
    status = ask(running, "/status").json
    assert not status["config"]["ok"] and "production.token" in status["config"]["problems"][0]
    passed(running.get("/widget/a"))
    assert not there.sent
