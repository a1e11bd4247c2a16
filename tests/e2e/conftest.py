"""Fixtures of the end-to-end tests. PROOFPROXY_BUILD is the folder with the programs under test, build/ by default."""
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness.daemon import Daemon
from harness.fake import Fakeproof
from harness.upstream import Upstream
from harness.users import User
from harness.vault import Vault

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PROOFPROXY_BUILD", ROOT / "build")).resolve()
BINARY, FAKEPROOF = BUILD / "proofproxy", BUILD / "fakeproof"


def pytest_configure(config):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for program in (BINARY, FAKEPROOF):
        if not program.exists():
            raise pytest.UsageError(f"{program} is missing: run make first")


@pytest.fixture(scope="session", autouse=True)
def descriptors():
    """The tests close what they open: those that come late must find as many descriptors as the first."""
    yield
    left = len(os.listdir("/proc/self/fd"))
    assert left < 200, f"{left} descriptors are open after the last test"


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certs")
    subprocess.run([ROOT / "tests/certs/make-certs", directory], check=True)
    return directory


@pytest.fixture
def vault():
    """The test's secrets. Asked for last, it is checked when everything else has ended."""
    vault = Vault()
    yield vault
    problems = vault.problems()
    assert not problems, "\n".join(problems)


@pytest.fixture
def token(vault):
    return vault.token()


@pytest.fixture
def fakeproof(certs, token):
    """A factory of fake APIs; each knows the test's token unless told others."""
    started = []

    def start(tokens=None, **options):
        fake = Fakeproof(FAKEPROOF, certs, [token] if tokens is None else tokens, **options)
        started.append(fake)
        return fake

    yield start
    for fake in started:
        fake.close()


@pytest.fixture
def fake(fakeproof):
    return fakeproof()


@pytest.fixture
def raw_upstream(certs):
    """A factory of scripted upstreams."""
    started = []

    def start(tls=True, **options):
        upstream = Upstream(certs if tls else None, **options)
        started.append(upstream)
        return upstream

    yield start
    for upstream in started:
        upstream.close()


@pytest.fixture
def daemon(tmp_path, vault, token, certs):
    """A factory of daemons. daemon(upstream, KEY=VALUE …) is one environment in front of something that has a `url`;
    daemon(environments={…}) any number of them. `process` holds what is for the process and not for the config."""
    started = []

    def start(upstream=None, environments=None, settings=None, process=None, **keys):
        if environments is None:
            if upstream is not None:
                keys.setdefault("base_url", upstream.url)
            keys.setdefault("token_file", [token])
            if keys["base_url"].startswith("https"):
                keys["tls"] = {"ca_file": f"{certs}/ca.crt", **keys.get("tls", {})}
            environments = {"production": keys}
        directory = tmp_path / f"daemon{len(started)}"
        directory.mkdir()
        running = Daemon(BINARY, directory, vault, environments, settings, **(process or {}))
        started.append(running)
        return running

    yield start
    errors = []
    for running in started:
        try:
            running.finish()
        except AssertionError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def ca(certs):
    return f"{certs}/ca.crt"


@pytest.fixture
def stranger():
    """A user who is neither root nor ours, without an account in any group but its own."""
    return User.named("nobody")


@pytest.fixture
def open_directory():
    """A folder that every user can enter, as the others below pytest's cannot be."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="proofproxy-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
