#!/usr/bin/python3
"""Measures resident memory per idle WebSocket tunnel to a TLS upstream: proofproxy, nginx and HAProxy in one run.

websocket_memory.py [TUNNELS]   PROOFPROXY_BUILD is the folder with the programs, build/ by default. Needs nginx and
haproxy. Prints a table; rounds are of TUNNELS each, the second one without what a first one sets up.
"""
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("PROOFPROXY_BUILD", ROOT / "build")).resolve()
sys.path.insert(0, str(ROOT / "tests/e2e"))

from harness.client import Client
from harness.fake import Fakeproof
from harness.websocket import upgrade

TOKEN = "bench-token-of-no-value"

NGINX = """
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
events {{ worker_connections 20000; }}
http {{
    access_log off; client_body_temp_path {dir}; proxy_temp_path {dir};
    fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass https://127.0.0.1:{upstream}; proxy_http_version 1.1;
            proxy_set_header Host 127.0.0.1; proxy_set_header Authorization "Bearer {token}";
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
            proxy_read_timeout 1h; proxy_ssl_verify on; proxy_ssl_name localhost;
            proxy_ssl_trusted_certificate {ca}; proxy_ssl_protocols TLSv1.2 TLSv1.3;
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 9000
    nbthread 1
    stats socket {dir}/haproxy.sock
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend app
    bind 127.0.0.1:{port}
    default_backend proof
backend proof
    http-request set-header Authorization "Bearer {token}"
    server api 127.0.0.1:{upstream} ssl verify required ca-file {ca} verifyhost localhost
"""

PROOFPROXY = """
drain_timeout = "20s"; log = {{ access = false; }}; admin = {{ listen = [ "unix:{dir}/admin.sock" ]; }};
environments = {{ bench = {{
    base_url = "https://127.0.0.1:{upstream}"; listen = [ "127.0.0.1:{port}" ]; token_file = "{dir}/token";
    tls = {{ ca_file = "{ca}"; }}; max_websockets = 20000; probe_interval = "0s";
}}; }};
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def start(name, directory, **facts):
    """(process, port)"""
    port = free_port()
    text = {"nginx": NGINX, "haproxy": HAPROXY, "proofproxy": PROOFPROXY}[name]
    path = directory / f"{name}.conf"
    path.touch(0o600)
    path.write_text(text.format(dir=directory, port=port, token=TOKEN, **facts))
    command = {"nginx": ["nginx", "-p", str(directory), "-e", f"{directory}/nginx.log", "-c", str(path)],
               "haproxy": ["haproxy", "-db", "-f", str(path)],
               "proofproxy": [str(BUILD / "proofproxy"), "-c", str(path)]}[name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(directory / f"{name}.out", "w"))
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not start: {(directory / f'{name}.out').read_text()}")
            time.sleep(0.05)


def resident(process):
    """KiB of the process and its children, nginx's worker among them."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    total = 0
    for pid in [process.pid, *map(int, children)]:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def open_tunnels(port, count):
    clients = []
    for _ in range(count):
        client = Client(("127.0.0.1", port))
        client.send(upgrade())
        response = client.response()
        assert response is not None and response.status == 101, response
        clients.append(client)
    return clients


def measure(name, directory, count, **facts):
    process, port = start(name, directory, **facts)
    clients = []
    try:
        clients += open_tunnels(port, 1)
        time.sleep(0.5)
        at = [resident(process)]
        for _ in range(2):
            clients += open_tunnels(port, count)
            time.sleep(2)
            at.append(resident(process))
        return at
    finally:
        for client in clients:
            client.close()
        process.terminate()
        process.wait(30)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="websocket-memory-"))
    try:
        subprocess.run([ROOT / "tests/certs/make-certs", directory], check=True)
        (directory / "token").touch(0o600)
        (directory / "token").write_text(TOKEN + "\n")
        print(f"Resident memory per idle WebSocket to a TLS upstream, {count} opened twice:\n")
        print("| proxy | KiB with 1 open | KiB per tunnel, first | second |")
        print("|---|---|---|---|")
        for name in sys.argv[2:] or ("proofproxy", "nginx", "haproxy"):
            fake = Fakeproof(BUILD / "fakeproof", directory, [TOKEN])
            fake.fault("ws", echo=True, count=0)
            try:
                first, second, third = measure(name, directory, count, upstream=fake.port, ca=directory / "ca.crt")
            finally:
                fake.close()
            print(f"| {name} | {first} | {(second - first) / count:.1f} | {(third - second) / count:.1f} |", flush=True)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
