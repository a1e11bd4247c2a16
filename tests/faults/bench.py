"""A daemon under faults: the calls a host makes of it, and what may come of each; and what must hold afterwards."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from harness.admin import UnixConnection
from harness.client import Client, Malformed, request
from harness.daemon import Daemon, Reservation
from harness.egress import EgressProxy
from harness.fake import Fakeproof
from harness.vault import Vault, fingerprint
from harness.waiting import until
from harness.websocket import TEXT, frame, upgrade

BUILD = pathlib.Path(os.environ.get("PROOFPROXY_BUILD", ROOT / "build")).resolve()
SESSION = json.dumps({"partner_user_id": "u1", "user_email": "a@b.c", "network": "TRC20", "currency": "USDT",
                      "amount": "10.5"}).encode()
LARGE = 300_000
PATIENCE = 12.0  # seconds: longer than any timeout of the config below, and than a tunnel whose upstream is deaf lives
AGAIN = 1.0  # seconds until it serves again


class Wrong(AssertionError):
    """What the daemon did is not among what it may do."""


class Stuck(Wrong):
    """It does not serve again at all: no matter of a busy machine."""


def large_body():
    lines = (LARGE + 15) // 16
    return "".join(f"{i:015x}\n" for i in range(lines)).encode()[:LARGE]


class Door:
    """A way to a local port that is shut at first: connecting is refused until it is opened."""

    def __init__(self, port):
        self.reservation, self.inside = Reservation(), port

    def open(self):
        self.reservation.socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                outside = self.reservation.socket.accept()[0]
            except OSError:
                return
            inside = socket.create_connection(("127.0.0.1", self.inside))
            for pair in ((outside, inside), (inside, outside)):
                threading.Thread(target=EgressProxy._pump, args=pair, daemon=True).start()

    def close(self):
        try:
            self.reservation.socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        except OSError:
            pass  # it was never opened
        self.reservation.close()


class Bench:
    """A fake API and the daemons in front of it, one after the other; each thread has its own."""

    def __init__(self, folder, certs, number):
        self.folder, self.certs = folder / f"bench{number}", certs
        self.folder.mkdir()
        self.vault = Vault()
        self.tokens = [self.vault.token("old"), self.vault.token("new")]
        self.fake = Fakeproof(BUILD / "fakeproof", certs, self.tokens)
        self.fake.fault("large", path="/widget/large", bytes=LARGE, chunked=True, count=0)
        self.fake.fault("ws", path="/ws", echo=True, count=0)
        self.fake.control("POST", "/kyc", {"user": "u1", "status": "verified"})
        self.daemon = self.door = None
        self.started = 0
        # A name that libcurl does not know by itself, as it does localhost; and nobody answers where else to ask.
        self.etc = {"hosts": "127.0.0.1 localhost api.proof.test\n", "resolv.conf": "nameserver 127.0.0.1\n",
                    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"}
        for name, text in self.etc.items():
            (self.folder / name).write_text(text)
        self.body = large_body()

    def keys(self):
        # With a gate, so that the kernel and the system's accounts are asked.
        port = self.door.reservation.port if self.door else self.fake.port
        return {"base_url": f"https://api.proof.test:{port}", "token_file": [self.tokens[0]],
                "tls": {"ca_file": f"{self.certs}/ca.crt"}, "allow_groups": [str(os.getgid())], "probe_interval": "60s",
                "connect_timeout": "1s", "request_timeout": "3s", "header_timeout": "3s", "body_timeout": "3s"}

    def start(self, wrapper=(), wait=True, memory=None, behind_door=False):
        self.memory = memory
        self.door = Door(self.fake.port) if behind_door else None
        directory = self.folder / str(self.started)
        self.started += 1
        directory.mkdir()
        mounts = " && ".join(f'mount --bind "{self.folder}/{name}" /etc/{name}' for name in self.etc)
        wrapper = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *wrapper]
        self.daemon = Daemon(BUILD / "proofproxy", directory, self.vault, {"production": self.keys()},
                             {"drain_timeout": "2s"}, wrapper=wrapper, wait=wait,
                             environ=memory.environ if memory else None)
        self.idle, self.served = len(self.daemon.descriptors()), 0
        return self.daemon

    def let_go(self):
        """Ends the daemon without a look at how; for one that was judged already."""
        daemon, self.daemon = self.daemon, None
        if self.door:
            self.door.close()
        self.door = None
        if daemon is None:
            return
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.wait()
        daemon.checked = True
        daemon.notices.close()
        for reservation in daemon.reservations:
            reservation.close()

    def close(self):
        self.let_go()
        self.fake.close()

    # --- one call each; what may come of it ---
    def answer(self, asked, method="GET"):
        """The whole answer, or None for a connection that was refused or cut."""
        try:
            with Client(self.daemon.address, self.vault, patience=PATIENCE) as client:
                client.send(asked)
                response = client.response(head_only=method == "HEAD")
        except (ConnectionError, Malformed) as error:
            if isinstance(error, Malformed):
                raise Wrong(f"{asked[:40]!r}: {error}") from None
            return None
        return response if response is not None and response.complete else None

    def judge(self, what, response, right):
        """True for the right answer; False for an honest failure."""
        if response is None:
            return False
        if (response.field("Proxy-Status") or "").startswith("proofproxy;"):
            body = json.loads(response.body)
            if response.status < 400 or body.get("sent") not in ("no", "maybe", "yes"):
                raise Wrong(f"{what}: {response}")
            return False
        if not 200 <= response.status < 300 or not right(response.body):
            raise Wrong(f"{what}: {response}")
        return True

    def get(self):
        response = self.answer(request("/widget/users/u1/kyc-status"))
        return self.judge("GET", response, lambda body: "verified" in json.loads(body).values())

    def post(self):
        before = self.fake.stats()["sessions_created"]
        response = self.answer(request("/widget/session", "POST", ["Content-Type: application/json"], SESSION))
        done = self.judge("POST", response, lambda body: b"transaction" in body)
        executed = self.fake.stats()["sessions_created"] - before
        if executed > 1 or (done and executed != 1):
            raise Wrong(f"a POST was executed {executed} times and answered by {response}")
        if response is not None and not done and json.loads(response.body)["sent"] == "no" and executed:
            raise Wrong(f"a POST was executed, and its client was told that nothing was sent: {response}")
        return done

    def stream(self):
        return self.judge("a streamed answer", self.answer(request("/widget/large")), lambda body: body == self.body)

    def websocket(self):
        try:
            with Client(self.daemon.address, self.vault, patience=PATIENCE) as client:
                client.send(upgrade())
                response = client.response()
                if response is None or response.status != 101:
                    return self.judge("a WebSocket", response, lambda body: False)
                client.send(frame(TEXT, b"hello" * 50, masked=True))
                expected = frame(TEXT, b"hello" * 50)
                while len(client.buffer) < len(expected) and client.receive():
                    pass
                if not expected.startswith(client.buffer) and client.buffer[0] != 0x88:  # a Close is honest
                    raise Wrong(f"a tunnel echoed {client.buffer[:100]!r}")
                return client.buffer == expected
        except ConnectionError:
            return False

    def ask_admin(self, path, method="GET"):
        """(status, body), or None when it was cut."""
        connection = UnixConnection(f"{self.daemon.directory}/admin.sock", PATIENCE)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise Wrong(f"the admin interface neither answers {path} nor cuts it") from None
        except Exception:  # http.client has many words for the end of a connection
            return None
        finally:
            connection.close()

    def scrape(self):
        metrics, status = self.ask_admin("/metrics"), self.ask_admin("/status")
        if metrics is not None and metrics[0] == 200 and b"proofproxy_requests_total" not in metrics[1]:
            raise Wrong(f"/metrics: {metrics[1][:200]!r}")
        if status is not None and status[0] == 200 and json.loads(status[1])["environments"][0]["name"] != "production":
            raise Wrong(f"/status: {status[1][:200]!r}")
        return metrics is not None and status is not None and metrics[0] == status[0] == 200

    def reload(self):
        verdict = self.ask_admin("/reload", "POST")
        if verdict is not None and verdict[0] not in (200, 422, 500, 503):
            raise Wrong(f"POST /reload: {verdict}")
        return verdict is not None and verdict[0] == 200

    def rotate(self, number):
        self.daemon.set_tokens(*(self.tokens[::-1] if number % 2 == 0 else self.tokens[:1]))

    def scenario(self, number):
        self.get()
        self.post()
        self.stream()
        self.websocket()
        self.rotate(number)
        self.daemon.environments["production"]["request_timeout"] = f"{3000 + number}ms"
        self.daemon.write_config()
        self.reload()
        self.scrape()
        self.post()
        self.get()

    # --- the command ---
    def edit(self, *strace):
        """Adds a token with `token add`: the finished process."""
        if not hasattr(self, "place"):
            self.place = self.folder / "edit"
            self.place.mkdir()
            (self.place / "c.conf").write_text(
                f'environments = {{ a = {{ base_url = "https://localhost:2"; listen = [ "127.0.0.1:1" ]; '
                f'token_file = "{self.place}/a.token"; }}; }};\n'
                f'admin = {{ listen = [ "unix:{self.place}/admin.sock" ]; }};\n')
            (self.place / "c.conf").chmod(0o600)
        for leftover in self.place.glob(".*"):
            leftover.unlink()
        file = self.place / "a.token"
        file.write_text(f"# ours\n{self.tokens[0]}\n")
        file.chmod(0o640)
        command = [str(BUILD / "proofproxy"), "-c", str(self.place / "c.conf"), "token", "add", "a", "--force"]
        done = subprocess.run(["strace", "-f", "-qq", *strace, *command], input=self.tokens[1] + "\n",
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.vault.saw("the output of token add", done.stdout + done.stderr)
        return done

    def judge_edit(self, done, name):
        file = self.place / "a.token"
        old, new = f"# ours\n{self.tokens[0]}\n", f"# ours\n{self.tokens[1]}\n{self.tokens[0]}\n"
        text = file.read_text()
        if done.returncode not in (0, 1, 78) or (done.returncode != 0 and len(done.stderr) < 20):
            raise Wrong(f"token add ended with {done.returncode} and says {done.stderr!r}")
        replaced = "was replaced" in done.stderr or "standard output" in done.stderr
        if text != (new if done.returncode == 0 or replaced else old) or file.stat().st_mode & 0o777 != 0o640:
            raise Wrong(f"token add ended with {done.returncode}, {done.stderr!r}; the file: {text!r}")
        leftovers = [p.name for p in self.place.glob(".*") if p.name.startswith(".a.token.")]
        if leftovers and name != "unlink":
            raise Wrong(f"left behind: {leftovers}; {done.stderr!r}")

    # --- afterwards ---
    def serves_again(self):
        # While it starts, each thread meets the fault by itself, and some of them only with the first calls.
        begin = time.monotonic()
        while not (self.get() and self.post() and self.websocket() and self.stream()):
            if time.monotonic() - begin > PATIENCE or self.daemon.process.poll() is not None:
                raise Stuck(f"not serving again {PATIENCE:.0f} s after the fault")
            time.sleep(0.02)
        took = time.monotonic() - begin
        if took > AGAIN:
            raise Wrong(f"serving again {took:.1f} s after the fault only")

    def ticks(self):
        with open(f"/proc/{self.daemon.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def does_not_spin(self):
        before = self.ticks()
        time.sleep(0.12)
        if self.ticks() - before > 6:
            time.sleep(0.3)  # a probe or a warm connection may just have been made
            before = self.ticks()
            time.sleep(0.3)
            if self.ticks() - before > 15:
                raise Wrong(f"spins: {self.ticks() - before} of 30 ticks")

    def kept_everything(self, number):
        wanted = {fingerprint(t) for t in (self.tokens if number % 2 == 0 else self.tokens[:1])}

        def known():
            answer = self.ask_admin("/status")
            if answer is None or answer[0] != 200:
                return False
            environment = json.loads(answer[1])["environments"][0]
            return {t["fingerprint"] for t in environment["tokens"] if t["in_file"]} == wanted and \
                environment["token_file"]["stale_since"] is None

        until(known, "the daemon holds what its token file says", patience=4)
        until(self.reload, "a reload succeeds", patience=2)

    def drains(self, patience=PATIENCE):
        code = self.daemon.terminate(patience)
        if code not in (0, 1):
            raise Wrong(f"the drain ended with status {code}")
        return code
