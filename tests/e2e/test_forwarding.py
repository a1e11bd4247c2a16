"""One HTTP exchange: what leaves for upstream, and what comes back, byte for byte."""
import os

import pytest

from harness.client import request
from harness.expect import passed, refused
from harness.upstream import OK


# --- requests ---
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_pass(daemon, raw_upstream, token, method):
    upstream = raw_upstream()
    with daemon(upstream).client() as client:
        client.send(request("/widget/session", method))
        seen = upstream.request()
        assert seen.line == f"{method} /widget/session HTTP/1.1".encode()
        seen.answer(OK)
        assert passed(client.response(head_only=method == "HEAD")).field("Content-Length") == "2"


TARGETS = [
    "/widget/a",
    "/widget/transactions/6e71596b-bdfa-4813-a551-b363ef89b873",
    "/widget/a?",
    "/widget/a?b=c&d=%20+%2F&e=..%2f../;x",
    "/widget/a?x=//y/../z",
    "/widget/%41%7e%20b",
    "/widget/users/a%40b.c/kyc-status",
    "/widget/a-._~!$&'()*+,=:@",
    "/widget/a?q=a-._~!$&'()*+,;=:@/?",
    "/widget/.a/..b/c..",
    "/widget/a/?b",
    "/ws?tx_id=1",
    "/widget/" + "x" * 8000,
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t[:40])
def test_target_is_forwarded_byte_for_byte(daemon, raw_upstream, target):
    upstream = raw_upstream(automatic=OK)
    passed(daemon(upstream).get(target))
    assert upstream.request().target == target.encode()


def test_base_url_prefix_comes_first(daemon, raw_upstream, certs):
    upstream = raw_upstream(automatic=OK)
    passed(daemon(base_url=upstream.url + "/partner/v1").get("/widget/a?b"))
    assert upstream.request().target == b"/partner/v1/widget/a?b"


def test_end_to_end_headers_pass_unchanged(daemon, raw_upstream, token):
    upstream = raw_upstream(automatic=OK)
    lines = [
        "User-Agent: app/1.0 (x; y)",
        "Accept: application/json",
        "X-Empty:",
        "X-Twice: one",
        "X-Odd!#$%&'*+-.^_`|~: v",
        "X-Twice: two",
        "Cookie: a=b; c=d",
        "X-Latin: caf\xe9 \xff",
        "X-Tab: a\tb",
        "X-Colons: a:b: c",
        "Idempotency-Key: 7",
        "Accept-Encoding: gzip, br",
        "Range: bytes=0-3",
    ]
    passed(daemon(upstream).get("/widget/a", fields=lines))
    seen = upstream.request()
    ours = {b"host", b"via", b"authorization", b"connection"}
    theirs = [(n, v) for n, v in seen.fields if n not in ours]
    expected = [line.encode("latin-1").split(b":", 1) for line in lines]
    assert theirs == [(n.lower(), v.strip()) for n, v in expected]
    assert seen.field(b"Host") == f"127.0.0.1:{upstream.port}".encode()
    assert seen.field(b"Authorization") == f"Bearer {token}".encode()
    assert b"proofproxy" in seen.field(b"Via")


DROPPED = [
    "Authorization: Bearer client-own",
    "authorization: Basic eDp5",
    "AUTHORIZATION: x",
    "Proxy-Authorization: Basic eDp5",
    "Proxy-Connection: keep-alive",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Trailer: X-T",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Via: 1.0 somebody",
    "Content_Length: 7",
    "Transfer_Encoding: chunked",
    "Proxy_Authorization: x",
]


@pytest.mark.parametrize("line", DROPPED)
def test_headers_that_never_travel(daemon, raw_upstream, token, line):
    upstream = raw_upstream(automatic=OK)
    response = daemon(upstream).get("/widget/a", fields=[line, "X-Kept: yes"])
    name = line.split(":")[0].lower().encode()
    passed(response)
    seen = upstream.request()
    assert seen.field(b"X-Kept") == b"yes"
    assert seen.field(b"Authorization") == f"Bearer {token}".encode()
    if name == b"via":
        assert seen.field(b"Via").endswith(b"proofproxy")
    elif name != b"authorization":
        assert name not in seen.names()
    assert b"client-own" not in seen.head


@pytest.mark.parametrize("named", ["Authorization", "Host", "X-Mine", "authorization, x-mine", "close, X-Mine", "Via",
                                   "Content-Length, X-Mine"])
def test_headers_named_in_connection_are_dropped_but_not_ours(daemon, raw_upstream, token, named):
    upstream = raw_upstream(automatic=OK)
    fields = [f"Connection: {named}", "X-Mine: 1", "X-Other: 2"]
    passed(daemon(upstream).get("/widget/a", method="POST", fields=fields, body=b"abc"))
    seen = upstream.request()
    assert seen.field(b"Authorization") == f"Bearer {token}".encode()
    assert seen.field(b"Host") == f"127.0.0.1:{upstream.port}".encode()
    assert seen.field(b"X-Other") == b"2"
    assert seen.body == b"abc"
    assert (b"x-mine" in seen.names()) == ("x-mine" not in named.lower())


def test_several_connection_lines_are_one_list(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    passed(daemon(upstream).get("/widget/a", fields=["Connection: X-A", "X-A: 1", "Connection: keep-alive, x-b ,",
                                                      "X-B: 2", "X-C: 3"]))
    names = upstream.request().names()
    assert b"x-a" not in names and b"x-b" not in names and b"x-c" in names


def test_origin_of_the_config_is_sent_and_the_clients_is_not(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream, origin="https://partner.example", allowed_origins=["https://app.example"])
    passed(running.get("/widget/a", fields=["Origin: https://app.example"]))
    passed(running.get("/widget/a"))
    assert [r.field(b"Origin") for r in upstream.taken()] == [b"https://partner.example"] * 2


# --- bodies upward ---
@pytest.mark.parametrize("size", [0, 1, 4095, 65536, 300000, 1 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_request_bodies_arrive_whole(daemon, raw_upstream, size, chunked):
    upstream = raw_upstream(automatic=OK)
    body = os.urandom(size)
    with daemon(upstream).client() as client:
        if chunked:
            client.send(request("/widget/a", "POST", ["Transfer-Encoding: chunked"]))
            for at in range(0, size, 50000):
                piece = body[at:at + 50000]
                client.send(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece))
            client.send(b"0\r\nX-Trailer: dropped\r\n\r\n")
        else:
            client.send(request("/widget/a", "POST", body=body))
        passed(client.response())
    seen = upstream.request()
    assert seen.body == body
    assert b"X-Trailer" not in seen.wire
    lengths = seen.field(b"Content-Length"), seen.field(b"Transfer-Encoding")
    assert lengths in ((str(size).encode(), None), (None, b"chunked"))


def test_a_post_without_a_body_says_length_zero(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    passed(daemon(upstream).get("/widget/a", method="POST"))
    assert upstream.request().field(b"Content-Length") == b"0"


def test_a_get_without_a_body_has_no_framing(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    passed(daemon(upstream).get("/widget/a"))
    seen = upstream.request()
    assert seen.field(b"Content-Length") is None and seen.field(b"Transfer-Encoding") is None


def test_a_get_may_have_a_body(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    passed(daemon(upstream).get("/widget/a", body=b"hello"))
    assert upstream.request().body == b"hello"


def test_expect_100_continue(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    with daemon(upstream).client() as client:
        client.send(request("/widget/a", "POST", ["Content-Length: 5", "Expect: 100-continue"]))
        assert client.response(interim=True).status == 100
        client.send(b"hello")
        passed(client.response())
    seen = upstream.request()
    assert seen.body == b"hello" and b"expect" not in seen.names()


def test_a_refused_request_gets_no_100(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    with daemon(upstream).client() as client:
        client.send(request("/elsewhere", "POST", ["Content-Length: 5", "Expect: 100-continue"]))
        refused(client.response(interim=True), 404)
    with daemon(upstream).client() as client:
        client.send(request("/widget/a", "POST", ["Content-Length: 99999999", "Expect: 100-continue"]))
        refused(client.response(interim=True), 413)
    assert not upstream.taken()


def test_other_expectations_are_refused(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    refused(daemon(upstream).get("/widget/a", fields=["Expect: 200-maybe"]), 417)
    assert not upstream.taken()


# --- answers ---
def test_status_headers_and_body_come_back_verbatim(daemon, raw_upstream):
    body = bytes(range(256)) * 3
    head = (
        b"HTTP/1.1 299 Any Reason At All\r\nX-Request-Id: req_1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\n"
        b"X-Latin: caf\xe9\r\nServer: proof\r\nDate: Sun, 22 Nov 2026 17:52:29 GMT\r\n"
        b"Location: https://elsewhere.test/\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    upstream = raw_upstream(automatic=head + body)
    response = passed(daemon(upstream).get("/widget/a"), 299)
    assert response.body == body
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    assert response.field("X-Request-Id") == "req_1"
    assert response.field("X-Empty") == ""
    assert response.field("X-Latin") == "caf\xe9"
    assert response.field("Server") == "proof"
    assert response.field("Date") == "Sun, 22 Nov 2026 17:52:29 GMT"
    assert response.field("Location") == "https://elsewhere.test/"


@pytest.mark.parametrize("status", [200, 201, 202, 206, 300, 301, 302, 303, 307, 308, 400, 402, 403, 404, 409, 418, 422,
                                    429, 500, 501, 505, 599])
def test_every_status_passes_and_redirects_are_not_followed(daemon, raw_upstream, status):
    upstream = raw_upstream(automatic=b"HTTP/1.1 %d X\r\nLocation: /widget/b\r\nContent-Length: 3\r\n\r\nabc" % status)
    assert passed(daemon(upstream).get("/widget/a", method="POST"), status).body == b"abc"
    assert len(upstream.taken()) == 1


def test_hop_by_hop_headers_of_answers_are_dropped(daemon, raw_upstream):
    upstream = raw_upstream(automatic=(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n"
        b"X-Kept: 2\r\n"
        b"Proxy-Authenticate: Basic\r\nTrailer: X-T\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n"
        b"Content-Length: 0\r\n\r\n"))
    response = passed(daemon(upstream).get("/widget/a"))
    names = {n.lower() for n, _ in response.fields}
    assert not names & {"x-mine", "proxy-authenticate", "trailer", "upgrade", "proxy-connection"}
    assert "timeout=5" not in response.all("Keep-Alive")
    assert response.field("X-Kept") == "2"


def test_head_keeps_the_length_and_has_no_body(daemon, raw_upstream):
    upstream = raw_upstream(automatic=b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-A: b\r\n\r\n")
    with daemon(upstream).client() as client:
        for _ in range(3):
            response = passed(client.get("/widget/a", method="HEAD"))
            assert response.field("Content-Length") == "12345" and response.field("X-A") == "b"


def test_head_of_an_answer_without_a_length(daemon, raw_upstream):
    upstream = raw_upstream(automatic=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n")
    running = daemon(upstream)
    for _ in range(3):
        with running.client() as client:
            response = passed(client.get("/widget/a", method="HEAD"))
            assert response.field("Content-Length") is None and response.field("X-A") == "b"
            assert response.field("Connection") == "close" and client.at_end()


@pytest.mark.parametrize("status,line", [(204, b""), (304, b""), (304, b"Content-Length: 77\r\n"),
                                         (304, b"ETag: \"x\"\r\n")])
def test_answers_without_a_body(daemon, raw_upstream, status, line):
    upstream = raw_upstream(automatic=b"HTTP/1.1 %d X\r\n%s\r\n" % (status, line))
    running = daemon(upstream)
    client = running.client()
    for _ in range(3):
        response = passed(client.get("/widget/a"), status)
        assert response.field("Transfer-Encoding") is None
        assert response.field("Content-Length") == ("77" if b"77" in line else None)
        if response.field("Connection") == "close":
            assert client.at_end()
            client = running.client()
    client.close()


def test_205_with_a_zero_length(daemon, raw_upstream):
    upstream = raw_upstream(automatic=b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n")
    with daemon(upstream).client() as client:
        for _ in range(2):
            assert passed(client.get("/widget/a"), 205).body == b""


def test_chunked_answers(daemon, raw_upstream):
    upstream = raw_upstream(automatic=(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
        b"5;name=value\r\nhello\r\n1\r\n \r\n00005\r\nworld\r\n0\r\nX-Trailer: dropped\r\n\r\n"))
    with daemon(upstream).client() as client:
        for _ in range(3):
            response = passed(client.get("/widget/a"))
            assert response.body == b"hello world" and response.complete
            assert "dropped" not in response.raw_head and response.field("X-Trailer") is None


def test_an_answer_that_ends_with_the_connection(daemon, raw_upstream):
    upstream = raw_upstream()
    with daemon(upstream).client() as client:
        client.send(request("/widget/a"))
        upstream.request().answer(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nall of it", end="orderly")
        response = passed(client.response())
        assert response.body == b"all of it" and response.complete


def test_http_10_upstream(daemon, raw_upstream):
    upstream = raw_upstream()
    with daemon(upstream).client() as client:
        client.send(request("/widget/a"))
        upstream.request().answer(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", end="orderly")
        assert passed(client.response()).body == b"ok"


def test_interim_answers_are_swallowed(daemon, raw_upstream):
    upstream = raw_upstream(automatic=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                                      b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    with daemon(upstream).client() as client:
        client.send(request("/widget/a", "POST", body=b"x"))
        response = client.response(interim=True)
        assert passed(response).body == b"{}"


def test_http_10_client(daemon, raw_upstream):
    upstream = raw_upstream(automatic=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    with daemon(upstream).client() as client:
        client.send(b"GET /widget/a HTTP/1.0\r\nHost: localhost\r\n\r\n")
        response = passed(client.response())
        assert response.field("Transfer-Encoding") is None
        assert response.body == b"abc"
        assert client.at_end()


def test_a_late_answer_in_small_pieces(daemon, raw_upstream):
    upstream = raw_upstream()
    with daemon(upstream).client() as client:
        client.send(request("/widget/a"))
        seen = upstream.request()
        for i in range(len(OK)):
            seen.connection.send(OK[i:i + 1])
        assert passed(client.response()).body == b"{}"


# --- connections ---
def test_keep_alive_and_reuse_upstream(daemon, fake):
    with daemon(fake).client() as client:
        for _ in range(20):
            passed(client.get("/widget/transactions/x"), 404)
    stats = fake.stats()
    assert stats["requests"] == 20
    assert stats["connections"] < 10


def test_connection_close_is_honoured(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    with daemon(upstream).client() as client:
        response = passed(client.get("/widget/a", fields=["Connection: close"]))
        assert "close" in (response.field("Connection") or "").lower()
        assert client.at_end()


def test_fifty_pipelined_requests_are_answered_in_order(daemon, raw_upstream):
    upstream = raw_upstream(automatic=lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (
        len(r.target), r.target))
    with daemon(upstream).client() as client:
        client.send(b"".join(request(f"/widget/{i}", "POST" if i % 3 else "GET", body=b"x" * i if i % 3 else None)
                             for i in range(50)))
        assert [client.response().body for _ in range(50)] == [f"/widget/{i}".encode() for i in range(50)]


def test_a_refusal_among_pipelined_requests_keeps_the_order(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    with daemon(upstream).client() as client:
        client.send(request("/widget/a") + request("/nowhere") + request("/widget/b"))
        passed(client.response())
        refused(client.response(), 404)
        passed(client.response())
    assert [r.target for r in upstream.taken()] == [b"/widget/a", b"/widget/b"]


def test_a_half_closed_client_still_gets_its_answer(daemon, raw_upstream):
    upstream = raw_upstream()
    with daemon(upstream).client() as client:
        client.send(request("/widget/a")).half_close()
        upstream.request().answer(OK)
        assert passed(client.response()).body == b"{}"


def test_requests_in_single_bytes(daemon, raw_upstream):
    upstream = raw_upstream(automatic=OK)
    with daemon(upstream).client() as client:
        for byte in request("/widget/a?x", "POST", ["X-A: b"], b"hello"):
            client.send(bytes([byte]))
        passed(client.response())
    assert upstream.request().body == b"hello"


def test_two_environments_side_by_side(daemon, fakeproof, vault, certs):
    tokens = {"production": vault.token("prod"), "sandbox": vault.token("sand")}
    fakes = {"production": fakeproof([tokens["production"]]), "sandbox": fakeproof([tokens["sandbox"]], cert="sandbox")}
    running = daemon(environments={
        name: {"base_url": fakes[name].url, "token_file": [tokens[name]], "tls": {"ca_file": f"{certs}/ca.crt"}}
        for name in tokens
    })
    for name, fake in fakes.items():
        passed(running.get("/widget/transactions/x", environment=name), 404)
        stats = fake.stats()
        assert stats["requests"] == 1 and len(stats["tokens"]) == 1
        assert list(stats["tokens"].values()) == [{"requests": 1, "refused": 0}]


def test_workers_share_the_listeners(daemon, fake):
    running = daemon(fake, settings={"workers": 2})
    for _ in range(30):
        passed(running.get("/widget/transactions/x"), 404)
    assert fake.stats()["requests"] == 30


def test_the_access_log_tells_each_exchange_without_its_query(daemon, fake, vault):
    running = daemon(fake)
    query = vault.add("query-secret-123456")
    passed(running.get(f"/widget/transactions/x?{query}"), 404)
    refused(running.get("/nowhere"), 404)
    running.wait_log("404", "GET", "/widget/transactions/x")
    running.wait_log("404", "GET", "/nowhere", "refused")
