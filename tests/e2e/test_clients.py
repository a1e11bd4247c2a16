"""Real clients, as apps use them, with nothing but the base URL changed."""
import asyncio
import http.client
import json
import shutil
import subprocess
import urllib.request

import aiohttp
import h11
import pytest

SESSION = {"partner_user_id": "u1", "user_email": "a@b.c", "network": "TRC20", "currency": "USDT", "amount": "10.5"}


@pytest.fixture
def running(daemon, fake):
    return daemon(fake)


def run(vault, *command, data=None):
    done = subprocess.run(command, input=data, capture_output=True, timeout=60)
    vault.saw(command[0], done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def curl(vault, *arguments, data=None):
    return run(vault, "curl", "-sS", "--noproxy", "*", "--max-time", "30", *arguments, data=data)


def test_curl(running, vault, fake):
    answer = json.loads(curl(vault, "-d", json.dumps(SESSION), f"{running.url}/widget/session"))
    assert len(answer["signature"]) == 3 + 128
    transaction = answer["merchant_transaction_id"]
    both = curl(vault, f"{running.url}/widget/transactions/{transaction}", f"{running.url}/widget/users/u1/kyc-status")
    assert '"status":"pending"' in both and '"status":"not_started"' in both
    head = curl(vault, "-I", f"{running.url}/widget/transactions/{transaction}")
    assert head.startswith("HTTP/1.1 200") and "X-Request-Id: req_" in head
    assert fake.stats()["connections"] < 10


def test_curl_uploads(running, vault, fake, tmp_path):
    body = bytes(range(256)) * 2000
    fake.fault("echo", count=0)
    for how in (["--data-binary", "@-"], ["-T", "-"], ["-H", "Transfer-Encoding: chunked", "--data-binary", "@-"],
                ["-H", "Expect: 100-continue", "--data-binary", "@-"], ["--http1.0", "--data-binary", "@-"]):
        out = tmp_path / "out"
        curl(vault, *how, "-o", str(out), f"{running.url}/widget/a", data=body)
        assert out.read_bytes() == body, how


def test_curl_over_a_unix_socket(daemon, fake, vault, tmp_path):
    path = tmp_path / "s"
    daemon(fake, listen=[f"unix:{path}"])
    answer = curl(vault, "--unix-socket", str(path), "-d", json.dumps(SESSION), "http://proof/widget/session")
    assert json.loads(answer)["merchant_transaction_id"]


def test_curl_sees_a_truncated_answer(running, fake):
    fake.fault("large", bytes=4 << 20, after=2 << 20)
    done = subprocess.run(["curl", "-sS", "-o", "/dev/null", f"{running.url}/widget/a"], capture_output=True,
                          timeout=60)
    assert done.returncode in (18, 56), done.stderr


def test_netcat_half_closes(running, vault):
    answer = run(vault, "nc", "-N", "127.0.0.1", str(running.port),
                 data=b"GET /widget/transactions/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith("HTTP/1.1 404") and '"not_found"' in answer


def test_python_http_client(running, vault):
    connection = http.client.HTTPConnection("localhost", running.port, timeout=30)
    for _ in range(3):
        connection.request("POST", "/widget/session", json.dumps(SESSION), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        vault.saw("http.client", body)
        assert response.status == 200 and json.loads(body)["widget_id"]
    connection.request("POST", "/widget/session", iter([json.dumps(SESSION).encode()]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    response = connection.getresponse()
    assert response.status == 200 and response.read()
    connection.close()


def test_python_urllib(running):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{running.url}/widget/session", json.dumps(SESSION).encode(), timeout=30) as response:
        assert json.load(response)["merchant_transaction_id"]


def test_aiohttp(running):
    async def main():
        async with aiohttp.ClientSession() as session:
            async def one(n):
                async with session.post(f"{running.url}/widget/session",
                                        json={**SESSION, "partner_user_id": f"u{n}"}) as r:
                    assert r.status == 200
                    transaction = (await r.json())["merchant_transaction_id"]
                async with session.get(f"{running.url}/widget/transactions/{transaction}") as r:
                    assert (await r.json())["partner_user_id"] == f"u{n}"

            await asyncio.gather(*[one(n) for n in range(60)])

    asyncio.run(main())


NODE = """
const base = process.argv[1];
const session = { partner_user_id: 'u1', user_email: 'a@b.c', network: 'TRC20', currency: 'USDT', amount: '10.5' };
async function one() {
    const made = await fetch(base + '/widget/session', {
        method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(session) });
    const id = (await made.json()).merchant_transaction_id;
    const seen = await fetch(base + '/widget/transactions/' + id);
    return (await seen.json()).status;
}
Promise.all(Array.from({ length: 20 }, one)).then((all) => console.log(JSON.stringify(all)));
"""


def test_node_fetch(running, vault):
    node = shutil.which("node") or shutil.which("nodejs")
    assert node, "the package nodejs has it"
    # Node's fetch marks its calls with Sec-Fetch-Mode, but sends neither Origin nor Sec-Fetch-Site.
    assert json.loads(run(vault, node, "-e", NODE, running.url)) == ["pending"] * 20


def test_node_agent_keep_alive(running, vault):
    script = """
    const http = require('http');
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
    let left = 30;
    for (let i = 0; i < 30; i++) {
        http.get(process.argv[1] + '/widget/transactions/x', { agent }, (r) => {
            r.resume();
            r.on('end', () => {
                if (r.statusCode !== 404) process.exit(3);
                if (--left === 0) { agent.destroy(); console.log('done'); }
            });
        });
    }
    """
    node = shutil.which("node") or shutil.which("nodejs")
    assert run(vault, node, "-e", script, running.url).strip() == "done"


def test_h11_reads_our_answers(running):
    """A strict parser that shares no code with us agrees with every byte of head and framing."""
    parser = h11.Connection(h11.CLIENT)
    with running.client() as client:
        for _ in range(3):
            client.send(parser.send(h11.Request(method="GET", target="/widget/transactions/x",
                                                headers=[("Host", "localhost")])))
            client.send(parser.send(h11.EndOfMessage()) or b"")
            body, status = b"", None
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    parser.receive_data(client.sock.recv(65536))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
            assert status == 404 and json.loads(body)["error"] == "not_found"
            parser.start_next_cycle()
