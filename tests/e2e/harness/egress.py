"""An egress proxy: opens tunnels by CONNECT, or refuses to."""
import socket
import threading


class EgressProxy:
    def __init__(self, status=b"200 Connection established"):
        self.status = status
        self.asked = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(4096)
            if not data:
                return
            head += data
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        self.asked.append((method, target))
        sock.sendall(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
        if not self.status.startswith(b"200"):
            sock.close()
            return
        host, _, port = target.decode().rpartition(":")
        other = socket.create_connection((host, int(port)))
        back = threading.Thread(target=self._pump, args=(other, sock), daemon=True)
        back.start()
        self._pump(sock, other)
        back.join()
        for s in (sock, other):
            s.close()

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()
