"""A web server of an attacker: pages, and the place to which they tell what they found out."""
import http.server
import json
import threading

from .waiting import PATIENCE, on


class Pages:
    """Serves `pages` (path: HTML) under every host name, and takes what pages POST to /told: {name: what was seen}.
    Pages of other origins may tell as well."""

    def __init__(self, pages, port=0):
        self.pages = pages
        self.told = {}
        self.changed = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body, kind="text/html"):
                self.send_response(status)
                for name, content in (("Content-Type", kind), ("Content-Length", len(body)), ("Connection", "close"),
                                      ("Access-Control-Allow-Origin", "*")):
                    self.send_header(name, str(content))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                page = outer.pages.get(self.path.partition("?")[0])
                self.answer(404 if page is None else 200, (page or "").encode())

            def do_POST(self):
                found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(200, b"")
                with outer.changed:
                    outer.told.update(found)
                    outer.changed.notify_all()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def wait_told(self, names, patience=PATIENCE * 3):
        return on(self.changed, lambda: self.told if set(names) <= set(self.told) else None,
                  f"the page tells of {sorted(set(names) - set(self.told))}", patience)

    def close(self):
        """Nobody listens at the port any more when this returns."""
        self.server.shutdown()
        self.server.server_close()
