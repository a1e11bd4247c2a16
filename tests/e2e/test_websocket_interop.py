"""WebSocket tunnels between implementations: npm's ws and Python's websockets on either side, Chromium kept out."""
import asyncio
import http.server
import json
import os
import pathlib
import subprocess
import threading

import pytest
import websockets

from harness.browser import Browser

PEER = pathlib.Path(__file__).with_name("ws_peer.js")
SIZES = [0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20]


def node(*arguments):
    environ = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}
    return subprocess.Popen(["node", str(PEER), *map(str, arguments)], stdout=subprocess.PIPE, env=environ, text=True)


class NodeServer:
    """ws as the upstream."""

    def __init__(self, certs):
        self.process = node("server", f"{certs}/good.crt", f"{certs}/good.key")
        self.url = f"https://127.0.0.1:{self.said()['port']}"

    def said(self):
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def node_server(certs):
    server = NodeServer(certs)
    yield server
    server.close()


def run_client(running, deflate):
    done = node("client", f"ws://127.0.0.1:{running.port}/ws", "true" if deflate else "false")
    out, _ = done.communicate(timeout=60)
    said = [json.loads(line) for line in out.splitlines()]
    assert len(said) == 1 and "error" not in said[0], said
    return said[0]


@pytest.mark.parametrize("deflate", [True, False])
def test_ws_on_both_sides(daemon, node_server, deflate):
    running = daemon(node_server)
    said = run_client(running, deflate)
    assert said["echoed"] == SIZES and said["pongs"] == 1
    assert (said["code"], said["reason"]) == (4000, "enough")
    assert said["protocol"] == "v1.proof"
    assert ("permessage-deflate" in said["extensions"]) == deflate
    opened, closed = node_server.said(), node_server.said()
    assert opened == {"authorized": True, "extensions": said["extensions"]}
    assert closed == {"code": 4000, "reason": "enough"}
    assert '"end":"client_closed"' in (line := running.wait_log('"event":"websocket_end"')) or "upstream_closed" in line


@pytest.mark.parametrize("compression", ["deflate", None])
def test_python_to_ws(daemon, node_server, compression):
    running = daemon(node_server)

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{running.port}/ws", compression=compression, max_size=None,
                                      subprotocols=["v1.proof"]) as ws:
            assert ws.subprotocol == "v1.proof"
            for size in SIZES:
                await ws.send(bytes(size))
                assert await ws.recv() == bytes(size)
            await ws.send(["one ", "two ", "three"])
            assert await ws.recv() == "one two three"
            await (await ws.ping())
            await ws.close(4001, "done")

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert node_server.said()["authorized"]
    assert node_server.said() == {"code": 4001, "reason": "done"}


PAGE = b"""<!DOCTYPE html><title>page</title><p id=p>nothing yet</p><script>
const ws = new WebSocket("ws://127.0.0.1:%d/ws");
function tell(what) { document.getElementById("p").textContent = what; fetch("/told"); }
ws.onopen = () => tell("it opened");
ws.onerror = () => tell("it failed");
</script><img src="/wait">"""


@pytest.mark.parametrize("listed", [False, True])
def test_a_page_in_a_browser_is_kept_out(daemon, fake, tmp_path, listed):
    """Browsers let every page open WebSockets to this host, and say which page it was: that is what refuses them."""
    told = threading.Event()

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/told":
                told.set()
            elif self.path == "/wait":
                told.wait(20)  # the document is not loaded before
            body = PAGE % running.port if self.path == "/" else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        origin = f"http://127.0.0.1:{pages.server_port}"
        fake.fault("ws", echo=True, count=0)
        running = daemon(fake, allowed_origins=[origin] if listed else [])
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        document, _ = Browser(tmp_path).dom(f"{origin}/")
        pages.shutdown()
    assert ("it opened" if listed else "it failed") in document, document
    assert bool(fake.heads("/ws")) == listed
    for head in fake.heads("/ws"):
        assert b"origin:" not in head.lower()
