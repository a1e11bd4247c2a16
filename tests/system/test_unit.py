"""The service as systemd runs it: start, reload, watchdog, restart, drain, failure, sandbox."""
import ctypes
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import pytest
from conftest import CONFDIR, PATIENCE, Client, systemctl, until
from harness.client import request

SOCKET_ENVIRONMENT = {"listen": ["systemd:production"]}
SLOW = {"path": "/widget/*", "ms": 2500, "count": 1}


def test_start_returns_when_calls_work(service):
    for _ in range(5):
        systemctl("start", "proofproxy")
        assert service.calls_work()
        systemctl("stop", "proofproxy")
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"


def test_status_says_how_it_is(service):
    systemctl("start", "proofproxy")
    assert service.show("StatusText") != ""
    assert service.show("User") == "proofproxy"


def test_a_start_that_fails_says_so(service):
    with socket.create_server(("127.0.0.1", 8780)):
        done = systemctl("start", "proofproxy", check=False)
    assert done.returncode != 0
    assert "8780" in service.journal()


def test_a_good_reload_is_in_force_when_it_returns(service):
    systemctl("start", "proofproxy")
    pid = service.pid
    service.configure(production=service.environment(), sandbox=service.environment(port=8781))
    systemctl("reload", "proofproxy")
    assert service.calls_work() and service.calls_work(port=8781)
    assert service.pid == pid


def test_a_bad_reload_fails_and_changes_nothing(service):
    systemctl("start", "proofproxy")
    pid, before = service.pid, service.show("StatusText")
    service.write(CONFDIR / "proofproxy.conf", "environments = { production = { base_urk = 1; }; };\n")
    assert systemctl("reload", "proofproxy", check=False).returncode != 0
    assert service.show("ActiveState") == "active"
    assert service.pid == pid
    assert service.calls_work()
    during = service.show("StatusText")
    assert re.search("reload", during, re.I) and during != before
    assert "base_urk" in service.journal()

    service.configure()
    systemctl("reload", "proofproxy")
    assert service.show("StatusText") != during
    assert service.calls_work()


def test_a_bad_config_is_not_tried_again(service):
    service.write(CONFDIR / "proofproxy.conf", "workers = \"many\";\n")
    assert systemctl("start", "proofproxy", check=False).returncode != 0
    time.sleep(1.5)  # three times RestartSec
    assert service.show("ExecMainStatus") == "78"
    assert service.show("NRestarts") == "0"
    assert service.show("ActiveState") == "failed"


def test_a_crash_is_started_again(service):
    systemctl("start", "proofproxy")
    pid = service.pid
    os.kill(pid, 9)
    until(lambda: service.pid not in (0, pid) and service.show("ActiveState") == "active", "a restart")
    assert service.show("NRestarts") == "1"
    assert service.calls_work()


def threads_of(pid):
    names = pathlib.Path(f"/proc/{pid}/task").glob("*/comm")
    return {int(path.parent.name): path.read_text().strip() for path in names}


class StoppedThread:
    """One thread of another process, stopped for good by ptrace(2); the others go on."""

    def __init__(self, tid):
        self.tid = tid
        libc = ctypes.CDLL(None, use_errno=True)
        seize, interrupt = 0x4206, 0x4207
        for operation in (seize, interrupt):
            assert libc.ptrace(operation, tid, None, None) == 0, os.strerror(ctypes.get_errno())

    def reap(self):
        """Takes note of its end: until its tracer has, the process is not gone for its parent."""
        wall = 0x40000000
        try:
            os.waitpid(self.tid, os.WNOHANG | wall)
        except ChildProcessError:
            pass  # it has ended


@pytest.mark.parametrize("which", ["the main thread", "one worker"])
def test_the_watchdog_restarts_a_stuck_loop_and_the_socket_keeps_the_port(service, which):
    service.drop_in("[Service]\nWatchdogSec=2s\n")
    service.configure(production=service.environment(**SOCKET_ENVIRONMENT))
    systemctl("start", "proofproxy.socket", "proofproxy.service")
    assert service.calls_work()
    pid = service.pid
    workers = sorted(tid for tid, name in threads_of(pid).items() if tid != pid and "work" in name)
    assert len(workers) == 2, threads_of(pid)
    stopped = StoppedThread(pid if which == "the main thread" else workers[0])

    # Somebody who calls meanwhile is not refused.
    answers = []
    caller = threading.Thread(target=lambda: answers.append(service.get()))

    def killed():
        stopped.reap()
        return service.pid != pid

    until(killed, "a kill by the watchdog")
    caller.start()
    until(lambda: service.show("ActiveState") == "active" and service.pid not in (0, pid), "a restart")
    caller.join(PATIENCE)
    assert answers and answers[0].status == 404
    assert "watchdog" in subprocess.run(["journalctl", "--no-pager", "-u", "proofproxy"], capture_output=True,
                                        text=True, check=True).stdout.lower()


def test_a_live_daemon_feeds_the_watchdog(service):
    service.drop_in("[Service]\nWatchdogSec=1s\n")
    systemctl("start", "proofproxy")
    pid = service.pid
    time.sleep(3.5)
    assert service.pid == pid and service.show("NRestarts") == "0"


def test_a_restart_under_load_loses_no_call(service):
    service.configure(production=service.environment(**SOCKET_ENVIRONMENT))
    systemctl("start", "proofproxy.socket", "proofproxy.service")
    end = threading.Event()
    statuses, errors = [], []

    def call():
        while not end.is_set():
            try:
                answer = service.get()
                statuses.append(None if answer is None else answer.status)
            except Exception as error:  # whatever went wrong is a lost call
                errors.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    pids = {service.pid}
    for _ in range(3):
        so_far = len(statuses)
        until(lambda: len(statuses) > so_far + 40, "load")
        systemctl("restart", "proofproxy.service")
        pids.add(service.pid)
    end.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert len(pids) == 4
    assert errors == []
    assert set(statuses) == {404}


def test_a_stop_lets_a_call_finish(service):
    systemctl("start", "proofproxy")
    service.upstream.fault("delay", **SLOW)
    with Client(("127.0.0.1", 8780)) as client:
        client.send(request("/widget/transactions/00000000-0000-0000-0000-000000000000"))
        time.sleep(0.5)
        stop = subprocess.Popen(["systemctl", "stop", "proofproxy"])
        answer = client.response()
        assert answer.status == 404
    assert stop.wait(PATIENCE) == 0
    assert service.show("Result") == "success" and service.show("ExecMainStatus") == "0"


def test_a_stop_asks_websockets_to_come_back(service):
    systemctl("start", "proofproxy")
    session = {"partner_user_id": "u-1", "user_email": "u@example.org", "network": "TRC20", "currency": "USDT",
               "amount": "10.00"}
    with Client(("127.0.0.1", 8780)) as client:
        created = client.get("/widget/session", "POST", ["Content-Type: application/json"],
                             json.dumps(session).encode())
        transaction = created.json["merchant_transaction_id"]
    with Client(("127.0.0.1", 8780)) as client:
        client.send(request(f"/ws?tx_id={transaction}", fields=[
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]))
        assert client.response().status == 101
        stop = subprocess.Popen(["systemctl", "stop", "proofproxy"])
        while len(client.buffer) < 4 or client.buffer[0] != 0x88:
            if client.buffer and client.buffer[0] != 0x88:  # an event of the transaction
                client.take(2 + client.buffer[1])
                continue
            assert client.receive()
        assert client.buffer[2:4] == (1012).to_bytes(2, "big")  # service restart
        client.send(b"\x88\x82\0\0\0\0" + (1012).to_bytes(2, "big"))
        assert stop.wait(PATIENCE) == 0
    assert service.show("ExecMainStatus") == "0"


def test_a_stop_with_work_left_at_the_deadline_fails(service):
    service.configure({"drain_timeout": "1s"})
    systemctl("start", "proofproxy")
    service.upstream.fault("stall", path="/widget/*", ms=60000, count=1)
    with Client(("127.0.0.1", 8780)) as client:
        client.send(request("/widget/transactions/00000000-0000-0000-0000-000000000000"))
        time.sleep(0.5)
        begin = time.monotonic()
        systemctl("stop", "proofproxy")
        assert 0.5 < time.monotonic() - begin < 8
    assert service.show("ExecMainStatus") == "1"


def test_a_drain_may_take_longer_than_the_units_patience(service):
    service.drop_in("[Service]\nTimeoutStopSec=2s\n")
    service.configure({"drain_timeout": "20s"})
    systemctl("start", "proofproxy")
    service.upstream.fault("delay", **{**SLOW, "ms": 5000})
    with Client(("127.0.0.1", 8780)) as client:
        client.send(request("/widget/transactions/00000000-0000-0000-0000-000000000000"))
        time.sleep(0.5)
        stop = subprocess.Popen(["systemctl", "stop", "proofproxy"])
        assert client.response().status == 404
    assert stop.wait(PATIENCE) == 0
    assert service.show("ExecMainStatus") == "0"


def test_a_token_as_credential(service):
    source = CONFDIR / "credential.token"
    service.write(source, service.token + "\n", mode=0o600)
    subprocess.run(["chown", "root:root", source], check=True)
    service.drop_in(f"[Service]\nLoadCredential=production:{source}\n")
    service.configure(production=service.environment(token_file="credential:production"))
    systemctl("start", "proofproxy")
    source.unlink()
    assert service.calls_work()


def test_users_are_told_apart_inside_the_sandbox(service):
    service.configure(production=service.environment(allow_users=["daemon"]))
    systemctl("start", "proofproxy")

    def status_as(user):
        return subprocess.run(["setpriv", f"--reuid={user}", "--clear-groups", "curl", "-s", "-o", "/dev/null", "-w",
                               "%{http_code}", "http://127.0.0.1:8780/widget/transactions/none"],
                              capture_output=True, text=True, check=True).stdout

    assert status_as("nobody") == "403"
    assert status_as("daemon") in ("400", "404")


def test_the_process_is_shut_in(service):
    systemctl("start", "proofproxy")
    pid = service.pid
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                  if ":\t" in line)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    user = subprocess.run(["id", "-u", "proofproxy"], capture_output=True, text=True, check=True).stdout.strip()
    assert set(status["Uid"].split()) == {user}
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)

    # What the daemon's view of the file system allows, tried from inside its mount namespace with its user.
    def inside(*command):
        return subprocess.run(["nsenter", "-t", str(pid), "-m", "setpriv", "--reuid=proofproxy", "--clear-groups",
                               *command], capture_output=True, text=True, check=False)

    assert inside("/bin/true").returncode != 0  # not even this can be executed
    assert os.stat("/run/proofproxy/admin.sock").st_mode & 0o777 == 0o660


def test_the_journal_has_priorities_and_no_secret(service):
    systemctl("start", "proofproxy")
    service.get()
    entries = [json.loads(line) for line in service.journal("-o", "json").splitlines()]
    ours = [e for e in entries if e.get("_COMM") == "proofproxy"]
    assert ours
    assert all(not str(e["MESSAGE"]).startswith("<") for e in ours)
    assert {e["PRIORITY"] for e in ours} <= {"3", "4", "6", "7"}


def test_the_commands_reach_the_daemon(service):
    systemctl("start", "proofproxy")
    config = ["-c", str(CONFDIR / "proofproxy.conf")]
    program = service.show("ExecStart").split("path=")[1].split(" ")[0]
    for command in (["wait", "--max", "5s"], ["status"], ["reload"], ["token", "list", "production"]):
        done = subprocess.run([program, *config, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert service.token not in done.stdout + done.stderr
    status = json.loads(subprocess.run([program, *config, "status", "--json"], capture_output=True, text=True,
                                       check=True).stdout)
    assert "production" in json.dumps(status)
