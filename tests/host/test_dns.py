"""A name server that never answers: whoever needs it waits its time, nobody else waits at all."""
import os
import pathlib
import socket
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import (  # noqa: F401: the fixtures are used
    ca, certs, daemon, fake, fakeproof, pytest_configure, token, vault,
)
from harness.admin import ask
from harness.client import request
from harness.expect import passed, refused

TARGET = "/widget/transactions/x"


@pytest.fixture
def silence():
    """A name server that hears and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        # An address of its own: other tests, and a resolver of the host, may use port 53 too.
        server.bind((f"127.91.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}", 53))
        yield server


def asked(server, patience=10):
    """Waits until somebody has asked it."""
    server.settimeout(patience)
    return server.recv(512)


@pytest.fixture
def hanging(daemon, fake, silence, tmp_path, token, ca):
    """A daemon that asks it for one environment's host, and needs nobody for the other's."""
    (tmp_path / "resolv.conf").write_text(f"nameserver {silence.getsockname()[0]}\noptions timeout:30 attempts:5\n")
    (tmp_path / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    mounts = " && ".join(f'mount --bind "{tmp_path}/{name}" /etc/{name}' for name in ("resolv.conf", "nsswitch.conf"))
    wrapper = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c",
               f'{mounts} && exec "$@"', "sh"]
    common = {"token_file": [token], "connect_timeout": "1s", "tls": {"ca_file": ca}, "retries": {"attempts": 1}}
    return daemon(environments={
        "good": {"base_url": fake.url, **common},
        "stuck": {"base_url": "https://api.nobody-answers.test", **common},
    }, process={"wrapper": wrapper})


def test_the_timeout_is_kept(hanging, silence):
    begin = time.monotonic()
    refused(hanging.get(TARGET, environment="stuck"), 504, "proxy_timeout", sent="no")
    assert 0.9 < time.monotonic() - begin < 2.5
    assert b"nobody-answers" in asked(silence)


def test_others_do_not_wait(hanging, silence):
    """Twenty calls hang in the same worker, and the other environment answers as if they were not there."""
    answers = []

    def stuck():
        answers.append(hanging.get(TARGET, environment="stuck"))

    passed(hanging.get(TARGET, environment="good"), 404)
    threads = [threading.Thread(target=stuck) for _ in range(20)]
    for thread in threads:
        thread.start()
    asked(silence)
    slowest = served = 0
    while any(thread.is_alive() for thread in threads):
        begin = time.monotonic()
        passed(hanging.get(TARGET, environment="good"), 404)
        assert ask(hanging, "/livez").status == 200
        slowest = max(slowest, time.monotonic() - begin)
        served += 1
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    for answer in answers:
        refused(answer, 504, "proxy_timeout", sent="no")
    assert served >= 3 and slowest < 0.8, f"{served} calls, the slowest took {slowest:.2f} s"


def test_a_client_that_leaves_meanwhile(hanging, silence):
    with hanging.client("stuck") as client:
        client.send(request(TARGET))
        asked(silence)
        client.reset()
    passed(hanging.get(TARGET, environment="good"), 404)


def test_a_reload_meanwhile(hanging, silence):
    with hanging.client("stuck") as client:
        client.send(request(TARGET))
        asked(silence)
        hanging.environments["stuck"]["base_url"] = hanging.environments["good"]["base_url"]
        hanging.write_config()
        begin = time.monotonic()
        hanging.reload()
        assert time.monotonic() - begin < 1
        passed(hanging.get(TARGET, environment="stuck"), 404)
        assert client.response().status in (404, 504)  # by the new way, or at the end of its time on the old one


def test_a_stop_meanwhile(hanging, silence):
    """The lookups' threads keep nobody: the drain waits for the request's own end, and not for the resolver's."""
    clients = [hanging.client("stuck") for _ in range(5)]
    for client in clients:
        client.send(request(TARGET))
    asked(silence)
    begin = time.monotonic()
    assert hanging.terminate() == 0
    assert time.monotonic() - begin < 3
    for client in clients:
        refused(client.response(), 504, "proxy_timeout", sent="no")
        client.close()
