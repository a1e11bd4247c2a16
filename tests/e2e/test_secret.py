"""The token where it must not be: in memory that can be dumped, in what /proc shows, in any output."""
import os
import pathlib
import re
import resource
import signal
import subprocess

import pytest

from harness.admin import ask, command
from harness.client import request
from harness.expect import passed
from harness.memory import places
from harness.upstream import OK
from harness.vault import Vault, fingerprint
from harness.waiting import until
from harness.websocket import upgrade

NOBODY = "/widget/transactions/00000000-0000-0000-0000-000000000000"


def loose(running, token):
    """The mappings in which the token lies open: where it may be swapped out, or dumped."""
    return [m for m in places(running.pid, token.encode()) if not m.secret]


def nowhere_loose(running, token, when):
    """Upstream may have read a request before the worker's next instruction, which wipes it, had its turn."""
    until(lambda: loose(running, token) == [], f"{when} the token lies in locked memory only")


def may_trace():
    """May this user look into the memory of a process that is not dumpable? Root may."""
    return os.geteuid() == 0


def refused_to_look(running):
    with pytest.raises(PermissionError):
        open(f"/proc/{running.pid}/mem", "rb").close()
    return True


# --- memory ---
def test_the_token_is_in_locked_memory_that_no_dump_holds(daemon, raw_upstream, token):
    """Before, during and after calls of every kind. What upstream was told shows that the token was in use."""
    upstream = raw_upstream()
    running = daemon(upstream)
    if not may_trace():
        assert refused_to_look(running)
        return
    assert places(running.pid, token.encode()), "it is nowhere: this test looks in the wrong way"
    assert loose(running, token) == []
    calls = [request("/widget/a"), request("/widget/a", "POST", body=b"x" * 100),
             request("/widget/a", "POST", body=b"x" * 300000),
             request("/widget/a", fields=[f"X-{i}: {'y' * 150}" for i in range(80)]),
             request("/widget/a", "POST", ["Transfer-Encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n"), upgrade()]
    clients = []
    for call in calls:
        client = running.client()
        clients.append(client.send(call))
        asked = upstream.request()
        assert asked.field(b"Authorization") == b"Bearer " + token.encode()
        nowhere_loose(running, token, f"while {call[:40]} is under way")
        asked.answer(OK)
        passed(client.response())
        nowhere_loose(running, token, f"after {call[:40]}")
    for client in clients:
        client.close()


def test_a_probe_leaves_no_copy(daemon, raw_upstream, token):
    upstream = raw_upstream()
    running = daemon(upstream, probe_interval="1s")
    asked = upstream.request()
    assert token.encode() in asked.head and b"proofproxy-probe" in asked.head
    if not may_trace():
        assert refused_to_look(running)
        return
    assert places(running.pid, token.encode())
    assert loose(running, token) == []


def test_a_token_that_was_let_go_is_nowhere(daemon, fakeproof, vault):
    new, old = vault.token(), vault.token()
    running = daemon(fakeproof([new, old]), token_file=[old], old_token_grace="0s", probe_interval="200ms")
    assert running.get(NOBODY).status == 404
    running.set_tokens(new)
    until(lambda: [t["fingerprint"] for t in ask(running, "/status").json["environments"][0]["tokens"]] ==
          [fingerprint(new)], "the old token to be forgotten")
    assert running.get(NOBODY).status == 404
    if not may_trace():
        assert refused_to_look(running)
        return
    until(lambda: not places(running.pid, old.encode()), "the old token to be wiped")
    assert places(running.pid, new.encode()) and loose(running, new) == []


def test_an_inline_token_is_as_safe(daemon, fakeproof, vault, ca):
    inline = vault.token()
    fake = fakeproof([inline])
    running = daemon(environments={"production": {"base_url": fake.url, "client_token": inline,
                                                  "tls": {"ca_file": ca}}})
    assert running.get(NOBODY).status == 404
    running.reload()
    assert running.get(NOBODY).status == 404
    if not may_trace():
        assert refused_to_look(running)
        return
    assert places(running.pid, inline.encode()) and loose(running, inline) == []


def forced_core(pid, path):
    """A core dump as a debugger of root's makes it, which asks no one; it honours MADV_DONTDUMP as the kernel does."""
    done = subprocess.run(["gcore", "-o", str(path), str(pid)], capture_output=True, text=True, timeout=60, check=False)
    core = pathlib.Path(f"{path}.{pid}")
    assert core.exists(), done.stderr
    return core.read_bytes()


def test_a_forced_core_holds_no_token(daemon, raw_upstream, vault, tmp_path):
    """Made while calls are under way and after them, of a daemon that holds two tokens."""
    new, old = vault.token(), vault.token()
    upstream = raw_upstream()
    running = daemon(upstream, token_file=[new, old], require_header="X-Mark: look-for-this-mark")
    waiting = []
    for _ in range(4):
        client = running.client()
        client.send(request("/widget/a", "POST", ["X-Mark: look-for-this-mark"], b"{}"))
        waiting.append((client, upstream.request()))
    refused = waiting[0][1]
    assert new.encode() in refused.head
    refused.answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    replayed = upstream.request()
    assert old.encode() in replayed.head
    if not may_trace():
        assert refused_to_look(running)
        return
    core = forced_core(running.pid, tmp_path / "core")
    assert b"look-for-this-mark" in core  # the heap is in it
    for token in (new, old):
        assert token.encode() not in core and token[-20:].encode() not in core


def test_an_abort_leaves_no_core(daemon, fake):
    """Whatever limit the process was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        running = daemon(fake)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    limits = pathlib.Path(f"/proc/{running.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0\s", limits)
    running.process.send_signal(signal.SIGABRT)
    running.expected_exit = running.wait_exit()
    assert running.expected_exit == -signal.SIGABRT
    assert not [p for p in running.directory.iterdir() if "core" in p.name]


# --- other processes of the same user ---
LOOK = """
import sys
for view in ("mem", "environ", "maps"):
    try:
        open(f"/proc/{sys.argv[1]}/{view}", "rb").close()
        print(view)
    except PermissionError:
        pass
"""


@pytest.mark.parametrize("arguments", [(), ("token", "add", "production")], ids=["run", "token add"])
def test_other_processes_of_the_same_user_cannot_look_inside(daemon, fakeproof, token, open_directory, stranger,
                                                             arguments):
    """PR_SET_DUMPABLE keeps debuggers of that user away, and readers of /proc/PID/mem. For commands too."""
    running = daemon(fakeproof(plain=True))
    text = running.config_file.read_text().replace(str(running.directory), str(open_directory))
    running.terminate()
    for name, content in (("conf", text.encode()), ("production.token", token.encode()),
                          ("program", running.binary.read_bytes())):
        path = open_directory / name
        path.write_bytes(content)
        path.chmod(0o700 if name == "program" else 0o600)
        os.chown(path, stranger.uid, stranger.gid)
    os.chown(open_directory, stranger.uid, stranger.gid)

    def seen(pid):
        return stranger.python(LOOK, str(pid)).split()

    with stranger.running("sleep", "60") as sleep:
        assert "environ" in seen(sleep.pid)  # of any other program it sees much
    program = [open_directory / "program", "-c", open_directory / "conf", *arguments]
    with stranger.running(*program, stdin=subprocess.PIPE) as process:
        until(lambda: pathlib.Path(f"/proc/{process.pid}/exe").resolve().name == "program" and seen(process.pid) == [],
              f"nothing to be seen of it, not {seen(process.pid)}")


# --- the environment ---
def test_openssls_configuration_in_the_environment_is_ignored(daemon, fake, tmp_path):
    """Whoever sets it could load a module of theirs; here it would only make every connection fail."""
    path = tmp_path / "openssl.cnf"
    path.write_text("openssl_conf = start\n[start]\nssl_conf = rules\n[rules]\n"
                    "system_default = rule\n[rule]\nSignatureAlgorithms = ed448\n")
    running = daemon(fake, process={"environ": {"OPENSSL_CONF": str(path)}})
    assert running.get(NOBODY).status == 404


# --- what /proc shows, and what we say ---
def test_the_search_for_tokens_finds_them():
    vault = Vault()
    token = vault.token()
    vault.saw("here", f"nothing, and then {token[1:]}")
    assert vault.problems() == []
    vault.saw("there", f"nothing, and then {token}!")
    assert len(vault.problems()) == 1 and token not in vault.problems()[0]


def views(pid):
    """Every file in /proc/PID, and in those of its threads, that is text about the process and not its memory."""
    process = pathlib.Path(f"/proc/{pid}")
    for folder in (process, *(process / "task").iterdir()):
        for path in folder.iterdir():
            if path.name not in ("mem", "pagemap", "clear_refs") and path.is_file() and not path.is_symlink():
                yield path
        for path in (*(folder / "fd").iterdir(), folder / "exe", folder / "cwd"):
            yield path


def test_no_view_of_proc_shows_a_token(daemon, fake, token):
    running = daemon(fake, probe_interval="200ms")
    assert running.get(NOBODY).status == 404
    names = set()
    for path in views(running.pid):
        try:
            running.vault.saw(str(path), os.readlink(path) if path.is_symlink() else path.read_bytes())
            names.add(path.name)
        except OSError:
            continue  # write-only files, closed descriptors, and, without root, what is none of our business
    least = {"cmdline", "status", "comm", "limits"} | ({"environ", "maps", "smaps", "0", "2"} if may_trace() else set())
    assert least <= names


def test_no_output_shows_a_token(daemon, fakeproof, vault):
    """All that people can ask for, good and bad; vault looks through it at the end of the test, and through the log."""
    new, old, typed = vault.token(), vault.token(), vault.token()
    fake = fakeproof([old])
    running = daemon(fake, token_file=[new, old], probe_interval="200ms",
                     settings={"log": {"level": "debug", "access": True}})
    for target in (NOBODY, "/widget/a", "/elsewhere", f"/widget/{new}x", f"/elsewhere/{old}", f"/widget/a//{new}",
                   f"/widget/a?t={new}"):
        running.get(target, fields=["Authorization: Bearer something-else"])
    until(lambda: ask(running, "/status").json["environments"][0]["tokens"][0]["verdict"] == "refused", "a verdict")
    for page in ("/", "/status", "/metrics", "/livez", "/readyz", "/upstreamz", "/nowhere"):
        assert ask(running, page).body
    said = {}
    for arguments in (["config"], ["config", "--json"], ["config", "--keys"], ["check"], ["check", "--json"],
                      ["status"], ["status", "--json"], ["doctor"], ["doctor", "--json"],
                      ["token", "list", "production"],
                      ["token", "list", "production", "--json"], ["reload"], ["token", "retire", "production", typed],
                      ["token", "add", "production", typed], ["token", "list", typed], ["token", typed],
                      ["doctor", typed], [typed], ["--" + typed], ["status", "--" + typed]):
        said[" ".join(arguments)] = command(running, *arguments, stdin="").stdout
    assert fingerprint(new) in said["status"] + said["token list production"] and said["config"]
    for bad in (f"Bearer {typed}", f"{typed} {typed}", f"{typed}\x01", f"{typed}\n{typed}\n", typed):
        done = command(running, "token", "add", "production", stdin=bad)
        assert done.returncode != 0 and done.stderr
    path = running.directory / "production.token"
    for bad in (f"Bearer {typed}\n", f"{typed} {typed}\n", f"{typed} expires={typed}\n", f"{typed}\n{typed}\n"):
        path.write_text(bad)
        running.reload()
        assert command(running, "check").returncode != 0, bad
    good = running.config_file.read_text()
    for bad in (f'client_token = "{typed}"; client_tokem = "{typed}";', f'client_token = {typed};',
                f'client_token = "{typed}'):
        running.config_file.write_text(good.replace("token_file", f"{bad} token_file", 1))
        running.reload()
        assert command(running, "check").returncode == 78, bad
        for page in ("/", "/status"):
            ask(running, page)
        command(running, "status")
    running.config_file.write_text(good)
    path.write_text(f"{old}\n")
    running.reload()
    assert running.get(NOBODY).status == 404
