"""Signals: reload is all or nothing, drain is polite and bounded, a second signal is final."""
import signal

import pytest

from harness.admin import command
from harness.client import Client, request
from harness.daemon import Reservation
from harness.expect import passed, refused
from harness.upstream import OK
from harness.waiting import until


# --- reload ---
def test_a_reload_changes_what_it_says(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream)
    refused(running.get("/other/a"), 404)
    running.environments["production"]["allowed_paths"] = ["/other/"]
    running.write_config()
    running.reload()
    passed(running.get("/other/a"))
    refused(running.get("/widget/a"), 404)


def test_a_reload_can_move_to_another_upstream(daemon, raw_upstream):
    first, second = raw_upstream(automatic=OK), raw_upstream(automatic=OK)
    running = daemon(first)
    passed(running.get("/widget/a"))
    running.environments["production"]["base_url"] = second.url
    running.write_config()
    running.reload()
    passed(running.get("/widget/a"))
    assert len(first.taken()) == 1 and len(second.taken()) == 1


@pytest.mark.parametrize("bad",
                         ["nonsense", "", "environments = { production = { base_url = \"http://example.com\"; }; };",
                                 "unknown_key = 1;"])
def test_a_bad_file_leaves_everything_as_it_was(daemon, raw_upstream, bad):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream)
    running.write_config(bad)
    at = len(running.log)
    running.reload()
    running.wait_log("proofproxy.conf", after=at)
    passed(running.get("/widget/a"))
    running.environments["production"]["allowed_paths"] = ["/other/"]
    running.write_config()
    running.reload()
    passed(running.get("/other/a"))


def test_one_bad_environment_of_two_changes_neither(daemon, raw_upstream, token):
    upstream = raw_upstream(tls=False, automatic=OK)
    running = daemon(environments={name: {"base_url": upstream.url, "token_file": [token]} for name in ("one", "two")})
    running.environments["one"]["allowed_paths"] = ["/other/"]
    running.environments["two"]["max_body"] = "many"
    running.write_config()
    running.reload()
    for name in ("one", "two"):
        passed(running.get("/widget/a", environment=name))


def test_the_clients_of_a_removed_environment_are_seen_off(daemon, raw_upstream, token):
    """What is under way is answered; then they go, since nobody looks after that environment's tokens any more."""
    upstream = raw_upstream(tls=False)
    running = daemon(environments={name: {"base_url": upstream.url, "token_file": [token]} for name in ("one", "two")})
    with running.client("two") as asking, running.client("two") as idle, running.client("one") as other:
        for client in (idle, other):
            client.send(request("/widget/a"))
            upstream.request().answer(OK)
            assert passed(client.response()).field("Connection") is None
        asking.send(request("/widget/a"))
        seen = upstream.request()
        del running.environments["two"]
        running.write_config()
        running.reload()
        seen.answer(OK)
        idle.send(request("/widget/a"))
        upstream.request().answer(OK)
        for client in (asking, idle):
            assert passed(client.response()).field("Connection") == "close"
            assert client.at_end()
        other.send(request("/widget/a"))
        upstream.request().answer(OK)
        assert passed(other.response()).field("Connection") is None


def test_new_times_hold_for_kept_connections(daemon, raw_upstream):
    running = daemon(raw_upstream(tls=False, automatic=OK), body_timeout="1h")
    with running.client() as idle, running.client() as slow:
        for client in (idle, slow):
            passed(client.get("/widget/a"))
        running.environments["production"].update(client_idle_timeout="200ms", body_timeout="200ms")
        running.write_config()
        running.reload()
        passed(idle.get("/widget/a"))
        slow.send(request("/widget/a", "POST", ["Content-Length: 5"]))
        refused(slow.response(), 408)
        assert idle.at_end()


@pytest.mark.parametrize("moved", [False, True], ids=["closed", "another's"])
def test_the_clients_of_a_listener_that_is_taken_away_are_seen_off(daemon, raw_upstream, token, moved):
    """A kept connection is no way in for ever, nor one to the environment that listened there before."""
    upstream, left, lost = raw_upstream(tls=False, automatic=OK), Reservation(), Reservation()
    keys = {"base_url": upstream.url, "token_file": [token]}
    running = daemon(environments={"one": {**keys, "listen": [left.text, lost.text]}, "two": keys})
    with Client(("127.0.0.1", lost.port), running.vault) as idle, running.client("two") as other:
        for client in (idle, other):
            assert passed(client.get("/widget/a")).field("Connection") is None
        running.environments["one"]["listen"].remove(lost.text)
        if moved:
            running.environments["two"]["listen"].append(lost.text)
        running.write_config()
        running.reload()
        assert passed(idle.get("/widget/a")).field("Connection") == "close"
        assert idle.at_end()
        assert passed(other.get("/widget/a")).field("Connection") is None
    for name in ("one", "two"):
        with running.client(name) as client:
            assert passed(client.get("/widget/a")).field("Connection") is None, "it came after that"
    left.close()
    lost.close()


def test_a_reload_touches_no_open_exchange(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream)
    with running.client() as client:
        client.send(request("/widget/a"))
        seen = upstream.request()
        running.environments["production"]["allowed_paths"] = ["/other/"]
        running.write_config()
        running.reload()
        seen.answer(OK)
        passed(client.response())
        refused(client.get("/widget/a"), 404)


def test_a_reload_reads_the_token_file_again(daemon, fakeproof, vault, token):
    fresh = vault.token("new")
    fake = fakeproof([fresh, token])
    running = daemon(fake)
    passed(running.get("/widget/transactions/x"), 404)
    running.set_tokens(fresh)
    running.reload()
    fake.tokens(fresh)
    passed(running.get("/widget/transactions/x"), 404)


def test_many_reloads_under_load_lose_nothing(daemon, fake):
    running = daemon(fake)
    with running.client() as client:
        for i in range(40):
            if i % 4 == 0:
                running.process.send_signal(signal.SIGHUP)
            passed(client.get("/widget/transactions/x"), 404)
    running.reload()


# --- drain ---
def test_sigterm_when_idle_ends_at_once(daemon, fake):
    running = daemon(fake)
    client = running.client()
    passed(client.get("/widget/transactions/x"), 404)
    assert running.terminate(patience=8) == 0
    assert "STOPPING=1" in running.notices.lines
    assert client.at_end()


def test_without_patience_an_idle_daemon_still_ends_well(daemon, raw_upstream):
    running = daemon(raw_upstream(tls=False, automatic=OK), settings={"drain_timeout": "0", "workers": 2})
    with running.client() as client:
        passed(client.get("/widget/a"))
        assert running.terminate() == 0


def turned_away(running):
    try:
        running.client().close()
    except OSError:
        return True
    return False


def test_sigterm_lets_open_exchanges_finish(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream)
    client = running.client()
    client.send(request("/widget/a"))
    seen = upstream.request()
    running.process.send_signal(signal.SIGTERM)
    running.wait_notice("STOPPING=1")
    until(lambda: turned_away(running), "no new client is accepted")
    seen.answer(OK)
    response = passed(client.response())
    assert response.body == b"{}"
    assert client.at_end()
    assert running.wait_exit() == 0


def test_while_it_stops_nothing_is_reloaded(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream)
    client = running.client()
    client.send(request("/widget/a"))
    seen = upstream.request()
    running.process.send_signal(signal.SIGTERM)
    running.wait_notice("STOPPING=1")
    another = Reservation()
    running.environments["production"]["listen"].append(another.text)
    running.write_config()
    done = command(running, "reload")
    assert done.returncode == 1 and "stopping" in done.stderr, done
    running.process.send_signal(signal.SIGHUP)
    running.wait_log("stopping", "not reloaded")
    try:
        Client(("127.0.0.1", another.port), running.vault).close()
        raise AssertionError("a listener that nobody serves was opened")
    except ConnectionRefusedError:
        pass
    finally:
        another.close()
    assert running.notices.count("READY=1") == 1 and running.notices.count("RELOADING=1") == 0
    seen.answer(OK)
    passed(client.response())
    assert running.wait_exit() == 0


def test_a_drain_that_takes_too_long_exits_1(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream, settings={"drain_timeout": "1s"})
    running.expected_exit = 1
    client = running.client()
    client.send(request("/widget/a"))
    upstream.request()
    running.process.send_signal(signal.SIGTERM)
    assert running.wait_exit() == 1


@pytest.mark.parametrize("first,second", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_exits_now(daemon, raw_upstream, first, second):
    upstream = raw_upstream()
    running = daemon(upstream, settings={"drain_timeout": "60s"})
    client = running.client()
    client.send(request("/widget/a"))
    upstream.request()
    running.process.send_signal(first)
    running.wait_notice("STOPPING=1")
    running.process.send_signal(second)
    running.expected_exit = running.wait_exit(patience=8)
    assert running.expected_exit == 1


def test_a_broken_pipe_is_nothing(daemon, fake):
    running = daemon(fake)
    for _ in range(20):
        client = running.client()
        client.send(request("/widget/transactions/x"))
        client.reset()
    passed(running.get("/widget/transactions/x"), 404)


# --- start ---
@pytest.mark.parametrize("change,word", [
    ({"base_url": "http://proof.example"}, "base_url"),
    ({"max_body": "lots"}, "max_body"),
    ({"listen": []}, "listen"),
    ({"listen": ["0.0.0.0:18999"]}, "listen"),
    ({"unknown": 1}, "unknown"),
])
def test_a_bad_config_exits_78_and_names_the_key(daemon, raw_upstream, token, change, word):
    upstream = raw_upstream(tls=False, automatic=OK)
    keys = {"base_url": upstream.url, "token_file": [token], **change}
    if change.get("listen") == []:
        keys["listen"] = ["127.0.0.1:1"]
        running = daemon(environments={"production": keys}, process={"wait": False, "text": (
            f'environments = {{ production = {{ base_url = "{upstream.url}"; token_file = "/x"; }}; }};')})
    else:
        running = daemon(environments={"production": keys}, process={"wait": False})
    running.expected_exit = 78
    assert running.wait_exit() == 78
    running.wait_log(word, "proofproxy.conf")


def test_a_port_in_use_is_said(daemon, raw_upstream, token):
    upstream = raw_upstream(tls=False, automatic=OK)
    taken = raw_upstream(tls=False)
    running = daemon(environments={"production": {
        "base_url": upstream.url, "token_file": [token], "listen": [f"127.0.0.1:{taken.port}"]}},
        process={"wait": False})
    code = running.expected_exit = running.wait_exit()
    assert code not in (0, None) and str(taken.port) in running.log


def test_descriptors_do_not_grow_with_reloads(daemon, fake):
    running = daemon(fake)
    passed(running.get("/widget/transactions/x"), 404)
    running.reload()
    before = len(running.descriptors())
    for _ in range(20):
        running.reload()
    until(lambda: len(running.descriptors()) <= before + 3, f"{running.descriptors()}")
