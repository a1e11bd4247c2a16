"""One running daemon: its config, readiness, log, and the checks at its end."""
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time

from . import config
from .client import Client
from .vault import descriptors
from .waiting import PATIENCE, on, until


class Reservation:
    """A TCP port nobody else gets: bound but not listening, so that the daemon can still bind and listen there."""

    def __init__(self, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, 0))
        self.port = self.socket.getsockname()[1]
        self.text = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def close(self):
        self.socket.close()


class Notices:
    """What the daemon tells its service manager (sd_notify)."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.changed = threading.Condition()
        self.lines = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                message = self.socket.recv(65536)
            except OSError:
                return
            if not message:
                return
            with self.changed:
                self.lines += message.decode("utf-8", "replace").splitlines()
                self.changed.notify_all()

    def end(self):
        """Tells waiters that no more will come."""
        with self.changed:
            self.lines.append("END")
            self.changed.notify_all()

    def count(self, line):
        return self.lines.count(line)

    def status(self):
        texts = [line[7:] for line in self.lines if line.startswith("STATUS=")]
        return texts[-1] if texts else ""

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Daemon:
    """`environments` maps names to their keys. A `token_file` given as a list of tokens is written to a file; without a
    `listen` a TCP port on 127.0.0.1 is chosen. `settings` are the keys above the environments."""

    def __init__(self, binary, directory, vault, environments, settings=None, environ=None, arguments=(), wrapper=(),
                 pass_fds=(), wait=True, nofile=None, text=None):
        self.binary, self.directory, self.vault = binary, directory, vault
        self.reservations = []
        self.addresses = {}
        self.environments = {name: self._complete(name, dict(keys)) for name, keys in environments.items()}
        self.settings = {"drain_timeout": "10s", "admin": {"listen": [f"unix:{directory}/admin.sock"]},
                         **(settings or {})}
        self.config_file = directory / "proofproxy.conf"
        self.write_config(text)
        self.notices = Notices(directory / "notify")
        self.changed = threading.Condition()
        self.log_bytes = b""
        self.expected_exit = 0
        self.checked = False
        self.started = time.monotonic()

        env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": self.notices.path, **(environ or {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS", "LLVM_PROFILE_FILE"):
            if name in os.environ:
                env[name] = os.environ[name]

        def limit():
            if nofile is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        self.process = subprocess.Popen(
            [*map(str, wrapper), str(binary), "-c", str(self.config_file), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=directory,
            pass_fds=pass_fds, preexec_fn=limit,
        )
        threading.Thread(target=self._read_log, daemon=True).start()
        if wait:
            self.wait_ready()

    # --- config and tokens ---
    def _complete(self, name, keys):
        if isinstance(keys.get("token_file"), (list, tuple)):
            path = self.directory / f"{name}.token"
            self.write_tokens(path, keys["token_file"])
            keys["token_file"] = str(path)
        if "listen" not in keys:
            reservation = Reservation()
            self.reservations.append(reservation)
            keys["listen"] = [reservation.text]
        keys.setdefault("probe_interval", "0s")
        first = keys["listen"][0]
        if first.startswith("unix:"):
            self.addresses[name] = first[5:]
        elif not first.startswith("systemd:"):
            host, _, port = first.rpartition(":")
            self.addresses[name] = (host.strip("[]"), int(port))
        return keys

    @staticmethod
    def write_tokens(path, tokens):
        """As a secret manager does: a new file, moved over the old one."""
        fresh = path.with_name(path.name + ".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w") as f:
            f.write("".join(f"{t}\n" for t in tokens))
        os.chmod(fresh, 0o640)
        os.replace(fresh, path)

    def set_tokens(self, *tokens, environment=None):
        name = environment or next(iter(self.environments))
        self.write_tokens(self.directory / f"{name}.token", tokens)

    def write_config(self, text=None):
        if text is None:
            text = config.text({**self.settings, "environments": self.environments})
        with open(os.open(self.config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w") as f:
            f.write(text)

    # --- log and notices ---
    def _read_log(self):
        while True:
            data = self.process.stdout.read1(65536)
            if not data:
                break
            with self.changed:
                self.log_bytes += data
                self.changed.notify_all()
        with self.changed:
            self.log_ended = True
            self.changed.notify_all()
        self.notices.end()

    @property
    def log(self):
        return self.log_bytes.decode("utf-8", "replace")

    def wait_log(self, *words, after=0, patience=PATIENCE):
        """The first log line, from position `after` on, that has all these words."""
        def find():
            for line in self.log[after:].splitlines():
                if all(w in line for w in words):
                    return line
            return None

        return on(self.changed, find, f"a log line with {words}; the log: {self.log[-3000:]}", patience)

    def records(self):
        """The log's JSON lines."""
        found = []
        for line in self.log.splitlines():
            if line.startswith("{"):
                found.append(json.loads(line))
        return found

    def wait_notice(self, line, times=1, patience=PATIENCE):
        on(self.notices.changed, lambda: self.notices.count(line) >= times or "END" in self.notices.lines,
           f"{line} ({times} times) from the daemon; log: {self.log[-3000:]}", patience)
        assert self.notices.count(line) >= times, f"the daemon ended before {line}: {self.log[-3000:]}"

    def wait_ready(self):
        self.wait_notice("READY=1")

    def reload(self):
        """SIGHUP, and back when the daemon says that the reload is over, good or bad."""
        times = self.notices.count("READY=1")
        self.process.send_signal(signal.SIGHUP)
        self.wait_notice("READY=1", times + 1)

    # --- calls ---
    @property
    def address(self):
        return next(iter(self.addresses.values()))

    @property
    def port(self):
        return self.address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self, environment=None, **options):
        address = self.addresses[environment] if environment else self.address
        return Client(address, self.vault, **options)

    def get(self, target, *arguments, environment=None, **options):
        with self.client(environment) as client:
            return client.get(target, *arguments, **options)

    # --- what /proc says ---
    @property
    def pid(self):
        return self.process.pid

    def memory(self, field="VmRSS"):
        """In bytes."""
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def descriptors(self):
        return descriptors(self.pid)

    def settled_descriptors(self, at_most, what):
        """Waits until no more than that many are open."""
        until(lambda: len(self.descriptors()) <= at_most,
              f"{what}: at most {at_most} descriptors open, now {sorted(self.descriptors().values())}")

    # --- the end ---
    def look_at_proc(self):
        for view in ("cmdline", "environ"):
            with open(f"/proc/{self.pid}/{view}", "rb") as f:
                self.vault.saw(f"/proc/PID/{view}", f.read())

    def terminate(self, patience=PATIENCE + 15):
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.look_at_proc()
            self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(patience)

    def wait_exit(self, patience=PATIENCE + 15):
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon does not end; log: {self.log[-3000:]}") from None
        on(self.changed, lambda: getattr(self, "log_ended", False), "the end of the log")
        return code

    def finish(self):
        """Ends it and checks what must hold for every test."""
        if self.checked:
            return
        self.checked = True
        try:
            code = self.terminate()
        finally:
            self.notices.close()
            for reservation in self.reservations:
                reservation.close()
            self.vault.saw("the daemon's log", self.log_bytes)
        assert code == self.expected_exit, f"exit status {code}, expected {self.expected_exit}; log: {self.log[-3000:]}"


