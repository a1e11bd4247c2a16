"""The Debian package from its installation to its purge, in this order, as an operator does it."""
import os
import pathlib
import pwd
import subprocess

import pytest
from conftest import CONFDIR, systemctl, until

PACKAGE = os.environ["PACKAGE"]
CONFIG = CONFDIR / "proofproxy.conf"


def dpkg(*arguments):
    done = subprocess.run(["dpkg", *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def has_user():
    try:
        pwd.getpwnam("proofproxy")
        return True
    except KeyError:
        return False


def newer(tmp_path):
    """The same package with a higher version and another sample config."""
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-R", PACKAGE, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 9:"))
    sample = tree / "etc/proofproxy/proofproxy.conf"
    sample.write_text(sample.read_text() + "\n# A new sample.\n")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, tmp_path / "newer.deb"], check=True,
                   stdout=subprocess.DEVNULL)
    return str(tmp_path / "newer.deb")


BEFORE = set()


def files_named_after_it():
    """Every file with its name where packages and services leave theirs, but for logs."""
    found = subprocess.run(["find", "/etc", "/lib", "/run", "/usr", "/var", "(", "-path", "/run/out", "-o", "-path",
                            "/run/systemd", "-o", "-path", "/var/log", ")", "-prune", "-o", "-name", "*proofproxy*",
                            "-print"], capture_output=True, text=True, check=False).stdout
    return set(found.splitlines())


def test_installed_nothing_runs(service_is_absent):
    BEFORE.update(files_named_after_it())
    dpkg("--install", PACKAGE)
    assert has_user()
    state = CONFDIR.stat()
    assert (state.st_mode & 0o777, state.st_uid, state.st_gid) == (0o750, 0, pwd.getpwnam("proofproxy").pw_gid)
    for unit in ("proofproxy.service", "proofproxy.socket"):
        assert systemctl("is-enabled", unit, check=False).stdout.strip() == "disabled"
        assert systemctl("is-active", unit, check=False).stdout.strip() == "inactive"
    assert subprocess.run(["dpkg", "--verify", "proofproxy"], capture_output=True, text=True, check=True).stdout == ""
    help_text = subprocess.run(["proofproxy", "-h"], capture_output=True, text=True, check=True).stdout
    assert "/etc/proofproxy/proofproxy.conf" in help_text


def test_configured_and_enabled_it_serves(service):
    systemctl("enable", "--now", "proofproxy")
    assert service.calls_work()
    for command in (["check"], ["status"], ["wait", "--max", "5s"]):
        subprocess.run(["proofproxy", *command], check=True, stdout=subprocess.DEVNULL)


def test_an_upgrade_keeps_the_config_and_restarts_what_ran(service, tmp_path):
    systemctl("start", "proofproxy")
    pid, config = service.pid, CONFIG.read_text()
    dpkg("--force-confold", "--install", newer(tmp_path))
    assert CONFIG.read_text() == config
    until(lambda: service.pid not in (0, pid), "a restart by the upgrade")
    assert service.calls_work()


def test_an_upgrade_starts_nothing_that_was_stopped(service, tmp_path):
    systemctl("disable", "--now", "proofproxy")
    dpkg("--force-confold", "--install", newer(tmp_path))
    assert systemctl("is-active", "proofproxy", check=False).stdout.strip() == "inactive"


def test_removed_it_is_stopped_and_the_config_stays(service):
    systemctl("enable", "--now", "proofproxy")
    pid = service.pid
    dpkg("--remove", "proofproxy")
    assert not pathlib.Path(f"/proc/{pid}").exists()
    assert CONFIG.exists() and (CONFDIR / "production.token").exists()
    assert not pathlib.Path("/usr/sbin/proofproxy").exists()


def test_purged_nothing_is_left(service_is_absent):
    (CONFDIR / "production.token").write_text("left-over-of-an-operator\n")
    dpkg("--purge", "proofproxy")
    assert not has_user()
    assert files_named_after_it() - BEFORE == set()


@pytest.fixture
def service_is_absent():
    """No daemon runs before, and none after."""
    def running():
        return subprocess.run(["pgrep", "-x", "proofproxy"], capture_output=True, check=False).returncode == 0

    assert not running()
    yield
    assert not running()
