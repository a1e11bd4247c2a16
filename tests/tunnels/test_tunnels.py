"""Five thousand tunnels at once, held across ten reloads and two rotations; then ended politely, all of them."""
import os
import pathlib
import selectors
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import ca, certs, daemon, fakeproof, pytest_configure, token, vault  # noqa: F401: the fixtures are used
from harness.client import parse_head
from harness.expect import sanitized
from harness.waiting import PATIENCE
from harness.websocket import TEXT, close_frame, frame, upgrade

TUNNELS = int(os.environ.get("TUNNELS", "5000"))


def exchange(clients, question, expected, patience=120):
    """Every client says the question, and hears exactly what is expected; all at once."""
    selector = selectors.DefaultSelector()
    for client in clients:
        client.send(question)
        selector.register(client.sock, selectors.EVENT_READ, client)
    deadline = time.monotonic() + patience
    waiting = len(clients)
    while waiting:
        assert time.monotonic() < deadline, f"{waiting} tunnels do not answer"
        for key, _ in selector.select(1):
            client = key.data
            assert client.receive(), "a tunnel ended"
            if len(client.buffer) >= len(expected):
                assert client.take(len(client.buffer)) == expected
                selector.unregister(client.sock)
                waiting -= 1
    selector.close()


def open_all(running, count):
    clients = []
    for _ in range(count):
        client = running.client(patience=PATIENCE)
        client.vault = None
        client.send(upgrade())
        head = client.read_head()
        assert head is not None and parse_head(head)[0] == 101, head
        clients.append(client)
    return clients


def test_tunnels_live_through_reloads_and_rotations(daemon, fakeproof, vault, token):  # noqa: F811
    second, third = vault.token("second"), vault.token("third")
    fake = fakeproof([token, second, third])
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake, max_websockets=TUNNELS + 10, websocket_retire_delay="1h",
                     settings={"drain_timeout": "60s", "log": {"access": False}})
    one = open_all(running, 1)
    before, opened = running.memory(), len(running.descriptors())
    clients = open_all(running, TUNNELS)
    hello = (frame(TEXT, b"hello", masked=True), frame(TEXT, b"hello"))
    exchange(clients, *hello)
    each = (running.memory() - before) / TUNNELS
    if not sanitized(running.binary):
        assert each < 25 * 1024, f"{each / 1024:.1f} KiB per tunnel"

    held = {0: [token], 3: [second, token], 5: [second], 7: [third, second], 9: [third]}
    for i in range(10):
        if i in held:
            running.set_tokens(*held[i])
        running.environments["production"]["request_timeout"] = f"{20 + i}s"
        running.write_config()
        running.reload()
        exchange(clients[i * TUNNELS // 10:(i + 1) * TUNNELS // 10], *hello)
    exchange(clients, *hello)
    fresh = open_all(running, 5)
    exchange(fresh, *hello)

    # Now the retired tokens' tunnels are to go: everybody but those opened last.
    running.environments["production"]["websocket_retire_delay"] = "1s"
    running.write_config()
    running.reload()
    retired = b"\x88\x0f\x03\xf4token retired"
    exchange(one + clients, b"", retired)
    for client in one + clients:
        client.send(close_frame(1012, masked=True))
    for client in one + clients:
        assert client.at_end(), client.buffer
        client.close()
    exchange(fresh, *hello)
    running.settled_descriptors(opened + 20, "after the tunnels' end")
    for client in fresh:
        client.close()
