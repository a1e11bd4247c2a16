"""doctor against every fault it is meant to name."""
import json
import socket
import ssl
import time
from email.utils import formatdate

import pytest

from harness.admin import command
from harness.daemon import Reservation
from harness.egress import EgressProxy
from harness.upstream import OK
from harness.vault import fingerprint


class Report:
    def __init__(self, done):
        self.code = done.returncode
        self.text = done.stdout
        document = json.loads(done.stdout)
        self.checks = document["checks"]
        assert document["ok"] == (self.code == 0)
        assert document["failed"] == len(self.named("failed"))

    def named(self, result):
        return [c["check"] for c in self.checks if c["result"] == result]

    def one(self, check, result):
        found = [c for c in self.checks if c["check"] == check and c["result"] == result]
        assert len(found) == 1, f"{check} {result}: {self.text}"
        return found[0]


def doctor(running, *arguments):
    return Report(command(running, "doctor", "--json", *arguments))


def only(report, check, *words):
    """That check failed and no other, with these words in what is said of it."""
    failed = [c for c in report.named("failed") if c != "daemon"]
    assert failed == [check], report.text
    assert report.code == 3
    finding = report.one(check, "failed")
    for word in words:
        assert word in finding["text"] + " " + (finding["advice"] or ""), (word, finding)
    return finding


# --- all is well ---
def test_nothing_wrong(daemon, fake):
    running = daemon(fake)
    report = doctor(running)
    assert report.code == 0 and report.named("failed") == []
    for check in ("config", "daemon", "token_file", "listener", "dns", "tcp", "source_address", "tls", "clock", "token",
                  "websocket"):
        report.one(check, "ok")
    assert "TLSv1.3" in report.one("tls", "ok")["text"]
    text = command(running, "doctor")
    assert text.returncode == 0 and text.stdout.endswith("\nno problem found\n")


def test_one_environment_of_two(daemon, fake, token):
    keys = {"base_url": fake.url, "token_file": [token], "tls": {"ca_file": f"{fake.certs}/ca.crt"}}
    running = daemon(environments={"production": keys, "sandbox": keys})
    both, one = doctor(running), doctor(running, "sandbox")
    assert {c["environment"] for c in both.checks} == {None, "production", "sandbox"}
    assert {c["environment"] for c in one.checks} == {None, "sandbox"}
    unknown = command(running, "doctor", "elsewhere")
    assert unknown.returncode == 2 and "elsewhere" in unknown.stderr


def test_another_environments_fault_is_not_this_ones(daemon, fake, token, tmp_path):
    good = {"base_url": fake.url, "token_file": [token], "tls": {"ca_file": f"{fake.certs}/ca.crt"}}
    running = daemon(environments={"production": good, "sandbox": {**good, "token_file": f"{tmp_path}/none"}})
    assert doctor(running, "production").code == 0
    assert doctor(running).code == 3
    faulty = doctor(running, "sandbox")
    assert faulty.code == 3 and "sandbox" in faulty.one("daemon", "failed")["text"]


def test_plain_http_to_loopback(daemon, fakeproof):
    running = daemon(fakeproof(plain=True))
    report = doctor(running)
    assert report.code == 0
    report.one("tls", "skipped")


# --- this host ---
def test_config(daemon, fake):
    running = daemon(fake)
    running.environments["production"]["max_body"] = "many"
    running.write_config()
    only(doctor(running), "config", "max_body", "proofproxy check")


def test_daemon_not_running(daemon, fake):
    running = daemon(fake)
    running.terminate()
    report = doctor(running)
    assert sorted(report.named("failed")) == ["daemon", "listener"]
    assert "no daemon answers" in report.one("daemon", "failed")["text"]
    assert "refused" in report.one("listener", "failed")["text"]
    report.one("token", "ok")


def test_something_else_listens(daemon, fake, raw_upstream):
    other = raw_upstream(tls=False, automatic=OK)
    running = daemon(fake)
    running.environments["production"]["listen"] = [other.url.removeprefix("http://")]
    running.write_config()
    only(doctor(running), "listener", "something else")


def test_unix_listener(daemon, fake, tmp_path):
    running = daemon(fake, listen=[f"unix:{tmp_path}/app.sock"])
    doctor(running).one("listener", "ok")


def test_a_listener_whose_queue_is_full(daemon, fake, tmp_path):
    """A connect to it waits, and doctor does not wait for ever."""
    running = daemon(fake, listen=[f"unix:{tmp_path}/app.sock"])
    (tmp_path / "app.sock").unlink()
    with socket.socket(socket.AF_UNIX) as hung, socket.socket(socket.AF_UNIX) as waiting:
        hung.bind(f"{tmp_path}/app.sock")
        hung.listen(0)
        waiting.connect(f"{tmp_path}/app.sock")
        assert "timed out" in doctor(running).one("listener", "failed")["text"]


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666])
def test_token_file_open_to_others(daemon, fake, mode):
    running = daemon(fake)
    (running.directory / "production.token").chmod(mode)
    only(doctor(running), "token_file", "production.token", "0640")


@pytest.mark.parametrize("content, words", [("", "no token"), ("two words\n", "production.token:1"),
                                            ("Bearer abc\n", "Bearer")])
def test_token_file_malformed(daemon, fake, content, words):
    running = daemon(fake)
    (running.directory / "production.token").write_text(content)
    report = doctor(running)
    assert words in report.one("token_file", "failed")["text"]
    report.one("token", "skipped")
    report.one("clock", "ok")


def test_token_file_missing(daemon, fake):
    running = daemon(fake)
    (running.directory / "production.token").unlink()
    only(doctor(running), "token_file", "token add")


# --- the road ---
def test_unknown_name(daemon):
    running = daemon(base_url="https://no-such-host.invalid")
    report = doctor(running)
    only(report, "dns", "no-such-host.invalid")
    report.one("websocket", "skipped")


def test_refused_port(daemon):
    closed = Reservation()
    running = daemon(base_url=f"https://{closed.text}")
    only(doctor(running), "tcp", "firewall")
    closed.close()


def test_silent_network(daemon):
    full = Reservation()
    full.socket.listen(0)
    fillers = []
    for _ in range(3):  # nobody accepts: the queue is full and further handshakes are dropped
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", full.port))
        fillers.append(filler)
    running = daemon(base_url=f"https://{full.text}", connect_timeout="500ms")
    only(doctor(running), "tcp")
    for filler in fillers:
        filler.close()
    full.close()


def test_through_an_egress_proxy(daemon, fake):
    proxy = EgressProxy()
    running = daemon(fake, egress={"proxy": proxy.url})
    assert running.get("/widget/transactions/00000000-0000-0000-0000-000000000000").status == 404
    report = doctor(running)
    assert report.code == 0, report.text
    report.one("dns", "skipped")
    assert "egress proxy" in report.one("tcp", "ok")["text"]
    assert proxy.asked and set(proxy.asked) == {(b"CONNECT", f"127.0.0.1:{fake.port}".encode())}
    proxy.close()


def test_an_egress_proxy_that_refuses(daemon, fake):
    proxy = EgressProxy(b"403 Forbidden")
    running = daemon(fake, egress={"proxy": proxy.url})
    only(doctor(running), "tcp", "egress.proxy")
    proxy.close()


@pytest.mark.parametrize("cert, words", [("expired", "expired"), ("future", "valid only from"),
                                         ("wrong-name", "elsewhere.test"), ("unknown", "not trusted")])
def test_certificates(daemon, fakeproof, cert, words):
    running = daemon(fakeproof(cert=cert))
    report = doctor(running)
    only(report, "tls", words)
    report.one("token", "skipped")


def test_wrong_ca_file(daemon, fake, certs):
    running = daemon(fake, tls={"ca_file": f"{certs}/other-ca.crt"})
    only(doctor(running), "tls", "not trusted")


def test_not_tls_at_all(daemon, fakeproof):
    plain = fakeproof(plain=True)
    running = daemon(base_url=f"https://127.0.0.1:{plain.port}")
    only(doctor(running), "tls", "TLS")


def test_old_tls_version(daemon, fakeproof):
    running = daemon(fakeproof(options=["--tls-max", "1.2"]), tls={"min_version": "1.3"})
    only(doctor(running), "tls", "tls.min_version")


def test_wrong_pin(daemon, fake):
    running = daemon(fake, tls={"pinned_spki": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]})
    only(doctor(running), "tls", "pinned_spki")


def test_no_alpn_is_a_warning(daemon, raw_upstream):
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    report = doctor(daemon(raw_upstream(automatic=answer)))
    report.one("alpn", "warning")
    assert "alpn" not in report.named("failed")


def test_alpn_chosen(daemon, certs, raw_upstream):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certs}/good.crt", f"{certs}/good.key")
    context.set_alpn_protocols(["http/1.1"])
    doctor(daemon(raw_upstream(automatic=OK, context=context))).one("alpn", "ok")


def test_only_http2(daemon, certs, raw_upstream):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certs}/good.crt", f"{certs}/good.key")
    context.set_alpn_protocols(["h2"])
    report = doctor(daemon(raw_upstream(automatic=OK, context=context)))
    assert report.one("alpn", "warning") or report.one("tls", "failed")


# --- Proof ---
@pytest.mark.parametrize("skew, result", [(2, "ok"), (-30, "warning"), (3600, "failed"), (-86400, "failed")])
def test_clock(daemon, raw_upstream, skew, result):
    def answer(_):
        date = formatdate(time.time() + skew, usegmt=True).encode()
        return b"HTTP/1.1 404 Not Found\r\nDate: " + date + b"\r\nContent-Length: 0\r\n\r\n"
    running = daemon(raw_upstream(automatic=answer(None)))
    doctor(running).one("clock", result)


def test_new_token_refused(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    running = daemon(fakeproof([old]), token_file=[new, old])
    report = doctor(running)
    only(report, "token", fingerprint(new), "401", "the older one still works")
    assert fingerprint(old) in report.one("token", "ok")["text"]
    report.one("websocket", "ok")


def test_old_token_refused(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    running = daemon(fakeproof([new]), token_file=[new, old])
    only(doctor(running), "token", fingerprint(old), "401", f"proofproxy token retire production {fingerprint(old)}")


def test_every_token_refused(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    running = daemon(fakeproof([vault.token()]), token_file=[new, old])
    report = doctor(running)
    refused = [c for c in report.checks if c["check"] == "token" and c["result"] == "failed"]
    assert len(refused) == 2 and all("sandbox or production" in c["advice"] for c in refused)
    report.one("websocket", "skipped")


def test_host_off_the_allowlist(daemon, fake):
    running = daemon(fake)
    fake.control("POST", "/allow", {"ranges": ["192.0.2.0/24"]})
    finding = only(doctor(running), "token", "403", "allowlist", "127.0.0.1")
    assert "cannot be judged" in finding["text"]


def test_unregistered_origin(daemon, fake):
    running = daemon(fake, origin="https://shop.example")
    fake.control("POST", "/origins", {"registered": ["https://other.example"]})
    only(doctor(running), "token", "forbidden_origin", "https://shop.example")


def test_fault_at_proof(daemon, fake):
    running = daemon(fake)
    fake.fault("status", status=502, path="/widget/*")
    only(doctor(running), "token", "a fault at Proof", "502")


@pytest.mark.parametrize("status", [200, 400, 403, 426, 502])
def test_websocket_refused(daemon, fake, status):
    running = daemon(fake)
    fake.fault("status", status=status, path="/ws")
    only(doctor(running), "websocket", str(status), "strip")


def test_websocket_answered_wrongly(daemon, fake):
    running = daemon(fake)
    fake.fault("raw", path="/ws", then="close",
               bytes="HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
    only(doctor(running), "websocket", "101")


def test_no_answer_at_all(daemon, fake):
    running = daemon(fake, request_timeout="500ms", retries={"attempts": 1})
    fake.fault("stall", path="/widget/*")
    report = doctor(running)
    assert "no answer within request_timeout" in report.one("token", "failed")["text"]


def test_nothing_secret_is_said(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    running = daemon(fakeproof([old]), token_file=[new, old])
    for arguments in ((), ("--json",)):
        done = command(running, "doctor", *arguments)  # its output is looked through at the end
        assert fingerprint(new) in done.stdout
