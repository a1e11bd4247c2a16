"""A scripted upstream: a test sees the exact bytes that arrive and says the exact bytes to answer."""
import queue
import select
import socket
import ssl
import struct
import threading
import time

from .waiting import PATIENCE, Overdue


class Ended(Exception):
    """The peer ended the connection."""


class Connection:
    """One accepted connection, served by a thread of its own that waits for requests."""

    def __init__(self, upstream, sock):
        self.upstream = upstream
        self.sock = sock
        self.received = b""
        self.buffer = b""
        self.done = threading.Event()
        self.go_on = threading.Event()
        # A descriptor must not be closed while another thread reads from it: its number may serve a new socket then.
        self.reading = threading.RLock()
        self.closing = threading.RLock()
        self.wake_reader, self.waker = socket.socketpair()

    def receive(self, patience=None):
        """Adds what comes next to the buffer."""
        with self.reading:
            try:
                if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                    poll = select.poll()
                    poll.register(self.sock, select.POLLIN)
                    poll.register(self.wake_reader, select.POLLIN)
                    ready = poll.poll(None if patience is None else patience * 1000)
                    if not ready or self.wake_reader.fileno() in dict(ready):
                        raise Ended("closed by the test" if ready else "timed out")
                data = self.sock.recv(65536)
            except (OSError, ValueError) as error:
                raise Ended(str(error)) from error
        if not data:
            raise Ended("end")
        self.received += data
        self.buffer += data
        return data

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.receive()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read_exactly(self, n):
        while len(self.buffer) < n:
            self.receive()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_line(self):
        while b"\r\n" not in self.buffer:
            self.receive()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read_body(self, head):
        """(payload, bytes on the wire)"""
        fields = dict(fields_of(head))
        if b"transfer-encoding" in fields:
            payload, wire = b"", b""
            while True:
                line = self.read_line()
                size = int(line.split(b";")[0], 16)
                data = self.read_exactly(size + 2)
                wire += line + b"\r\n" + data
                payload += data[:-2]
                if size == 0:
                    return payload, wire
        payload = self.read_exactly(int(fields.get(b"content-length", b"0")))
        return payload, payload

    def send(self, data):
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def close(self, how="orderly"):
        """orderly: close_notify and FIN; truncate: FIN alone; reset: RST."""
        self.done.set()
        self.go_on.set()
        with self.closing:
            if self.waker.fileno() < 0:
                return
            self.waker.send(b"x")
            with self.reading:
                self._close(how)
                self.wake_reader.close()
            self.waker.close()

    def _close(self, how):
        try:
            if how == "reset":
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "orderly" and isinstance(self.sock, ssl.SSLSocket):
                self.sock.settimeout(0.5)
                self.sock = self.sock.unwrap()
        except (OSError, ValueError):
            pass  # the peer was faster
        try:
            if how == "truncate":
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()
        except OSError:
            pass

    def wait_end(self, patience=PATIENCE):
        """Reads until the peer is gone."""
        try:
            while True:
                self.receive(patience)
        except Ended as end:
            assert "timed out" not in str(end), "the peer keeps the connection open"


class Request:
    """One request that arrived, to be answered by the test."""

    def __init__(self, connection, head, body, wire):
        self.connection = connection
        self.head, self.body, self.wire = head, body, wire
        self.line = head.split(b"\r\n", 1)[0]
        self.method, self.target = self.line.split(b" ")[:2]
        self.fields = fields_of(head)

    def field(self, name):
        values = [v for n, v in self.fields if n == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def names(self):
        return [n for n, _ in self.fields]

    def answer(self, data, end=None):
        """Sends the bytes; then waits for a next request on the connection, or ends it."""
        self.connection.send(data)
        if end is None:
            self.connection.go_on.set()
        else:
            self.connection.close(end)

    def end(self, how):
        self.connection.close(how)


def fields_of(head):
    fields = []
    for line in head.split(b"\r\n")[1:]:
        if line:
            name, _, content = line.partition(b":")
            fields.append((name.lower(), content.strip(b" \t")))
    return fields


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Upstream:
    """Listens on loopback. `automatic`: bytes, or a function of the request giving bytes, sent at once as the answer.
    Without it each request waits for the test: request() returns it. read_bodies=False leaves bodies to the test."""

    def __init__(self, certs=None, cert="good", automatic=None, read_bodies=True, context=None, on_connect=None):
        self.automatic = automatic
        self.read_bodies = read_bodies
        self.on_connect = on_connect
        self.requests = queue.Queue()
        self.connections = []
        self.lock = threading.Lock()
        self.context = context
        if certs is not None and context is None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(f"{certs}/{cert}.crt", f"{certs}/{cert}.key")
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http{'s' if self.context else ''}://127.0.0.1:{self.port}"

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            if self.on_connect is not None and not self.on_connect(sock):
                return
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        except (OSError, ValueError):
            sock.close()
            return
        connection = Connection(self, sock)
        with self.lock:
            self.connections.append(connection)
        try:
            while not connection.done.is_set():
                head = connection.read_head()
                body, wire = connection.read_body(head) if self.read_bodies else (b"", b"")
                request = Request(connection, head, body, wire)
                self.requests.put(request)
                if self.automatic is None:
                    connection.go_on.wait()
                    connection.go_on.clear()
                    continue
                answer = self.automatic(request) if callable(self.automatic) else self.automatic
                if answer is None or not connection.send(answer):
                    connection.close("truncate")
        except (Ended, ValueError):
            if not connection.done.is_set():
                connection.close("orderly")

    def request(self, patience=PATIENCE):
        """The next request that came in."""
        try:
            return self.requests.get(timeout=patience)
        except queue.Empty:
            raise Overdue(f"no request reached upstream within {patience:.0f} s") from None

    def none_came(self, within=0.3):
        """True when nothing comes for that long: for what must never happen, after everything else has."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if not self.requests.empty():
                return False
            time.sleep(0.02)
        return True

    def taken(self):
        """All requests that came and were not looked at yet."""
        found = []
        while True:
            try:
                found.append(self.requests.get_nowait())
            except queue.Empty:
                return found

    def close(self):
        self.closed = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            if not connection.done.is_set():
                connection.close("truncate")
