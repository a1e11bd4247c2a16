"""How long the first request waits for its first byte: after the start, and after two minutes without any."""
import contextlib
import socket
import ssl
import statistics
import subprocess
import time

from parts import say
from peers import BOTH, BUILD, NAMES, TOKEN, Failed

ONE_WAY = 15000  # microseconds the relay adds in each direction
INSTANCES = 5
GET = b"GET /widget/small HTTP/1.1\r\nHost: localhost\r\n%s\r\n"


def answer(s, fields=b""):
    """Milliseconds until the first byte; takes in the whole answer."""
    start = time.monotonic()
    s.sendall(GET % fields)
    data = s.recv(65536)
    took = (time.monotonic() - start) * 1000
    if not data.startswith(b"HTTP/1.1 200"):
        raise Failed(f"the answer was {data[:200]}")
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < 300:
        more = s.recv(65536)
        if not more:
            raise Failed("the answer was cut")
        data += more
    return took


def ask(program):
    with socket.create_connection(("127.0.0.1", program.port), timeout=10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return answer(s)


class Relay:
    def __init__(self, port):
        command = [BUILD / "bench/relay", str(port), str(ONE_WAY)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.late = None

    def end(self):
        self.process.terminate()
        chunks, p50, p99, most = map(int, self.process.communicate(timeout=10)[0].split())
        self.late = {"chunks": chunks, "p50_us": p50, "p99_us": p99, "most_us": most}


def floor(bench, port, times):
    """What one round trip costs without a proxy: over a connection that is open already."""
    context = ssl.create_default_context(cafile=f"{bench.certs}/ca.crt")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname="localhost") as s:
            fields = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
            answer(s, fields)
            return [answer(s, fields) for _ in range(times)]


def first_byte(bench, options):
    silence = 5 if options.quick else 120
    results = {"silence_s": silence, "one_way_us": ONE_WAY}
    upstream = bench.upstream()
    try:
        relay = Relay(upstream.port)
        try:
            with contextlib.ExitStack() as stack:
                running = []
                for _ in range(2 if options.quick else INSTANCES):
                    for name in NAMES:
                        running.append((name, bench.proxy(name, relay.port, cpus=BOTH)))
                        stack.callback(running[-1][1].end)
                at_once, settled, silent = ({n: [] for n in NAMES} for _ in range(3))
                # The instances above are left alone until then; these are asked as soon as they listen.
                for _ in range(2 if options.quick else INSTANCES):
                    for name in NAMES:
                        program = bench.proxy(name, relay.port, cpus=BOTH)
                        try:
                            at_once[name].append(ask(program))
                        finally:
                            program.end()
                time.sleep(1)
                for name, program in running:
                    settled[name].append(ask(program))
                say(f"first byte: {silence} s of silence")
                time.sleep(silence)
                for name, program in running:
                    silent[name].append(ask(program))
                results |= {"at_once": at_once, "settled": settled, "silent": silent,
                            "floor": floor(bench, relay.port, 20)}
        finally:
            relay.end()
        results["relay"] = relay.late
    finally:
        upstream.end()
    say("first byte: floor %.1f ms" % statistics.median(results["floor"]))
    return results
