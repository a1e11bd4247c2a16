"""The machine booted for the test: its service, its fake Proof, its clients."""
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "e2e"))

from harness import config  # noqa: E402
from harness.client import Client  # noqa: E402
from harness.fake import Fakeproof  # noqa: E402
from harness.vault import Vault  # noqa: E402

CONFDIR = pathlib.Path(os.environ.get("CONFDIR", "/etc/proofproxy"))
DROP_INS = pathlib.Path("/run/systemd/system/proofproxy.service.d")
PATIENCE = 20.0


def systemctl(*arguments, check=True, timeout=90):
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"systemctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done


def until(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen in {patience} s"
        time.sleep(0.02)


class Service:
    """proofproxy.service as installed, with a config of the test's."""

    def __init__(self, upstream, token):
        self.upstream, self.token = upstream, token

    def environment(self, port=8780, **keys):
        return {"base_url": self.upstream.url, "listen": [f"127.0.0.1:{port}"], "probe_interval": "0s",
                "token_file": f"{CONFDIR}/production.token", "tls": {"ca_file": f"{CONFDIR}/ca.crt"}, **keys}

    def configure(self, settings=None, **environments):
        environments = environments or {"production": self.environment()}
        self.write(CONFDIR / "proofproxy.conf", config.text(
            {"workers": 2, "drain_timeout": "10s", **(settings or {}), "environments": environments}))

    @staticmethod
    def write(path, text, mode=0o640):
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text)
        os.chmod(fresh, mode)
        subprocess.run(["chown", "root:proofproxy", fresh], check=True)
        os.replace(fresh, path)

    def write_token(self, *tokens):
        self.write(CONFDIR / "production.token", "".join(f"{t}\n" for t in tokens or (self.token,)))

    @staticmethod
    def drop_in(text):
        DROP_INS.mkdir(parents=True, exist_ok=True)
        (DROP_INS / "test.conf").write_text(text)
        systemctl("daemon-reload")

    @staticmethod
    def show(name, unit="proofproxy.service"):
        return systemctl("show", "--value", "-p", name, unit).stdout.strip()

    @property
    def pid(self):
        return int(self.show("MainPID"))

    @staticmethod
    def journal(*arguments):
        subprocess.run(["journalctl", "--sync"], check=True)
        return subprocess.run(["journalctl", "-u", "proofproxy.service", "--no-pager", *arguments], capture_output=True,
                              text=True, check=True).stdout

    @staticmethod
    def get(target="/widget/transactions/00000000-0000-0000-0000-000000000000", port=8780):
        with Client(("127.0.0.1", port)) as client:
            return client.get(target, fields=["Connection: close"])

    def calls_work(self, port=8780):
        """The call arrives with the token attached: only an accepted caller hears that this transaction is unknown."""
        answer = self.get(port=port)
        assert answer is not None and answer.status == 404, answer
        assert answer.field("Proxy-Status") is None, answer
        return True


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certs")
    subprocess.run([TESTS / "certs/make-certs", directory], check=True)
    return directory


@pytest.fixture
def service(certs):
    """Configured, not started; whatever a test does to it is undone."""
    vault = Vault()
    token = vault.token()
    upstream = Fakeproof(pathlib.Path(os.environ["FAKEPROOF"]), certs, [token])
    running = Service(upstream, token)
    CONFDIR.mkdir(exist_ok=True)
    running.write(CONFDIR / "ca.crt", (certs / "ca.crt").read_text())
    running.write_token()
    running.configure()
    yield running
    systemctl("stop", "proofproxy.socket", "proofproxy.service", check=False)
    systemctl("reset-failed", "proofproxy.socket", "proofproxy.service", check=False)
    (DROP_INS / "test.conf").unlink(missing_ok=True)
    systemctl("daemon-reload")
    upstream.close()
    journal = running.journal()
    assert token not in journal
    assert not re.search(r"AddressSanitizer|runtime error|ThreadSanitizer|assert", journal), journal
    for name in ("production.token", "proofproxy.conf", "ca.crt"):
        (CONFDIR / name).unlink(missing_ok=True)
