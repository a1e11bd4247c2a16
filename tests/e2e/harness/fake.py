"""One running fakeproof and its control endpoint."""
import http.client
import json
import subprocess
import tempfile


class Fakeproof:
    def __init__(self, binary, certs, tokens=(), cert="good", plain=False, options=()):
        self.certs = certs
        self.plain = plain
        command = [str(binary), "--progress", "0"]
        command += ["--plain"] if plain else ["--cert", f"{certs}/{cert}.crt", "--key", f"{certs}/{cert}.key"]
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command + [str(o) for o in options], stdout=subprocess.PIPE, stderr=self.stderr, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"fakeproof did not start: {self.log()}")
        ready = json.loads(line)
        self.port, self.control_port = ready["port"], ready["control_port"]
        if tokens:
            self.tokens(*tokens)

    @property
    def url(self):
        return f"http{'' if self.plain else 's'}://127.0.0.1:{self.port}"

    def log(self):
        self.stderr.seek(0)
        return self.stderr.read().decode("utf-8", "replace")

    def control(self, method, path, body=None, patience=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=patience)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200, f"fakeproof {path}: {answer}"
            return answer
        finally:
            connection.close()

    def tokens(self, *valid):
        self.control("POST", "/tokens", {"valid": list(valid)})

    def fault(self, kind, **spec):
        self.control("POST", "/fault", {"kind": kind, **spec})

    def stats(self):
        return self.control("GET", "/stats")

    def heads(self, path=None):
        """The last request heads as they arrived, with fingerprints for credentials; those of one path."""
        heads = [entry["head"].encode("latin-1") for entry in self.stats()["last"]]
        return [h for h in heads if path is None or h.split(b" ")[1].split(b"?")[0] == path.encode()]

    def wait(self, counter, least=0, most=None, ms=15000):
        body = {"counter": counter, "least": least, "ms": ms}
        if most is not None:
            body["most"] = most
        answer = self.control("POST", "/wait", body)
        assert answer["reached"], f"{counter} is {answer['value']}, expected {least} to {most}"
        return answer["value"]

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        log = self.log()
        self.stderr.close()
        assert "Sanitizer" not in log and "runtime error" not in log, log
