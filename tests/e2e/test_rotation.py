"""Rotation: tokens come, go and change hands under load, by every kind of file edit, and no call fails."""
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import termios
import threading

import pytest

from harness.expect import passed, refused
from harness.vault import fingerprint
from harness.waiting import until

SESSION = b'{"partner_user_id":"u1","user_email":"a@b.c","network":"TRC20","currency":"USDT","amount":"10.5"}'
UNKNOWN = "/widget/transactions/00000000-0000-0000-0000-000000000001"


class Load:
    """GETs and POSTs on kept connections, until the block ends; whatever is not the expected answer is a failure."""

    def __init__(self, running, gets=2, posts=2):
        self.running, self.failures, self.answered, self.posted = running, [], 0, 0
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(kind,)) for kind in ["GET"] * gets + ["POST"] * posts]

    def _run(self, kind):
        try:
            with self.running.client() as client:
                while not self.stopping.is_set():
                    if kind == "GET":
                        response = client.get(UNKNOWN)
                    else:
                        response = client.get("/widget/session", method="POST", body=SESSION)
                    with self.lock:
                        self.answered += 1
                        self.posted += kind == "POST"
                        if response.status != (404 if kind == "GET" else 200):
                            self.failures.append((kind, response.status, response.body[:200]))
        except Exception as error:  # of a thread: reported by the test
            self.failures.append((kind, repr(error)))

    def more(self, n=60):
        """Waits until so many further calls were answered."""
        wanted = self.answered + n
        until(lambda: self.failures or self.answered >= wanted, f"{n} more calls answered")
        assert not self.failures, self.failures[:3]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def requests_of(fake, token):
    return fake.stats()["tokens"].get(fingerprint(token), {"requests": 0})["requests"]


# What happens, step by step: "valid" what Proof accepts, "file" what the file holds.
ORDERS = {
    "as the runbook says": [("valid", "on"), ("file", "no"), ("file", "n"), ("valid", "n")],
    "file first": [("file", "no"), ("valid", "on"), ("valid", "n"), ("file", "n")],
    "replaced at once": [("valid", "on"), ("file", "n"), ("valid", "n")],
    "replaced too early": [("file", "n"), ("valid", "on"), ("valid", "n")],
    "at one stroke": [("file", "no"), ("valid", "n")],
    "at one stroke, replaced": [("file", "n"), ("valid", "n")],
    "Proof kills the old one early": [("file", "no"), ("valid", "n"), ("file", "n")],
    "and back": [("file", "no"), ("valid", "n"), ("valid", "o"), ("valid", "n"), ("valid", "o")],
    "back after the file forgot": [("valid", "on"), ("file", "n"), ("valid", "n"), ("valid", "o"), ("file", "o")],
    "upside down": [("valid", "on"), ("file", "on"), ("valid", "n"), ("file", "n")],
    "three": [("file", "tno"), ("valid", "no"), ("valid", "n"), ("valid", "tn"), ("valid", "t"), ("file", "t")],
}


@pytest.mark.parametrize("workers,probe", [(1, "0s"), (1, "300ms"), (2, "300ms")])
@pytest.mark.parametrize("order", ORDERS)
def test_no_call_fails(daemon, fakeproof, vault, order, workers, probe):
    tokens = {name: vault.token(name) for name in "ont"}
    fake = fakeproof([tokens["o"]])
    running = daemon(fake, token_file=[tokens["o"]], probe_interval=probe, settings={"workers": workers})
    with Load(running) as load:
        load.more()
        for what, names in ORDERS[order]:
            chosen = [tokens[name] for name in names]
            if what == "valid":
                fake.tokens(*chosen)
            else:
                running.set_tokens(*chosen)
                for token in chosen:
                    running.wait_log(fingerprint(token))
            load.more()
    assert not load.failures
    assert fake.stats()["sessions_created"] == load.posted  # and none was made twice


def test_traffic_stays_on_the_proven_one_until_the_new_one_is(daemon, fakeproof, vault):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old])
    running = daemon(fake, token_file=[old], probe_interval="60s")
    passed(running.get(UNKNOWN), 404)
    running.set_tokens(new, old)
    running.wait_log(f"token {fingerprint(new)} is refused")
    with Load(running) as load:
        load.more(200)
        fake.tokens(old, new)
        running.wait_log(f"token {fingerprint(new)} carries the traffic now")
        load.more(100)
    refusals = fake.stats()["tokens"][fingerprint(new)]["refused"]
    assert refusals <= 4, "a refused token is probed at once, after 1 s, 2 s ..., and no call goes out with it"


@pytest.mark.parametrize("probe,most", [("0s", 1), ("60s", 4)])
def test_a_refused_token_is_not_hammered(daemon, fakeproof, vault, probe, most):
    bad, good = vault.token("bad"), vault.token("good")
    fake = fakeproof([good])
    running = daemon(fake, token_file=[bad, good], probe_interval=probe, settings={"workers": 2})
    passed(running.get(UNKNOWN), 404)
    until(lambda: requests_of(fake, good) >= 1 and requests_of(fake, bad) >= 1, "both were tried")
    with Load(running, gets=6, posts=2) as load:
        load.more(1500)
    # Two workers may both have asked before the one heard of the other.
    assert requests_of(fake, bad) <= most + 1


def test_all_refused_then_one_is_valid_again(daemon, fakeproof, vault):
    tokens = [vault.token(name) for name in ("a", "b")]
    fake = fakeproof(tokens)
    running = daemon(fake, token_file=tokens)
    passed(running.get(UNKNOWN), 404)
    for valid in (tokens[1], tokens[0]):
        fake.tokens()
        for _ in range(3):
            passed(running.get(UNKNOWN), 401)
        fake.tokens(valid)
        passed(running.get(UNKNOWN), 404)  # at once, whichever it is


PROBED = "/widget/transactions/00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("fault,told", [
    ({"kind": "status", "status": 503}, "status 503"),
    ({"kind": "status", "status": 403}, "allowlist"),
    ({"kind": "end", "how": "reset"}, "no answer (broken)"),
    ({"kind": "garbage"}, "no answer (protocol)"),
    ({"kind": "interim", "status": 103, "times": 20}, "no answer (protocol)"),
], ids=["503", "403", "reset", "garbage", "endless 103"])
def test_a_probe_that_tells_nothing(daemon, fakeproof, vault, fault, told):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old, new])
    running = daemon(fake, token_file=[old], probe_interval="300ms")
    running.wait_log(f"token {fingerprint(old)} is accepted")
    fake.fault(**fault, path=PROBED, count=0)
    running.set_tokens(new, old)
    running.wait_log("tells nothing", told)
    passed(running.get(UNKNOWN), 404)
    assert f"token {fingerprint(new)} is " not in running.log.replace("is held now", "")  # no verdict
    fake.control("DELETE", "/fault")
    running.wait_log(f"token {fingerprint(new)} carries the traffic now")


def test_large_and_chunked_answers_to_a_probe(daemon, fakeproof, vault):
    token = vault.token()
    fake = fakeproof([token])
    fake.fault("chunked", path=PROBED, count=1)
    fake.fault("large", path=PROBED, bytes=300000, count=1)
    running = daemon(fake, token_file=[token], probe_interval="300ms")
    running.wait_log(f"token {fingerprint(token)} is accepted")
    until(lambda: requests_of(fake, token) >= 4, "further probes")
    assert "tells nothing" not in running.log


# --- the file ---

BAD = {
    "empty": (b"", "token:1: offset 0"),
    "comments only": (b"# soon\n\n", "no token"),
    "binary": (bytes(range(1, 256)) * 10, "token:1: offset 0"),
    "two words": (b"good line\n", "token:1: offset 4"),
    "Bearer": (b"# x\nBearer TOKEN\n", "token:2: offset 0"),
    "CRLF": (b"TOKEN\r\n", "token:1: offset"),
    "byte order mark": (b"\xef\xbb\xbfTOKEN\n", "token:1: offset 0"),
    "NUL": (b"tok\0en\n", "token:1: offset 3"),
    "twice": (b"TOKEN\nTOKEN\n", "token:2: offset 0"),
    "nine": (b"".join(b"t%d\n" % i for i in range(9)), "token:9: offset 0"),
    "expires": (b"TOKEN expires=soon\n", "RFC 3339"),
    "large": (b"#" * 70000 + b"\nTOKEN\n", "has 7"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_displaces_nothing(daemon, fakeproof, vault, name):
    good, next_one = vault.token("good"), vault.token("next")
    fake = fakeproof([good, next_one])
    running = daemon(fake, token_file=[good])
    path = pathlib.Path(running.environments["production"]["token_file"])
    text, place = BAD[name]
    beside = path.with_suffix(".new")
    beside.write_bytes(text.replace(b"TOKEN", next_one.encode()))
    beside.chmod(0o640)
    beside.rename(path)
    running.wait_log(place)
    running.wait_log("stay in use")
    passed(running.get(UNKNOWN), 404)
    assert requests_of(fake, good) == 1
    running.set_tokens(next_one)
    running.wait_log("good again")
    passed(running.get(UNKNOWN), 404)


@pytest.mark.parametrize("mode,word", [(0o644, "0644"), (0o660, "0660"), (0o602, "0602")])
def test_a_loose_mode_is_named(daemon, fake, vault, token, mode, word):
    running = daemon(fake, token_file=[token])
    path = pathlib.Path(running.environments["production"]["token_file"])
    path.chmod(mode)
    running.wait_log(word, "chmod 0640")
    passed(running.get(UNKNOWN), 404)
    path.chmod(0o640)
    running.wait_log("good again")


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: os.mkfifo(p, 0o600), lambda p: None],
                         ids=["directory", "FIFO", "missing"])
def test_something_else_in_its_place(daemon, fake, token, make):
    running = daemon(fake, token_file=[token])
    path = pathlib.Path(running.environments["production"]["token_file"])
    path.unlink()
    make(path)
    running.wait_log("stay in use")
    passed(running.get(UNKNOWN), 404)


def test_absent_at_the_start(daemon, fake, token, tmp_path):
    path = tmp_path / "later" / "token"
    running = daemon(fake, token_file=str(path), process={"wait": False})
    running.wait_log("no such file")
    until(lambda: connectable(running), "it listens")
    refused(running.get(UNKNOWN), 503, code="proxy_no_token")
    path.parent.mkdir()
    running.write_tokens(path, [token])
    until(lambda: running.get(UNKNOWN).status == 404, "the new file is taken up")


def connectable(running):
    try:
        running.client().close()
        return True
    except OSError:
        return False


def test_written_in_place_bit_by_bit(daemon, fakeproof, vault):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old, new])
    running = daemon(fake, token_file=[old])
    path = running.environments["production"]["token_file"]
    with Load(running) as load, open(path, "r+") as file:
        load.more()
        file.truncate(0)
        for character in f"{new}\n{old}\n":
            file.write(character)
            file.flush()
        load.more()
    assert not load.failures
    running.wait_log(f"token {fingerprint(new)} is held now")
    assert requests_of(fake, old) > 0


def test_a_link_is_swapped_as_kubernetes_does_it(daemon, fakeproof, vault, tmp_path):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old, new])
    mount = tmp_path / "mount"
    for version, token in (("..1", old), ("..2", new)):
        (mount / version).mkdir(parents=True)
        (mount / version / "token").write_text(token + "\n")
        (mount / version / "token").chmod(0o640)
    (mount / "..data").symlink_to("..1")
    (mount / "token").symlink_to("..data/token")
    running = daemon(fake, token_file=str(mount / "token"))
    with Load(running) as load:
        load.more()
        (mount / "..data_tmp").symlink_to("..2")
        (mount / "..data_tmp").rename(mount / "..data")
        running.wait_log(f"token {fingerprint(new)} is held now")
        running.wait_log(f"token {fingerprint(old)} has left the file")
        load.more()
    assert not load.failures


def test_its_directory_is_replaced(daemon, fakeproof, vault, tmp_path):
    old, new, newest = vault.token("old"), vault.token("new"), vault.token("newest")
    fake = fakeproof([old, new, newest])
    folder = tmp_path / "secrets"
    folder.mkdir()
    path = folder / "token"
    path.write_text(old + "\n")
    path.chmod(0o640)
    running = daemon(fake, token_file=str(path))
    other = tmp_path / "other"
    other.mkdir()
    (other / "token").write_text(new + "\n")
    (other / "token").chmod(0o640)
    folder.rename(tmp_path / "away")
    other.rename(folder)
    running.wait_log(f"token {fingerprint(new)} is held now")
    running.write_tokens(path, [newest, new])  # the new directory is watched too
    running.wait_log(f"token {fingerprint(newest)} is held now")


def test_a_token_that_has_expired_goes_last(daemon, fakeproof, vault):
    expired, other = vault.token("expired"), vault.token("other")
    fake = fakeproof([expired, other])
    running = daemon(fake, token_file=[f"{expired} expires=2020-01-01T00:00:00Z", other])
    passed(running.get(UNKNOWN), 404)
    assert (requests_of(fake, expired), requests_of(fake, other)) == (0, 1)
    fake.tokens(expired)
    passed(running.get(UNKNOWN), 404)  # better than a 401
    assert requests_of(fake, expired) == 1


# --- the commands ---


def command(running, *arguments, text=""):
    done = subprocess.run([running.binary, "-c", running.config_file, *arguments], input=text, text=True,
                          capture_output=True, timeout=60)
    running.vault.saw(f"the output of {arguments}", done.stdout + done.stderr)
    return done


def test_add_and_retire(daemon, fakeproof, vault):
    old, new, unknown = vault.token("old"), vault.token("new"), vault.token("unknown")
    fake = fakeproof([old, new])
    running = daemon(fake, token_file=[old], probe_interval="60s")
    path = pathlib.Path(running.environments["production"]["token_file"])
    path.write_text(f"# ours since May\n\n{old} expires=2100-01-01T00:00:00Z # the old one")
    path.chmod(0o440)

    done = command(running, "token", "add", "production", text=f"{unknown}\n")
    assert (done.returncode, "401" in done.stderr) == (1, True), done
    assert unknown not in path.read_text()
    done = command(running, "token", "add", "production", text=f"Bearer {new}\n")
    assert (done.returncode, "Bearer" in done.stderr) == (1, True), done
    done = command(running, "token", "add", "production", text=f"  {new}\n")
    assert done.returncode == 0, done
    assert path.read_text() == f"# ours since May\n\n{new}\n{old} expires=2100-01-01T00:00:00Z # the old one"
    assert path.stat().st_mode & 0o7777 == 0o440
    running.wait_log(f"token {fingerprint(new)} carries the traffic now")
    done = command(running, "token", "add", "production", text=new)
    assert (done.returncode, "already" in done.stderr) == (1, True), done

    done = command(running, "token", "list", "production", "--json")
    listed = {token["fingerprint"]: token for token in json.loads(done.stdout)["tokens"]}
    assert listed[fingerprint(new)]["role"] == "current" and listed[fingerprint(new)]["verdict"] == "accepted"
    assert listed[fingerprint(old)]["role"] == "previous"
    assert fingerprint(old) in command(running, "token", "list", "production").stdout

    fake.tokens(old)  # the new one is dead: the old one must stay
    done = command(running, "token", "retire", "production")
    assert (done.returncode, "not retired" in done.stderr) == (1, True), done
    fake.tokens(old, new)
    done = command(running, "token", "retire", "production", "0123456789ab")
    assert (done.returncode, "holds no token" in done.stderr) == (1, True), done
    done = command(running, "token", "retire", "production")
    assert done.returncode == 0, done
    assert path.read_text() == f"# ours since May\n\n{new}\n"
    done = command(running, "token", "retire", "production")
    assert (done.returncode, "add the new one first" in done.stderr) == (1, True), done
    assert sorted(p.name for p in path.parent.iterdir() if p.name.startswith(".")) == []


def test_a_terminal_shows_again_what_is_typed(daemon, fake):
    """Also when whoever was asked for the token gives up."""
    running = daemon(fake)
    terminal, theirs = pty.openpty()
    try:
        asked = subprocess.Popen([running.binary, "-c", running.config_file, "token", "add", "production"],
                                 stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 # a shell's background, in which tests may run, ignores it
                                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        assert b"not shown" in asked.stderr.read(len(b"New token (not shown): "))
        assert not termios.tcgetattr(theirs)[3] & termios.ECHO
        asked.send_signal(signal.SIGINT)
        assert asked.wait(20) == -signal.SIGINT
        assert termios.tcgetattr(theirs)[3] & termios.ECHO
        asked.stderr.close()
    finally:
        os.close(terminal)
        os.close(theirs)


def test_a_command_is_as_closed_as_the_daemon(daemon, fake, token):
    """It holds tokens too: no core dump; and an answer cut short is an error, no silent death by SIGPIPE."""
    running = daemon(fake)
    asked = subprocess.Popen([running.binary, "-c", running.config_file, "token", "add", "production"],
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    proc = pathlib.Path("/proc", str(asked.pid))
    try:
        until(lambda: "pipe_read" in (proc / "wchan").read_text() or (proc / "stat").read_text().split()[2] == "S",
              "the command to wait for the token")
        limits = (proc / "limits").read_text()
        assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.M), limits
        ignored = int(re.search(r"^SigIgn:\s+([0-9a-f]+)$", (proc / "status").read_text(), re.M)[1], 16)
        assert ignored >> (signal.SIGPIPE - 1) & 1
    finally:
        said = asked.communicate(token, 20)[1]
    assert "already" in said


def test_add_without_a_trial(daemon, fakeproof, vault):
    old, later = vault.token("old"), vault.token("later")
    fake = fakeproof([old])
    running = daemon(fake, token_file=[old], probe_interval="60s")
    done = command(running, "token", "add", "production", "--force", "--expires", "2100-01-01T00:00:00Z", text=later)
    assert done.returncode == 0, done
    assert running.environments["production"]["token_file"] in done.stdout
    running.wait_log(f"token {fingerprint(later)} is refused")
    fake.tokens(old, later)
    running.wait_log(f"token {fingerprint(later)} carries the traffic now")


def test_off_the_allowlist_says_nothing_about_a_token(daemon, fakeproof, vault):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old, new])
    running = daemon(fake, token_file=[old])
    fake.control("POST", "/allow", {"ranges": ["10.0.0.0/8"]})
    done = command(running, "token", "add", "production", text=new)
    assert (done.returncode, "allowlist" in done.stderr) == (1, True), done


def test_a_link_is_not_edited(daemon, fakeproof, vault, tmp_path):
    old, new = vault.token("old"), vault.token("new")
    fake = fakeproof([old, new])
    (tmp_path / "real").write_text(old + "\n")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    running = daemon(fake, token_file=str(tmp_path / "link"))
    done = command(running, "token", "add", "production", "--force", text=new)
    assert (done.returncode, "symbolic link" in done.stderr) == (1, True), done
    assert (tmp_path / "real").read_text() == old + "\n"
