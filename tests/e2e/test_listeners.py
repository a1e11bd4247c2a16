"""Where the daemon listens: IPv4, IPv6, Unix sockets with their modes, sockets of systemd."""
import grp
import os
import pathlib
import shutil
import socket
import stat

import pytest

from harness.admin import metrics
from harness.client import Client
from harness.daemon import Reservation
from harness.expect import passed, refused
from harness.upstream import OK
from harness.waiting import until


@pytest.fixture
def upstream(raw_upstream):
    return raw_upstream(tls=False, automatic=OK)


def test_ipv6(daemon, upstream):
    reservation = Reservation("::1")
    running = daemon(upstream, listen=[reservation.text])
    passed(running.get("/widget/a", host="[::1]"))
    reservation.close()


def test_several_listeners_of_one_environment(daemon, upstream, tmp_path):
    four, six, path = Reservation(), Reservation("::1"), str(tmp_path / "s")
    running = daemon(upstream, listen=[four.text, six.text, f"unix:{path}"])
    for address in (("127.0.0.1", four.port), ("::1", six.port), path):
        with Client(address, running.vault) as client:
            passed(client.get("/widget/a"))
    four.close()
    six.close()


@pytest.mark.parametrize("mode", ["0660", "0600", "0666"])
def test_a_unix_socket_has_its_mode(daemon, upstream, tmp_path, mode):
    path = tmp_path / "s"
    running = daemon(upstream, listen=[f"unix:{path}"], unix_mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    passed(running.get("/widget/a"))
    passed(running.get("/widget/a", host="whatever.example"))
    assert running.terminate() == 0
    assert not path.exists()


def test_a_unix_socket_has_its_group(daemon, upstream, tmp_path):
    """Root can give a socket to any group, others to one of theirs."""
    group = grp.getgrnam("nogroup") if os.geteuid() == 0 else grp.getgrgid(os.getgroups()[-1])
    path = tmp_path / "s"
    daemon(upstream, listen=[f"unix:{path}"], unix_group=group.gr_name)
    assert path.stat().st_gid == group.gr_gid


def test_a_dead_socket_in_the_way_is_replaced_and_a_file_is_not(daemon, upstream, tmp_path):
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    running = daemon(upstream, listen=[f"unix:{path}"])
    passed(running.get("/widget/a"))
    running.terminate()
    path.write_text("precious")
    running = daemon(upstream, listen=[f"unix:{path}"], process={"wait": False})
    running.expected_exit = running.wait_exit()
    assert running.expected_exit != 0
    assert path.read_text() == "precious"


def test_a_live_socket_is_not_stolen(daemon, upstream, tmp_path):
    path = tmp_path / "s"
    first = daemon(upstream, listen=[f"unix:{path}"])
    second = daemon(upstream, listen=[f"unix:{path}"], process={"wait": False})
    second.expected_exit = second.wait_exit()
    assert second.expected_exit != 0
    passed(first.get("/widget/a"))


def test_off_loopback_needs_to_be_asked_for(daemon, upstream):
    reservation = Reservation("0.0.0.0")
    running = daemon(upstream, listen=[reservation.text], process={"wait": False})
    running.expected_exit = 78
    assert running.wait_exit() == 78
    running.wait_log("allow_non_loopback")
    running = daemon(upstream, listen=[reservation.text], allow_non_loopback=True)
    with Client(("127.0.0.1", reservation.port), running.vault) as client:
        passed(client.get("/widget/a"))
        refused(client.get("/widget/a", host="192.0.2.1"), 421)
    reservation.close()


# --- systemd ---
def activate(daemon, upstream, sockets, names, listen, wait=True):
    """Hands listening sockets over as systemd does: descriptors from 3 on, named in the environment."""
    fds = [s.fileno() for s in sockets]
    script = ("import os, sys\n"
              "fds = [int(x) for x in sys.argv[1].split(',')]\n"
              "high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]\n"
              "for i, fd in enumerate(high): os.dup2(fd, 3 + i)\n"
              "for fd in high: os.close(fd)\n"
              "os.environ['LISTEN_PID'] = str(os.getpid())\n"
              "os.environ['LISTEN_FDS'] = str(len(fds))\n"
              "os.environ['LISTEN_FDNAMES'] = sys.argv[2]\n"
              "os.execv(sys.argv[3], sys.argv[3:])\n")
    return daemon(upstream, listen=listen, process={
        "wait": wait, "pass_fds": fds,
        "wrapper": ["/usr/bin/python3", "-c", script, ",".join(map(str, fds)), ":".join(names)]})


def test_sockets_of_systemd(daemon, upstream, tmp_path):
    tcp = socket.create_server(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "activated"))
    local.listen()
    running = activate(daemon, upstream, [tcp, local], ["web", "local"], ["systemd:web", "systemd:local"])
    for address in (tcp.getsockname(), str(tmp_path / "activated")):
        with Client(address, running.vault) as client:
            passed(client.get("/widget/a"))
    assert running.terminate() == 0
    # The sockets are systemd's: they outlive the daemon, and who connects meanwhile waits and is not refused.
    assert (tmp_path / "activated").exists()
    waiting = Client(tcp.getsockname(), running.vault)
    running = activate(daemon, upstream, [tcp, local], ["web", "local"], ["systemd:web", "systemd:local"])
    passed(waiting.get("/widget/a"))
    tcp.close()
    local.close()


def test_a_socket_of_systemd_that_is_missing(daemon, upstream):
    running = daemon(upstream, listen=["systemd:web"], process={"wait": False})
    running.expected_exit = running.wait_exit()
    assert running.expected_exit != 0
    running.wait_log("web")


@pytest.mark.parametrize("more", [0, 1])
def test_no_socket_of_systemd_is_left_out_in_silence(daemon, upstream, more):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(32 + more)]
    running = activate(daemon, upstream, sockets, ["web"] * len(sockets), ["systemd:web"], wait=not more)
    if more:
        running.expected_exit = running.wait_exit()
        assert running.expected_exit != 0
        running.wait_log("more than 32 sockets")
    else:
        for s in sockets:
            with Client(s.getsockname(), running.vault) as client:
                passed(client.get("/widget/a"))
    for s in sockets:
        s.close()


def test_systemd_socket_activate(daemon, upstream, tmp_path):
    program = shutil.which("systemd-socket-activate")
    assert program, "the package systemd has it"
    reservation = Reservation()
    running = daemon(upstream, listen=["systemd:web"], process={"wait": False, "wrapper": [
        program, "-l", reservation.text, "--fdname=web", "-E", "NOTIFY_SOCKET"]})
    running.wait_log("Listening on", reservation.text)
    with Client(("127.0.0.1", reservation.port), running.vault) as client:
        passed(client.get("/widget/a"))
    reservation.close()


def test_the_start_says_who_may_come_in(daemon, upstream):
    running = daemon(upstream)
    running.wait_log(str(running.port))
    assert pathlib.Path(f"/proc/{running.pid}").exists()


@pytest.mark.parametrize("burst", [False, True], ids=["one after the other", "all at once"])
def test_workers_share_clients_evenly(daemon, fakeproof, burst):
    running = daemon(fakeproof(), settings={"workers": 2})
    clients = []
    try:
        for _ in range(200):
            clients.append(running.client())
            if not burst:
                assert clients[-1].get("/widget/users/u1/kyc-status").status == 404
        for client in clients:
            assert client.get("/widget/users/u1/kyc-status").status == 404
        found = [value for (name, _), value in metrics(running).items() if name == "proofproxy_worker_clients"]
        assert sum(found) == 200 and max(found) <= 1.1 * min(found), found
    finally:
        for client in clients:
            client.close()
    until(lambda: not any(v for (name, _), v in metrics(running).items() if name == "proofproxy_worker_clients"),
          "no worker counts a client that left")


def test_standard_descriptors_that_are_closed_are_nobody_elses(daemon, upstream):
    """Else whatever is opened first would be standard error, and get the log."""
    closed = ["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh"]
    running = daemon(upstream, process={"wrapper": closed})
    assert [os.readlink(f"/proc/{running.pid}/fd/{n}") for n in (0, 2)] == ["/dev/null"] * 2
    passed(running.get("/widget/a"))
