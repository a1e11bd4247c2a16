"""Memory at rest, per idle client and per idle WebSocket; what thousands of open WebSockets add to the cost of work."""
import contextlib
import socket
import time

from parts import say
from peers import BUILD, NAMES, TOKEN, good, wrk

from harness.client import Client
from harness.fake import Fakeproof
from harness.websocket import TEXT, frame, upgrade

IDLE = 2000
STEPS = (1, 1000, 5000)  # open tunnels
AT_ONCE = 32  # WebSocket messages under way
MESSAGE = frame(TEXT, b"m" * 64, masked=True)
ECHO = frame(TEXT, b"m" * 64)
KYC = "/widget/users/u1/kyc-status"


def idle_clients(bench, options):
    """Resident KiB at rest, and per client that had its answer and stays."""
    count = 200 if options.quick else IDLE
    results = {}
    upstream = bench.upstream()
    try:
        for name in NAMES:
            program = bench.proxy(name, upstream.port)
            clients = []
            try:
                time.sleep(1)
                at = [program.resident()]
                for _ in range(2):
                    for _ in range(count):
                        client = Client(("127.0.0.1", program.port))
                        clients.append(client)
                        if client.get("/widget/small").status != 200:
                            raise AssertionError(f"{name} did not serve")
                    time.sleep(0.5)
                    at.append(program.resident())
                results[name] = {"rest_kib": at[0], "client_kib": (at[2] - at[1]) / count,
                                 "first_client_kib": (at[1] - at[0]) / count}
            finally:
                for client in clients:
                    client.close()
                program.end()
        say("memory: idle clients")
    finally:
        upstream.end()
    return results


def open_tunnels(program, clients, until):
    while len(clients) < until:
        client = Client(("127.0.0.1", program.port))
        clients.append(client)
        client.send(upgrade())
        response = client.response()
        if response is None or response.status != 101:
            raise AssertionError(f"{program.name} opened no tunnel: {response}")
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def exchange(program, clients, seconds):
    """CPU microseconds per WebSocket message that went there and came back, over all tunnels in turn."""
    before, end, done, at = program.cpu(), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        some = [clients[(at + i) % len(clients)].sock for i in range(min(AT_ONCE, len(clients)))]
        at += len(some)
        for s in some:
            s.sendall(MESSAGE)
        for s in some:
            got = b""
            while len(got) < len(ECHO):
                more = s.recv(len(ECHO) - len(got))
                if not more:
                    raise AssertionError(f"{program.name} cut a tunnel")
                got += more
            if got != ECHO:
                raise AssertionError(f"{program.name}: a wrong echo")
        done += len(some)
    program.forget_logs()
    return (program.cpu() - before) * 1e6 / done


def tunnels(bench, options):
    """Steps of open tunnels: memory, CPU per message over them, CPU per HTTP request beside them."""
    steps = (1, 100) if options.quick else [n for n in STEPS if 3 * n + 1000 <= bench.files]
    results = []
    with contextlib.ExitStack() as stack:
        programs, clients = {}, {}
        for name in NAMES:
            fake = Fakeproof(BUILD / "fakeproof", bench.certs, [TOKEN])
            stack.callback(fake.close)
            fake.fault("ws", echo=True, count=0)
            fake.control("POST", "/kyc", {"user": "u1", "status": "verified"})
            programs[name] = bench.proxy(name, fake.port)
            stack.callback(programs[name].end)
            clients[name] = []
        stack.callback(lambda: [c.close() for some in clients.values() for c in some])
        for step in steps:
            result = {"tunnels": step, "kib": {}, "message_us": {n: [] for n in NAMES}, "runs": {n: [] for n in NAMES}}
            for name in NAMES:
                open_tunnels(programs[name], clients[name], step)
            time.sleep(2)
            for name in NAMES:
                result["kib"][name] = programs[name].resident()
            for turn in range(min(options.rounds, 3) + 1):
                for name in NAMES:
                    message = exchange(programs[name], clients[name], 1)
                    figures = good(wrk(programs[name], KYC, 32, 1), name)
                    if turn > 0:
                        result["message_us"][name].append(message)
                        result["runs"][name].append(figures)
            results.append(result)
            say(f"tunnels: {step} open")
    return results


def memory(bench, options):
    return {"idle": idle_clients(bench, options), "tunnels": tunnels(bench, options)}
