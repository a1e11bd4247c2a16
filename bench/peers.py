"""The programs side by side: their configurations, and starting, measuring and ending them."""
import contextlib
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("PROOFPROXY_BUILD", ROOT / "build")).resolve()
sys.path.insert(0, str(ROOT / "tests/e2e"))

NAMES = ("nginx", "haproxy", "proofproxy")
TOKEN = "bench-token-0123456789abcdef0123456789abcdef"
ENOUGH = 2000  # requests
CPUS = [str(c) for c in sorted(os.sched_getaffinity(0))]
PROXY, REST, BOTH = CPUS[0], CPUS[-1], f"{CPUS[0]},{CPUS[-1]}"  # what a program is pinned to
TICK = os.sysconf("SC_CLK_TCK")
SMALL = b'{"status":"pending","pad":"' + b"x" * 271 + b'"}'  # 300 bytes

NGINX_COMMON = """
daemon off; pid {dir}/{name}.pid; error_log {dir}/{name}.err; worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
"""
NGINX_PATHS = """
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir};
  scgi_temp_path {dir};
"""
UPSTREAM = "worker_processes 1;" + NGINX_COMMON + "http {{" + NGINX_PATHS + """
  access_log off; keepalive_requests 100000000; keepalive_timeout 75s;
  ssl_certificate {certs}/good.crt; ssl_certificate_key {certs}/good.key; ssl_protocols TLSv1.3;
  server {{ listen 127.0.0.1:{port} ssl backlog=4096; root {dir}/www; default_type application/json;
    if ($http_authorization != "Bearer {token}") {{ return 401; }}
    location = /widget/session {{ client_max_body_size 1m; return 200 '{{"ok":true}}'; }} }}
  server {{ listen 127.0.0.1:{counter}; stub_status; }}
}}
"""
NGINX = "worker_processes {workers};" + NGINX_COMMON + "http {{" + NGINX_PATHS + """
  access_log {dir}/{name}.access combined buffer=64k flush=1s; keepalive_requests 100000000;
  upstream api {{ server 127.0.0.1:{upstream}; keepalive 8192; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1; proxy_set_header Host localhost; proxy_set_header Authorization "Bearer {token}";
    proxy_ssl_verify on; proxy_ssl_trusted_certificate {certs}/ca.crt; proxy_ssl_name localhost;
    proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;
    location / {{ proxy_pass https://api; proxy_set_header Host localhost; proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {token}"; }}
    location = /ws {{ proxy_pass https://api; proxy_set_header Host localhost; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade; proxy_set_header Authorization "Bearer {token}"; proxy_read_timeout 1h; }} }}
}}
"""
HAPROXY = """
global
  nbthread {workers}
  maxconn {maxconn}
  tune.pool-low-fd-ratio 90
  tune.pool-high-fd-ratio 95
  log stdout len 1024 format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 60s
  timeout client 75s
  timeout server 75s
  timeout tunnel 1h
  option http-keep-alive
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  http-reuse always
  http-request set-header Authorization "Bearer {token}"
  http-request set-header Host localhost
  default-server ssl verify required ca-file {certs}/ca.crt verifyhost localhost sni str(localhost) ssl-min-ver TLSv1.3
  server s 127.0.0.1:{upstream} pool-max-conn 8192 pool-purge-delay 60s
"""
PROOFPROXY = """
workers = {workers}; admin = {{ listen = [ "unix:{dir}/{name}.sock" ]; }};
environments = {{ production = {{ base_url = "https://localhost:{upstream}"; listen = [ "127.0.0.1:{port}" ];
  token_file = "{dir}/secret/token"; tls = {{ ca_file = "{certs}/ca.crt"; min_version = "1.3"; }};
  connect_timeout = "60s"; request_timeout = "60s"; max_inflight = 8192; max_websockets = 8192; }}; }};
"""


class Failed(Exception):
    """What was to be measured could not be."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def cpu_of(path):
    """Seconds by a stat file; none for what ended meanwhile, as workers do at a reload."""
    try:
        with open(path) as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


class Program:
    """One running program, all of its processes pinned to `cpus`; what it prints goes to a file."""

    def __init__(self, bench, name, template, command, cpus, **values):
        self.name, self.kind, self.port = name, command[0].rsplit("/", 1)[-1], free_port()
        self.output = f"{bench.dir}/{name}.out"
        config = pathlib.Path(bench.dir, f"{name}.conf")
        config.touch(0o600)
        config.write_text(template.format(dir=bench.dir, certs=bench.certs, token=TOKEN, name=name, port=self.port,
                                          files=bench.files, connections=bench.files - 100,
                                          maxconn=bench.files // 2 - 500, **values))
        self.requests = None  # a function that says how many its upstream has had
        self.logs = [self.output, f"{bench.dir}/{name}.access"]
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(["taskset", "-c", cpus, *command, str(config)], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise Failed(f"{name} does not start: {pathlib.Path(self.output).read_text()[-2000:]}")
            time.sleep(0.002)

    def pids(self):
        """The process and its children: workers of nginx, or of HAProxy's master."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return [self.process.pid, *map(int, f.read().split())]

    def cpu(self):
        """Seconds so far, of all threads of all processes."""
        return sum(cpu_of(f"/proc/{pid}/stat") for pid in self.pids())

    def cpu_of_workers(self):
        """Seconds so far of each worker, by id: nginx's processes, HAProxy's threads, proofproxy's worker threads."""
        pids = self.pids()
        if self.kind == "nginx":
            paths = {pid: f"/proc/{pid}/stat" for pid in pids[1:]}
        else:
            folder = f"/proc/{self.process.pid}/task"
            paths = {int(tid): f"{folder}/{tid}/stat" for tid in os.listdir(folder)}
            if self.kind == "proofproxy":
                paths = {t: p for t, p in paths.items() if open(f"{folder}/{t}/comm").read().startswith("worker")}
        return {i: cpu_of(path) for i, path in paths.items()}

    def resident(self):
        """KiB of all processes."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as f:
                total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
        return total

    def reload(self):
        self.process.send_signal(signal.SIGUSR2 if self.kind == "haproxy" else signal.SIGHUP)

    def forget_logs(self):
        """So that minutes of access logs don't fill the disk. All of them append."""
        for path in self.logs:
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, 0)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Bench:
    """The folder, the certificates and the limits all programs share, and what runs right now."""

    def __init__(self, directory, files):
        self.dir, self.certs, self.files = directory, f"{directory}/certs", files
        subprocess.run([ROOT / "tests/certs/make-certs", self.certs], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        www = pathlib.Path(directory, "www/widget")
        www.mkdir(parents=True)
        (www / "small").write_bytes(SMALL)
        (www / "64k").write_bytes(b"x" * 65536)
        (www / "8m").write_bytes(b"x" * (8 << 20))
        token = pathlib.Path(directory, "secret/token")  # away from the logs: its folder is watched
        token.parent.mkdir()
        token.touch(0o600)
        token.write_text(TOKEN + "\n")
        os.chmod(directory, 0o755)  # nginx's workers are another user
        self.count = 0
        self.counters = {}  # by port of the upstream

    def upstream(self, cpus=REST):
        counter = free_port()
        program = Program(self, self.unused("upstream"), UPSTREAM, ["/usr/sbin/nginx", "-c"], cpus, counter=counter)
        self.counters[program.port] = counter
        return program

    def unused(self, name):
        self.count += 1
        return f"{name}-{self.count}"

    def proxy(self, name, upstream, workers=1, cpus=PROXY, master=False):
        template, command = {
            "nginx": (NGINX, ["/usr/sbin/nginx", "-c"]),
            "haproxy": (HAPROXY, ["/usr/sbin/haproxy", *(["-W"] if master else []), "-db", "-f"]),
            "proofproxy": (PROOFPROXY, [str(BUILD / "proofproxy"), "-c"]),
        }[name]
        program = Program(self, self.unused(name), template, command, cpus, upstream=upstream, workers=workers)
        counter = self.counters.get(upstream)
        program.requests = None if counter is None else lambda: requests_of(counter)
        return program

    @contextlib.contextmanager
    def proxies(self, upstream, **how):
        """All three, by name, ended afterwards."""
        with contextlib.ExitStack() as stack:
            running = {}
            for name in NAMES:
                running[name] = self.proxy(name, upstream, **how)
                stack.callback(running[name].end)
            yield running


def requests_of(counter):
    """How many requests an nginx has had, by its stub_status."""
    with urllib.request.urlopen(f"http://127.0.0.1:{counter}/", timeout=10) as answer:
        return int(answer.read().split()[9])


def wrk(program, path, connections, seconds, cpus=REST, method="GET", lead=0.5):
    """Figures of one run of the load generator. Where the upstream counts, CPU per request is that of the middle of the
    run: `lead` seconds are for opening connections, and at the end it drops what is under way."""
    command = ["taskset", "-c", cpus, "wrk", "-t1", f"-c{connections}", f"-d{math.ceil(lead + seconds)}s", "--timeout",
               "10s", "-s", str(ROOT / "bench/wrk.lua"), f"http://127.0.0.1:{program.port}{path}", "--", method]
    begin = program.cpu(), program.cpu_of_workers()
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    served = spent = 0
    try:
        if program.requests is not None:
            time.sleep(lead)
            requests, cpu = program.requests(), program.cpu()
            time.sleep(seconds - 0.2)
            served, spent = program.requests() - requests, program.cpu() - cpu
        out = load.communicate(timeout=seconds + lead + 60)[0]
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    end = program.cpu(), program.cpu_of_workers()
    found = re.search(r"FIGURES ([\d ]+)", out)
    if found is None:
        raise Failed(f"wrk failed: {out}")
    requests, usec, p50, p99, p999, failed, read, write, status = map(int, found.group(1).split())
    if served < ENOUGH:  # few and large ones, counted when they begin: those under way would weigh too much
        served, spent = max(requests, 1), end[0] - begin[0]
    program.forget_logs()
    return {"rps": requests * 1e6 / usec, "cpu_us": spent * 1e6 / served, "p50_us": p50, "p99_us": p99, "p999_us": p999,
            "requests": requests, "failed": failed + read + write, "status": status,
            "workers": [end[1][i] - begin[1].get(i, 0) for i in sorted(end[1])]}


def good(figures, what):
    """The same, if nothing failed."""
    if figures["failed"] or figures["status"] or figures["requests"] == 0:
        raise Failed(f"{what} did not serve: {figures}")
    return figures
