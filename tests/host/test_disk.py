"""A full disk: under the token file, where an edit must leave the old file whole and a half-written one must not
displace a good token; and under the log."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import (  # noqa: F401: the fixtures are used
    BINARY, ca, certs, daemon, fake, fakeproof, pytest_configure, token, vault,
)
from harness.admin import ask, command
from harness.expect import passed
from harness.vault import fingerprint
from harness.waiting import until

TARGET = "/widget/transactions/x"
PAGE = 4096


@pytest.fixture
def small(tmp_path):
    """A wrapper in whose view there is a disk of 32 pages at this path; seen from outside by way of /proc."""
    path = tmp_path / "small"
    path.mkdir()
    wrapper = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c",
               f'mount -t tmpfs -o size={32 * PAGE},mode=0750 none "{path}" && cat "{path}.token" >"{path}/a.token" '
               f'&& chmod 640 "{path}/a.token" && exec "$@"', "sh"]
    return path, wrapper


class Disk:
    def __init__(self, daemon, path):
        self.daemon, self.path = daemon, path
        self.inside = pathlib.Path(f"/proc/{daemon.pid}/root{path}")
        self.file = self.inside / "a.token"

    def fill(self, leave=0):
        """Takes every page but so many."""
        with open(self.inside / "filler", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(PAGE))
            except OSError:
                pass
            f.truncate(f.tell() - leave * PAGE)

    def free(self):
        (self.inside / "filler").unlink()

    def command(self, *arguments, stdin=None):
        """A command of ours in the daemon's view of the file system."""
        done = subprocess.run(["nsenter", "--mount", "--target", str(self.daemon.pid), str(BINARY), "-c",
                               self.daemon.config_file, *arguments], capture_output=True, text=True, input=stdin,
                              timeout=40, check=False)
        self.daemon.vault.saw(f"the output of {arguments[0]}", done.stdout + done.stderr)
        return done

    def names(self):
        return sorted(p.name for p in self.inside.iterdir())


@pytest.fixture
def disk(daemon, fake, small, token):
    path, wrapper = small
    pathlib.Path(f"{path}.token").write_text(f"# ours\n{token}\n")
    return Disk(daemon(fake, token_file=f"{path}/a.token", process={"wrapper": wrapper}), path)


def environment(disk):
    return ask(disk.daemon, "/status").json["environments"][0]


def held(disk):
    return {t["fingerprint"] for t in environment(disk)["tokens"] if t["in_file"]}


def test_add_on_a_full_disk(disk, vault, token):
    before = disk.file.read_bytes()
    disk.fill()
    done = disk.command("token", "add", "production", "--force", stdin=vault.token("new") + "\n")
    assert done.returncode == 1 and "No space left on device" in done.stderr, done
    assert disk.file.read_bytes() == before and disk.names() == ["a.token", "filler"]
    passed(disk.daemon.get(TARGET), 404)
    assert held(disk) == {fingerprint(token)}


def test_retire_on_a_full_disk(disk, vault, token):
    older = vault.token("older")
    disk.file.write_text(f"{token}\n{older}\n")
    until(lambda: held(disk) == {fingerprint(token), fingerprint(older)}, "both are held")
    disk.fill()
    done = disk.command("token", "retire", "production", fingerprint(older))
    assert done.returncode == 1 and "No space left on device" in done.stderr, done
    assert disk.file.read_text() == f"{token}\n{older}\n" and disk.names() == ["a.token", "filler"]
    disk.free()
    done = disk.command("token", "retire", "production", fingerprint(older))
    assert done.returncode == 0, done
    assert disk.file.read_text() == f"{token}\n"


def test_a_writer_that_was_left_with_an_empty_file(disk, vault, token):
    """It truncates the file, has no room for the new text, and goes away."""
    disk.fill()
    with open(disk.file, "wb", buffering=0) as f:
        disk_was_freed = os.statvfs(disk.inside).f_bfree  # by the truncation itself
        with open(disk.inside / "filler", "ab", buffering=0) as filler:
            filler.write(bytes(PAGE * disk_was_freed))
        with pytest.raises(OSError):
            f.write(b"new\n")
    until(lambda: environment(disk)["token_file"]["stale_since"], "the alarm")
    passed(disk.daemon.get(TARGET), 404)
    assert not disk.daemon.records()[-1].get("attempts", 1) > 1
    new = vault.token("new")
    disk.free()
    disk.file.write_text(f"{new}\n{token}\n")
    until(lambda: held(disk) == {fingerprint(new), fingerprint(token)}, "the good file is taken up")
    assert environment(disk)["token_file"]["stale_since"] is None


def test_a_token_cut_in_the_middle(disk, vault, token):
    """Half a token looks like a token. It is tried, refused, and the good one goes on."""
    new = vault.token("new")
    comment = "#" + "x" * (PAGE - len(new) // 2 - 2) + "\n"
    disk.fill()
    with open(disk.file, "r+b", buffering=0) as f:  # over its first page, which it has; the second is not to be had
        written = f.write(f"{comment}{new}\n".encode())
    assert written == PAGE
    until(lambda: fingerprint(token) not in held(disk) and held(disk), "the file is read")
    for _ in range(5):
        passed(disk.daemon.get(TARGET), 404)
    tokens = {t["fingerprint"]: t for t in environment(disk)["tokens"]}
    assert tokens[fingerprint(token)]["verdict"] == "accepted", "the good one is kept as a fallback"
    assert next(iter(held(disk))) not in (fingerprint(new), fingerprint(token))


def test_a_log_on_a_full_disk(daemon, fake):
    """Lines are lost, calls are not."""
    running = daemon(fake, process={"wrapper": ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]})
    for _ in range(20):
        passed(running.get(TARGET), 404)
    running.reload()
    assert command(running, "status").returncode == 0
    assert running.log == ""
