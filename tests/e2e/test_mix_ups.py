"""Many clients, one upstream that misbehaves at random: no answer reaches the wrong request, none is done twice."""
import collections
import hashlib
import random
import threading

import pytest

from harness.client import request

CLIENTS, ROUNDS, SEED = 8, 60, 20261122
METHODS = ("GET", "POST", "HEAD", "DELETE")


def answer(body, status=200, fields=b""):
    return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, fields, len(body), body)


def chunked(body):
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def name_of(identity, body):
    return f"{identity} {hashlib.sha256(body).hexdigest()}".encode()


class Moody:
    """Answers with the request's own identity, in every way that HTTP has, and some that it has not."""

    def __init__(self, refused):
        self.refused = refused
        self.random = random.Random(SEED)
        self.lock = threading.Lock()
        self.done = collections.Counter()

    def __call__(self, request):
        identity = request.field(b"X-Identity").decode()
        body = name_of(identity, request.body)
        with self.lock:
            if request.field(b"Authorization") == f"Bearer {self.refused}".encode() and self.random.random() < 0.5:
                return answer(b"", 401)
            self.done[identity] += 1
            mood = self.random.choice(["plain"] * 10 + [
                "chunked", "chunked", "hinted", "large", "last", "followed", "unavailable", "cut", "reset", "end"])
        if mood in ("reset", "end"):
            request.end("reset" if mood == "reset" else "orderly")
            return None
        head_only = request.method == b"HEAD"
        if mood == "chunked" and not head_only:
            return chunked(body)
        if mood == "hinted":
            return b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + self.whole(body, head_only)
        if mood == "large":
            return self.whole(body + b"#" * 200_000, head_only)
        if mood == "last":
            request.connection.send(self.whole(body, head_only, fields=b"Connection: close\r\n"))
            return None
        if mood == "followed":
            return self.whole(body, head_only) + answer(b"not asked for")
        if mood == "unavailable":
            return self.whole(body, head_only, 503)
        if mood == "cut" and not head_only:
            request.connection.send(answer(body + b"more")[:-4])
            return None
        return self.whole(body, head_only)

    @staticmethod
    def whole(body, head_only, status=200, fields=b""):
        whole = answer(body, status, fields)
        return whole[:-len(body)] if head_only else whole


class Caller(threading.Thread):
    def __init__(self, running, number):
        super().__init__()
        self.running, self.number = running, number
        self.random = random.Random(SEED + number)
        self.asked, self.wrong, self.answered = {}, [], collections.Counter()

    def run(self):
        client = None
        for round_ in range(ROUNDS):
            client = client or self.running.client()
            batch = [self.make(f"{self.number}.{round_}.{i}") for i in range(self.random.choice([1, 1, 1, 3]))]
            client.try_send(b"".join(data for *_, data in batch))
            for identity, method, body, _ in batch:
                response = client.response(head_only=method == "HEAD")
                if response is None or not self.fits(identity, method, body, response):
                    client.close()
                    client = None
                    break
        if client is not None:
            client.close()

    def make(self, identity):
        method = self.random.choice(METHODS)
        body = self.random.randbytes(self.random.choice([0, 10, 3000, 90_000])) if method == "POST" else b""
        self.asked[identity] = method
        return identity, method, body, request("/widget/a", method, [f"X-Identity: {identity}"],
                                               body if method == "POST" else None)

    def fits(self, identity, method, body, response):
        """Notes an answer that is not this request's. False: the connection has come to its end with it."""
        self.answered[response.status] += 1
        ours = (response.field("Proxy-Status") or "").startswith("proofproxy;")
        name = name_of(identity, body)
        if not ours and response.status != 401 and method != "HEAD" and response.complete:
            if response.body != name and not response.body.startswith(name + b"#"):
                self.wrong.append((identity, method, response))
        return response.complete and response.field("Connection") != "close"


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("workers", [1, 2])
def test_every_answer_reaches_its_request(daemon, raw_upstream, vault, tls, workers):
    refused, other = vault.token("refused"), vault.token("other")
    moody = Moody(refused)
    upstream = raw_upstream(tls=tls, automatic=moody)
    running = daemon(upstream, settings={"workers": workers}, token_file=[refused, other],
                     retries={"attempts": 2, "budget_percent": 100})
    callers = [Caller(running, number) for number in range(CLIENTS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not [w for c in callers for w in c.wrong]
    asked = {identity: method for c in callers for identity, method in c.asked.items()}
    answered = sum((c.answered for c in callers), collections.Counter())
    assert answered[200] > CLIENTS * ROUNDS / 2, answered
    for identity, times in moody.done.items():
        assert times <= (2 if asked[identity] in ("GET", "HEAD") else 1), (identity, asked[identity], times)
