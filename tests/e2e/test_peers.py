"""The peer gate, with real other users: who may connect, by every way there is to connect."""
import ctypes
import http.client
import json
import os
import socket
import struct
import sys

import pytest

from harness.daemon import Reservation
from harness.users import User
from harness.upstream import OK

# Connects as whoever runs it and says the status and the code of the answer.
CALL = """
import json, socket, sys
family, address = sys.argv[1], sys.argv[2]
if family == "unix":
    s = socket.socket(socket.AF_UNIX)
    s.connect(address)
else:
    s = socket.socket(socket.AF_INET if family == "v4" else socket.AF_INET6)
    s.connect((address, int(sys.argv[3])))
s.settimeout(20)
s.sendall(b"GET /widget/a HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
answer = b""
while piece := s.recv(65536):
    answer += piece
head, _, body = answer.partition(b"\\r\\n\\r\\n")
print(head.split()[1].decode(), json.loads(body).get("code"))
"""


def ask(kept):
    """A request on this connection, and its answer read to the end."""
    kept.sendall(b"GET /widget/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = http.client.HTTPResponse(kept)
    answer.begin()
    answer.read()
    return answer


REFUSED = ["403", "proxy_peer_not_allowed"]
PASSED = ["200", "None"]


class Road:
    """One way to the daemon: what it listens on, and how a client gets there."""

    def __init__(self, name, open_directory):
        self.name = name
        self.reservation = None
        if name == "unix":
            self.listen = f"unix:{open_directory}/socket"
            self.arguments = ["unix", f"{open_directory}/socket"]
            return
        self.reservation = Reservation("::1" if name == "v6" else "127.0.0.1")
        self.listen = self.reservation.text
        family, address = {"v4": ("v4", "127.0.0.1"), "v6": ("v6", "::1"), "mapped": ("v6", "::ffff:127.0.0.1")}[name]
        self.arguments = [family, address, self.reservation.port]

    def call(self, user):
        return user.python(CALL, *self.arguments).split()

    def connect(self):
        if self.name == "unix":
            kept = socket.socket(socket.AF_UNIX)
            kept.connect(self.arguments[1])
            return kept
        return socket.create_connection((self.arguments[1], self.arguments[2]), timeout=20)

    def close(self):
        if self.reservation is not None:
            self.reservation.close()


ROADS = ["unix", "v4", "v6", "mapped"]


@pytest.fixture
def road(request, open_directory):
    road = Road(request.param, open_directory)
    yield road
    road.close()


@pytest.fixture
def upstream(raw_upstream):
    return raw_upstream(tls=False, automatic=OK)


@pytest.fixture
def gate(daemon, upstream, road):
    """A daemon on one road that everybody can reach, but for the gate."""
    def start(process=None, **keys):
        return daemon(upstream, listen=[road.listen], unix_mode="0666", process=process, **keys)
    return start


def other():
    """Somebody who is neither the stranger nor the one who runs the tests, where that is possible."""
    return User.named("games")


def logged(running, count):
    """What the access log says of the callers so far."""
    running.wait_log('"component":"access"')
    return [r for r in running.records() if r.get("component") == "access"][:count]


@pytest.mark.parametrize("road", ROADS, indirect=True)
@pytest.mark.parametrize("how", ["name", "number"])
def test_users(gate, road, upstream, stranger, how):
    running = gate(allow_users=["nobody" if how == "name" else str(stranger.uid)] if os.geteuid() == 0 else
                   [str(os.geteuid())])
    assert road.call(stranger) == PASSED
    assert len(upstream.taken()) == 1
    if os.geteuid() == 0:  # then there are others
        for user in (other(), User(4711), User(0)):
            assert road.call(user) == REFUSED, user.uid
    assert upstream.none_came()
    uids = [r.get("uid") for r in logged(running, 4)]
    assert uids == ([stranger.uid, other().uid, 4711, 0] if os.geteuid() == 0 else [os.geteuid()])


@pytest.mark.parametrize("road", ROADS, indirect=True)
def test_somebody_not_listed_is_refused(gate, road, upstream, stranger):
    gate(allow_users=["4711"], allow_groups=["4712"])
    assert road.call(stranger) == REFUSED
    assert upstream.none_came()


@pytest.mark.parametrize("road", ROADS, indirect=True)
@pytest.mark.parametrize("how", ["name", "number"])
def test_primary_groups(gate, road, upstream, stranger, how):
    mine = os.getgid()
    gate(allow_groups=["nogroup" if how == "name" else str(stranger.gid)] if os.geteuid() == 0 else [str(mine)])
    assert road.call(stranger) == PASSED
    if os.geteuid() == 0:
        assert road.call(other()) == REFUSED
    assert len(upstream.taken()) == 1


def with_accounts(directory, groups):
    """A wrapper in whose view of the file system the host's groups have further lines."""
    path = directory / "group"
    with open("/etc/group", encoding="utf-8") as f:
        path.write_text(f.read() + groups)
    path.chmod(0o644)
    return ["unshare", "--mount", "sh", "-c", f'mount --bind "{path}" /etc/group && exec "$@"', "sh"]


MEMBERS = "payments:x:47110:games,nobody\nothers:x:47111:games\n"


@pytest.mark.parametrize("road", ROADS, indirect=True)
@pytest.mark.parametrize("how", ["name", "number"])
def test_supplementary_groups(gate, road, upstream, stranger, open_directory, how):
    """Of the process on Unix sockets; of the user's account on TCP, where the kernel tells the user alone."""
    if os.geteuid() != 0:
        gate(allow_groups=[str(g) for g in os.getgroups()])
        assert road.call(stranger) == PASSED
        return
    gate(process={"wrapper": with_accounts(open_directory, MEMBERS)},
         allow_groups=["payments" if how == "name" else "47110"])
    unix = road.name == "unix"
    assert road.call(User.named("nobody", groups=[47110])) == PASSED
    assert road.call(User.named("daemon")) == REFUSED
    # By the process alone, or by the account alone: each road has its own source, and no other.
    assert road.call(User.named("daemon", groups=[47110])) == (PASSED if unix else REFUSED)
    assert road.call(User.named("nobody")) == (REFUSED if unix else PASSED)
    assert road.call(User(4711, groups=[47111])) == REFUSED
    assert len(upstream.taken()) == 2


def without_netlink():
    """Before a program starts: from here on there are no netlink sockets, as in a sandbox that forgot AF_NETLINK."""
    load, jump_equal, returns = 0x20, 0x15, 0x06
    socket_call = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
    steps = [(load, 0, 0, 0), (jump_equal, 0, 3, socket_call), (load, 0, 0, 16), (jump_equal, 0, 1, socket.AF_NETLINK),
             (returns, 0, 0, 0x00050000 | 97), (returns, 0, 0, 0x7fff0000)]  # EAFNOSUPPORT; allow
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, filter_mode = 38, 22, 2
    for call in ((no_new_privileges, 1, 0, 0, 0), (seccomp, filter_mode, program, 0, 0)):
        if libc.prctl(*call) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


WITHOUT_NETLINK = ["/usr/bin/python3", "-I", "-c",
                   "import os, sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True; "
                   "import test_peers as t; t.without_netlink(); os.execv(sys.argv[2], sys.argv[2:])",
                   os.path.dirname(__file__)]


@pytest.mark.parametrize("road", ["v4", "v6", "mapped"], indirect=True)
def test_a_failed_look_up_refuses(gate, road, upstream, stranger):
    """Even those who are listed, when it can't be told who they are."""
    me = os.geteuid()
    running = gate(process={"wrapper": WITHOUT_NETLINK}, allow_users=["nobody", str(me)])
    for user in (stranger, User(me)):
        assert road.call(user) == REFUSED
    assert upstream.none_came()
    assert all("uid" not in r for r in logged(running, 2))


@pytest.mark.parametrize("road", ["v4", "v6", "mapped"], indirect=True)
def test_without_a_gate_a_failed_look_up_is_no_matter(gate, road, stranger):
    gate(process={"wrapper": WITHOUT_NETLINK})
    assert road.call(stranger) == PASSED


def test_a_unix_socket_needs_no_netlink(daemon, upstream, open_directory, stranger):
    road = Road("unix", open_directory)
    daemon(upstream, listen=[road.listen], unix_mode="0666", process={"wrapper": WITHOUT_NETLINK},
           allow_users=["nobody", str(os.geteuid())])
    assert road.call(stranger) == PASSED


@pytest.mark.parametrize("road", ROADS, indirect=True)
def test_the_access_log_names_the_caller(gate, road, stranger):
    """The uid on every road, the pid where the kernel tells it."""
    running = gate()
    said = stranger.python(CALL + "import os; print(os.getpid())", *road.arguments).split()
    line = json.loads(running.wait_log('"component":"access"'))
    assert line["uid"] == stranger.uid
    assert line.get("pid") == (int(said[-1]) if road.name == "unix" else None)


@pytest.mark.parametrize("road", ROADS, indirect=True)
def test_a_reload_changes_who_may_come(gate, road, stranger):
    running = gate(allow_users=["4711"])
    assert road.call(stranger) == REFUSED
    running.environments["production"]["allow_users"] = [str(stranger.uid)]
    running.write_config()
    running.reload()
    assert road.call(stranger) == PASSED
    running.environments["production"]["allow_users"] = ["4711"]
    running.write_config()
    running.reload()
    assert road.call(stranger) == REFUSED


@pytest.mark.parametrize("road", ROADS, indirect=True)
def test_a_reload_judges_connections_that_are_kept(gate, road):
    """Who keeps a connection open for ever is not let in for ever."""
    running = gate(allow_users=[str(os.geteuid())])
    with road.connect() as kept:
        for allowed, expected in (([str(os.geteuid()), "4711"], 200), ([], 200), (["4711"], 403)):
            assert ask(kept).status == 200
            running.environments["production"]["allow_users"] = allowed
            running.write_config()
            running.reload()
            assert ask(kept).status == expected
    assert json.loads(running.wait_log('"status":403'))["uid"] == os.geteuid()


# --- the admin listener ---
RELOAD = """
import http.client, json, sys
for method, path in (("GET", "/livez"), ("POST", "/reload")):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    print(answer.status, json.loads(body).get("code", "") if path == "/reload" else "")
"""


def test_a_reload_over_tcp_is_for_root_and_our_own_user(daemon, upstream, stranger):
    port = Reservation()
    running = daemon(upstream, settings={"admin": {"listen": [port.text]}})
    try:
        if os.geteuid() == 0:
            assert stranger.python(RELOAD, port.port).split() == ["200", "403", "admin_reload_not_allowed"]
            assert running.notices.count("RELOADING=1") == 0
        assert User(os.geteuid()).python(RELOAD, port.port).split() == ["200", "200"]
        assert running.notices.count("RELOADING=1") == 1
    finally:
        port.close()
