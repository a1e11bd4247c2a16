"""What operators see of a running daemon: endpoints, metrics, status, reload, wait."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness.admin import ask, ask_tcp, command, metric, metrics, socket_of
from harness.daemon import Reservation
from harness.upstream import OK
from harness.vault import fingerprint
from harness.waiting import until

NOBODY = "/widget/transactions/00000000-0000-0000-0000-000000000000"


@pytest.fixture
def running(daemon, fake):
    return daemon(fake, probe_interval="200ms")


def settled(running):
    """Back when the first probe has ended."""
    until(lambda: ask(running, "/upstreamz").status == 200, "the first probe to end well")


# --- endpoints ---
def test_health_of_a_good_daemon(running):
    settled(running)
    assert (ask(running, "/livez").status, ask(running, "/livez").body) == (200, "alive\n")
    assert (ask(running, "/readyz").status, ask(running, "/readyz").body) == (200, "ready\n")
    assert ask(running, "/readyz?environment=production").status == 200
    assert ask(running, "/readyz?environment=nowhere").status == 503
    assert ask(running, "/upstreamz").body.startswith("production: answers (404 in ")


def test_upstream_down_is_no_matter_of_readiness(daemon):
    closed = Reservation()
    running = daemon(base_url=f"https://{closed.text}", probe_interval="200ms")
    until(lambda: "no answer" in ask(running, "/upstreamz").body, "a probe to fail")
    assert ask(running, "/upstreamz").status == 503
    assert ask(running, "/readyz").status == 200 and ask(running, "/livez").status == 200
    assert command(running, "status").returncode == 3
    closed.close()


def test_a_reload_that_moves_upstream_is_probed_at_once(daemon, fake):
    """What the last probe said of another upstream is not held against this one, nor for it."""
    closed = Reservation()
    running = daemon(fake, probe_interval="1h")
    settled(running)
    for url, end in ((f"https://{closed.text}", "no answer"), (fake.url, "answers (404")):
        running.environments["production"]["base_url"] = url
        running.write_config()
        running.reload()
        until(lambda: "not probed yet" not in ask(running, "/upstreamz").body, "the other upstream to be probed")
        assert end in ask(running, "/upstreamz").body
    closed.close()


def test_probing_that_is_switched_off_leaves_no_last_word(daemon):
    closed = Reservation()
    running = daemon(base_url=f"https://{closed.text}", probe_interval="1h")
    until(lambda: "no answer" in ask(running, "/upstreamz").body, "a probe to fail")
    running.environments["production"]["probe_interval"] = "0"
    running.write_config()
    running.reload()
    assert (answer := ask(running, "/upstreamz")).status == 200 and "not probed (probe_interval is 0)" in answer.body
    assert command(running, "status").returncode == 0
    closed.close()


def test_a_host_off_the_allowlist_is_named(daemon, fake):
    running = daemon(fake, probe_interval="200ms")
    fake.control("POST", "/allow", {"ranges": ["192.0.2.0/24"]})
    until(lambda: "allowlist" in (a := ask(running, "/upstreamz")).body and a.status == 503, "the 403 to be named")
    assert metric(running, "proofproxy_upstream_probe_success", environment="production") == 0


def test_paths_and_methods(running):
    assert ask(running, "/nowhere").json["code"] == "admin_not_found"
    assert ask(running, "/status", "POST", "").headers["Allow"] == "GET, HEAD"
    assert ask(running, "/reload").headers["Allow"] == "POST"
    assert ask(running, "/livez", "HEAD").body == ""


def test_apps_find_no_admin_pages(running):
    for path in ("/livez", "/status", "/metrics", "/reload"):
        answer = running.get(path)
        assert answer.status == 404 and b"proxy_path_not_allowed" in answer.body


def test_browsers_of_other_sites_are_refused(daemon, fake):
    port = Reservation()
    running = daemon(fake, settings={"admin": {"listen": [port.text]}})
    try:
        assert ask_tcp(running, port.port, "/livez").status == 200
        assert ask_tcp(running, port.port, "/livez", Host="localhost:1").status == 200
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost@evil"):
            assert ask_tcp(running, port.port, "/status", Host=host).status in (400, 421), host
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"http://{port.text}"},
                        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
            assert ask_tcp(running, port.port, "/reload", "POST", "", **headers).status == 403, headers
            assert ask_tcp(running, port.port, "/status", **headers).status == 403, headers
        assert "Access-Control-Allow-Origin" not in ask_tcp(running, port.port, "/status").headers
        assert running.notices.count("RELOADING=1") == 0
    finally:
        port.close()


def test_the_admin_socket_is_closed_to_others(running):
    assert os.stat(socket_of(running)).st_mode & 0o777 == 0o660


def test_a_reload_repairs_an_admin_socket_that_somebody_removed(running):
    settled(running)
    before = len(running.descriptors())
    for _ in range(2):
        os.unlink(socket_of(running))
        running.reload()
        assert os.stat(socket_of(running)).st_mode & 0o777 == 0o660
        assert ask(running, "/livez").status == 200
    running.reload()  # now there is nothing to repair
    assert ask(running, "/livez").status == 200
    running.settled_descriptors(before, "after three reloads")


def test_a_refused_reload_leaves_a_removed_admin_socket_for_the_next(running):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        os.unlink(socket_of(running))
        good = list(running.environments["production"]["listen"])
        running.environments["production"]["listen"] = [*good, f"127.0.0.1:{taken.getsockname()[1]}"]
        running.write_config()
        running.reload()
        running.wait_log("already in use")
        running.environments["production"]["listen"] = good
        running.write_config()
        running.reload()
    assert ask(running, "/status").json["config"]["ok"] and running.get(NOBODY).status == 404


def test_admin_answers_when_the_app_side_is_full(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream, max_inflight=2)
    clients = [running.client() for _ in range(2)]
    try:
        for client in clients:
            client.send(b"GET /widget/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: metric(running, "proofproxy_inflight") == 2, "two requests to be under way")
        refused = running.get("/widget/b")
        assert refused.status == 503 and b"proxy_overloaded" in refused.body
        assert ask(running, "/readyz").status == 200
        assert metric(running, "proofproxy_local_rejections_total", reason="overloaded") == 1
    finally:
        for client in clients:
            client.close()


# --- metrics ---
def test_metrics_are_valid(running):
    running.get(NOBODY)
    running.get("/elsewhere")
    body = ask(running, "/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, text=True, timeout=30,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_metrics_count_what_happened(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    fake = fakeproof([old])
    running = daemon(fake, token_file=[new, old], probe_interval="0s")
    assert running.get(NOBODY).status == 404  # by the new one a 401, replayed with the old one
    assert running.get(NOBODY).status == 404
    running.get("/elsewhere")
    running.get("/widget/x", fields=["Authorization: Bearer placeholder"])
    until(lambda: metric(running, "proofproxy_requests_total") == 4, "four requests to be counted")
    both = {"environment": "production"}
    assert metric(running, "proofproxy_requests_total", method="GET", code="404", token=fingerprint(old), **both) == 3
    assert metric(running, "proofproxy_requests_total", code="404", token="none", **both) == 1
    assert metric(running, "proofproxy_token_fallbacks_total", **both) == 1
    assert metric(running, "proofproxy_local_rejections_total", reason="path", **both) == 1
    assert metric(running, "proofproxy_client_authorization_stripped_total", **both) == 1
    assert metric(running, "proofproxy_request_duration_seconds_count", **both) == 4
    assert metric(running, "proofproxy_upstream_duration_seconds_count", **both) == 3
    assert metric(running, "proofproxy_inflight") == 0
    assert metric(running, "proofproxy_token_accepted", fingerprint=fingerprint(old), role="current") == 1
    assert metric(running, "proofproxy_token_accepted", fingerprint=fingerprint(new)) == 0
    assert metric(running, "proofproxy_token_last_used_timestamp_seconds", fingerprint=fingerprint(old)) > 1.6e9
    assert metric(running, "proofproxy_config_last_reload_successful") == 1
    assert metric(running, "process_open_fds") > 5


def test_counters_are_there_before_anything_happened(daemon, fake, token):
    """An alert on an increase sees the first time only if the series stood at 0 before."""
    running = daemon(fake, token_file=[f"{token} expires=2100-01-01T00:00:00Z"])
    assert running.get(NOBODY).status == 404
    until(lambda: metric(running, "proofproxy_requests_total") == 1, "the request to be counted")
    names = {name for name, _ in metrics(running)}
    for name in ("build_info", "requests_total", "request_duration_seconds_bucket", "upstream_duration_seconds_bucket",
                 "upstream_errors_total", "local_rejections_total", "retries_total", "token_info", "token_accepted",
                 "token_expiry_timestamp_seconds", "token_last_used_timestamp_seconds", "token_fallbacks_total",
                 "token_file_stale_seconds", "websocket_sessions", "websocket_bytes_total", "inflight", "connections",
                 "config_last_reload_successful", "config_last_reload_success_timestamp_seconds",
                 "response_leaks_masked_total"):
        assert f"proofproxy_{name}" in names
    for name, reason in (("retries", "connect"), ("retries", "503"), ("upstream_errors", "tls"),
                         ("upstream_errors", "upstream_timeout"), ("local_rejections", "overloaded"),
                         ("local_rejections", "origin")):
        labels = {("environment", "production"), ("reason", reason)}
        assert metrics(running)[f"proofproxy_{name}_total", frozenset(labels)] == 0


def test_upstream_errors_are_counted_by_reason(daemon):
    closed = Reservation()
    running = daemon(base_url=f"https://{closed.text}", retries={"attempts": 1})
    assert running.get("/widget/a").status == 502
    until(lambda: metric(running, "proofproxy_upstream_errors_total", reason="connect") >= 1, "the error to be counted")
    until(lambda: metric(running, "proofproxy_requests_total", code="502") == 1, "the request to be counted")
    closed.close()


def test_labels_hold_no_path_and_no_token(running, token):
    for i in range(20):
        running.get(f"/widget/transactions/{i:08}-0000-0000-0000-000000000000?secret={i}")
        running.get(f"/somewhere/{i}")
    values = {value for (_, labels) in metrics(running) for _, value in labels}
    assert not [v for v in values if "/" in v or "secret" in v or token in v]
    assert len([1 for (name, _) in metrics(running) if name == "proofproxy_requests_total"]) <= 3


# --- status ---
def test_status_tells_what_there_is(running, token, fake):
    settled(running)
    running.get(NOBODY)
    done = command(running, "status", "--json")
    assert done.returncode == 0 and done.stderr == ""
    status = json.loads(done.stdout)
    production = status["environments"][0]
    assert status["state"] == "ready" and status["pid"] == running.pid and status["problems"] == []
    assert status["config"]["path"] == str(running.config_file) and status["config"]["ok"] is True
    assert production["base_url"] == fake.url and production["ready"] is True
    assert production["listen"] == [f"127.0.0.1:{running.port}"]
    assert [(t["fingerprint"], t["role"], t["verdict"]) for t in production["tokens"]] == \
        [(fingerprint(token), "current", "accepted")]
    assert production["upstream"]["status"] == 404 and production["upstream"]["ok"] is True
    text = command(running, "status")
    assert text.returncode == 0
    for words in ("ready", fingerprint(token), "accepted", fake.url, "answers (404 in", f"127.0.0.1:{running.port}"):
        assert words in text.stdout, words


def test_status_says_when_the_old_token_may_go(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    fake = fakeproof([new, old])
    running = daemon(fake, token_file=[new, old], probe_interval="200ms")

    def both():
        tokens = ask(running, "/status").json["environments"][0]["tokens"]
        return [(t["role"], t["verdict"]) for t in tokens] == [("current", "accepted"), ("previous", "accepted")]
    until(both, "both tokens to be accepted")
    assert "retire" in ask(running, "/status").json["environments"][0]["retire"]


def test_a_bad_token_file_is_a_problem_and_then_none(running, token):
    (running.directory / "production.token").write_text("two words in a line\n")
    until(lambda: command(running, "status").returncode == 3, "the bad file to be noticed")
    status = ask(running, "/status").json
    assert status["environments"][0]["token_file"]["stale_since"] and "production.token" in status["problems"][0]
    assert metric(running, "proofproxy_token_file_stale_seconds") > 0
    assert running.get(NOBODY).status == 404
    running.set_tokens(token)
    until(lambda: command(running, "status").returncode == 0, "the good file to be noticed")
    assert metric(running, "proofproxy_token_file_stale_seconds") == 0


def test_without_a_daemon(running):
    running.terminate()
    for arguments in (("status",), ("status", "--json"), ("reload",), ("wait", "--max", "200ms")):
        done = command(running, *arguments)
        assert done.returncode == 1 and "no daemon answers" in done.stderr, arguments


def test_without_an_admin_address_no_other_daemon_is_asked(daemon, fake):
    """Not whichever has the default one, say."""
    running = daemon(fake, settings={"admin": {"listen": []}})
    for arguments in (["status"], ["reload"], ["wait", "--max", "1s"]):
        done = command(running, *arguments)
        assert done.returncode == 1 and "admin.listen names no address" in done.stderr, arguments
        assert "/run/" not in done.stderr


def test_a_daemon_that_hangs(running, tmp_path):
    """Its queue is full: even to connect takes for ever."""
    with socket.socket(socket.AF_UNIX) as deaf, contextlib.ExitStack() as queue:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen(0)
        try:
            while True:
                waiting = queue.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(tmp_path / "deaf.sock"))
        except BlockingIOError:
            pass
        begin = time.monotonic()
        done = command(running, "wait", "--max", "1s", "--admin", f"unix:{tmp_path}/deaf.sock")
        assert done.returncode == 1 and "no answer" in done.stderr and "hang" in done.stderr, done
        assert time.monotonic() - begin < 15


def test_commands_find_the_daemon_though_the_config_is_broken(running):
    good = running.config_file.read_text()
    running.write_config("# admin = { listen = [ \"unix:/nowhere\" ]\n" + good + "this is no config")
    done = command(running, "reload")
    assert done.returncode == 78 and str(running.config_file) in done.stderr, done
    assert command(running, "status").returncode == 3
    running.write_config("nothing of use")
    done = command(running, "reload")  # where to ask is not to be found any more, but why is
    assert done.returncode == 78 and f"{running.config_file}:1: " in done.stderr, done
    done = command(running, "status", "--admin", f"unix:{socket_of(running)}")
    assert done.returncode == 3 and "FAILED" in done.stdout, done


@pytest.mark.parametrize("arguments", [["status", "--jason"], ["status", "production"], ["wait", "--max", "soon"],
                                       ["wait", "--max"], ["reload", "now"],
                                       ["status", "--admin", "garbage"],
                                       ["reload", "--admin", "unix:"], ["doctor", "a", "b"]])
def test_usage(running, arguments):
    done = command(running, *arguments)
    assert done.returncode == 2 and done.stderr.startswith("proofproxy ")


# --- reload ---
def test_reload_waits_for_its_verdict(running):
    running.environments["production"]["allowed_paths"] = ["/other/"]
    running.write_config()
    done = command(running, "reload")
    assert done.returncode == 0 and "allowed_paths" in done.stdout, done
    assert running.get(NOBODY).status == 404 and b"proxy_path" in running.get(NOBODY).body


def test_reload_refused(running):
    running.environments["production"]["max_body"] = "many"
    running.write_config()
    done = command(running, "reload")
    assert done.returncode == 78 and "max_body" in done.stderr and str(running.config_file) in done.stderr
    assert ask(running, "/reload", "POST", "").status == 422
    status = ask(running, "/status").json
    assert status["config"]["ok"] is False and "max_body" in status["config"]["problems"][0]
    assert metric(running, "proofproxy_config_last_reload_successful") == 0
    assert command(running, "status").returncode == 3
    running.environments["production"]["max_body"] = "1m"
    running.write_config()
    assert json.loads(command(running, "reload", "--json").stdout)["ok"] is True
    assert metric(running, "proofproxy_config_last_reload_successful") == 1
    settled(running)
    assert command(running, "status").returncode == 0


def test_reload_names_what_needs_a_restart(running):
    running.settings["workers"] = 2
    running.write_config()
    done = command(running, "reload")
    assert done.returncode == 0 and "workers" in done.stdout, done
    assert any("workers" in line for line in ask(running, "/status").json["config"]["restart_needed"])
    assert metric(running, "proofproxy_config_restart_needed") == 1


# --- wait ---
def test_wait_returns_when_the_daemon_is_ready(daemon, fake, tmp_path):
    running = daemon(fake)
    assert command(running, "wait").returncode == 0
    blocked = threading.Thread(target=lambda: results.append(command(running, "wait", "--max", "20s").returncode))
    results = []
    running.terminate()
    blocked.start()
    again = subprocess.Popen([running.binary, "-c", running.config_file], stderr=subprocess.DEVNULL)
    try:
        blocked.join(20)
        assert results == [0]
    finally:
        again.send_signal(signal.SIGTERM)
        again.wait(20)


def test_readiness_ends_with_a_stop(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream)
    client = running.client()
    client.send(b"GET /widget/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(lambda: metric(running, "proofproxy_inflight") == 1, "the request to be under way")
    running.process.send_signal(signal.SIGTERM)
    answer = until(lambda: (a := ask(running, "/readyz")).status == 503 and a, "readiness to end")
    assert "draining" in answer.body
    assert ask(running, "/livez").status == 200
    upstream.request().answer(OK)
    assert client.response().status == 200
    client.close()
    assert running.wait_exit() == 0


def test_the_start_line_states_the_posture(daemon, fake):
    running = daemon(fake, require_header="X-Proof-Local: yes", allow_users=["root"])
    line = running.wait_log("peer gate")
    for words in (f"127.0.0.1:{running.port}", "peer gate on (users root)", "marker header X-Proof-Local",
                  "Origin refused"):
        assert words in line, words
    assert "X-Proof-Local: yes" not in line


def test_slow_admin_clients_do_no_harm(running):
    crowd = []
    try:
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            s.connect(socket_of(running))
            s.sendall(b"GET /livez HTTP/1.1\r\n")
            crowd.append(s)
        assert running.get(NOBODY).status == 404
    finally:
        for s in crowd:
            s.close()
    assert ask(running, "/livez").status == 200


def test_admin_answers_when_descriptors_are_used_up(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream, process={"nofile": 64})
    crowd = []
    try:
        for _ in range(100):
            s = socket.socket()
            s.settimeout(5)
            s.connect(running.address)
            s.sendall(b"GET /widget/a HTTP/1.1\r\n")
            crowd.append(s)
        for path in ("/livez", "/readyz", "/metrics", "/status", "/"):
            assert ask(running, path).status == 200, path
        assert metric(running, "proofproxy_connections") > 0
    finally:
        for s in crowd:
            s.close()
    until(lambda: metric(running, "proofproxy_connections") == 0, "the crowd to be gone")
    assert running.get("/widget/a").status == 200


def test_scrapes_and_commands_under_load(daemon, raw_upstream):
    """Two workers count while the main thread adds up; nothing is lost, nothing is counted twice."""
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream, settings={"workers": 2})
    each, clients = 100, 4

    def load():
        for _ in range(each // 10):
            with running.client() as client:
                for _ in range(10):
                    assert client.get("/widget/a").status == 200
    threads = [threading.Thread(target=load) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert ask(running, "/metrics").status == 200 and ask(running, "/").status == 200
    for thread in threads:
        thread.join()
    until(lambda: metric(running, "proofproxy_requests_total", code="200") == each * clients, "all to be counted")
    assert metric(running, "proofproxy_request_duration_seconds_count") == each * clients
    assert metric(running, "proofproxy_inflight") == 0
    until(lambda: metric(running, "proofproxy_upstream_connections_reused_total") > 0, "the pools to be published")
