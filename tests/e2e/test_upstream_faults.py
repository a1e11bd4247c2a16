"""An upstream that misbehaves in every way: what the app gets, and what it is told about repeating."""
import ssl
import time

import pytest

from harness.admin import metric
from harness.client import request
from harness.daemon import Reservation
from harness.expect import passed, refused
from harness.upstream import OK


# --- TLS ---
@pytest.mark.parametrize("cert", ["expired", "future", "wrong-name", "unknown"])
def test_bad_certificates_are_refused(daemon, raw_upstream, cert):
    upstream = raw_upstream(cert=cert, automatic=OK)
    running = daemon(upstream)
    for method in ("GET", "POST"):
        refused(running.get("/widget/a", method=method), 502, "proxy_tls_failed", "upstream_unavailable")
    assert not upstream.taken()


def test_the_certificate_is_checked_by_name_too(daemon, raw_upstream):
    """wrong-name is right for its own host; localhost is in good's list as a name, not only as an address."""
    upstream = raw_upstream(automatic=OK)
    passed(daemon(base_url=f"https://localhost:{upstream.port}").get("/widget/a"))
    other = raw_upstream(cert="wrong-name", automatic=OK)
    refused(daemon(base_url=f"https://localhost:{other.port}").get("/widget/a"), 502, "proxy_tls_failed")
    assert not other.taken()


def old_context(certs, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    context.load_cert_chain(f"{certs}/good.crt", f"{certs}/good.key")
    return context


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_old_tls_is_refused(daemon, raw_upstream, certs, version):
    upstream = raw_upstream(context=old_context(certs, version), automatic=OK)
    refused(daemon(upstream).get("/widget/a"), 502, "proxy_tls_failed")
    assert not upstream.taken()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_12_is_enough_unless_13_is_asked_for(daemon, raw_upstream, certs):
    upstream = raw_upstream(context=old_context(certs, ssl.TLSVersion.TLSv1_2), automatic=OK)
    passed(daemon(upstream).get("/widget/a"))
    refused(daemon(upstream, tls={"min_version": "1.3"}).get("/widget/a"), 502, "proxy_tls_failed")


def test_a_plain_server_behind_https(daemon, raw_upstream):
    seen = []

    def answer_in_clear(sock):
        seen.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        sock.close()
        return False

    upstream = raw_upstream(tls=False, on_connect=answer_in_clear)
    refused(daemon(base_url=f"https://127.0.0.1:{upstream.port}").get("/widget/a"), 502, "proxy_tls_failed")
    assert seen and not any(b"Bearer" in data for data in seen)


def test_a_server_that_closes_in_the_handshake(daemon, raw_upstream):
    def hang_up(sock):
        sock.recv(10)
        sock.close()
        return False

    upstream = raw_upstream(on_connect=hang_up)
    refused(daemon(upstream).get("/widget/a"), 502, "proxy_tls_failed")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_cut_handshake_is_tried_again_and_a_failed_one_is_not(daemon, raw_upstream, method, how):
    """Nothing left the host. A certificate that does not pass will not pass a moment later either."""
    cut = []

    def hang_up(sock):
        sock.recv(10 if how == "reset" else 65536)
        cut.append(sock)
        sock.close()  # with unread bytes: a reset
        return False

    running = daemon(raw_upstream(on_connect=hang_up), process={"wait": True})
    refused(running.get("/widget/a", method=method, body=b"pay"), 502, "proxy_tls_failed", sent="no")
    running.wait_log('"attempts":2', '"sent":"no"', '"reason":"tls"')
    running = daemon(raw_upstream(cert="expired", automatic=OK))
    refused(running.get("/widget/a", method=method, body=b"pay"), 502, "proxy_tls_failed", sent="no")
    running.wait_log('"attempts":1', '"sent":"no"', '"reason":"tls"')


def test_a_server_that_never_shakes_hands(daemon, raw_upstream):
    held = []
    upstream = raw_upstream(on_connect=lambda sock: held.append(sock))
    start = time.monotonic()
    running = daemon(upstream, connect_timeout="700ms", retries={"attempts": 1})
    response = running.get("/widget/a")
    refused(response, 504, "proxy_timeout")
    assert response.field("Proxy-Status") == "proofproxy; error=connection_timeout"
    assert time.monotonic() - start < 8
    for sock in held:
        sock.close()


# --- no road ---
def test_nobody_listens(daemon):
    nobody = Reservation()
    running = daemon(base_url=f"https://{nobody.text}")
    for method in ("GET", "POST"):
        refused(running.get("/widget/a", method=method, body=b"x"), 502, "proxy_connect_failed", "upstream_unavailable")
    nobody.close()


def test_a_name_that_does_not_resolve(daemon, token):
    running = daemon(base_url="https://no-such-host.invalid")
    refused(running.get("/widget/a"), 502, "proxy_dns_failed", "upstream_unavailable")


def test_upstream_comes_back(daemon, fakeproof, token):
    first = fakeproof()
    running = daemon(first)
    passed(running.get("/widget/transactions/x"), 404)
    port = first.port
    first.process.terminate()
    first.process.wait()
    refused(running.get("/widget/transactions/x"), 502)
    fakeproof(options=["--port", port])
    passed(running.get("/widget/transactions/x"), 404)


# --- answers that cannot be understood exactly ---
def head(*lines, body=b"", status=b"HTTP/1.1 200 OK"):
    return b"\r\n".join((status,) + lines) + b"\r\n\r\n" + body


MALFORMED = {
    "garbage": b"this is not HTTP\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "empty-line-first": b"\r\n" + OK,
    "html-only": b"<html>hello</html>\r\n\r\n",
    "version-09": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-20": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-12": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-lower": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "icy": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-two-digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-four-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-letters": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "status-negative": b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-000": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status-600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "status-999": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "two-blanks": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "reason-control": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "reason-cr": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "cl-twice": head(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "cl-twice-different": head(b"Content-Length: 2", b"Content-Length: 3", body=b"{}x"),
    "cl-list": head(b"Content-Length: 2, 2", body=b"{}"),
    "cl-plus": head(b"Content-Length: +2", body=b"{}"),
    "cl-negative": head(b"Content-Length: -2", body=b"{}"),
    "cl-hex": head(b"Content-Length: 0x2", body=b"{}"),
    "cl-empty": head(b"Content-Length:", body=b"{}"),
    "cl-huge": head(b"Content-Length: 99999999999999999999", body=b"{}"),
    "cl-letters": head(b"Content-Length: two", body=b"{}"),
    "te-and-cl": head(b"Transfer-Encoding: chunked", b"Content-Length: 2", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "cl-and-te": head(b"Content-Length: 2", b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "te-gzip": head(b"Transfer-Encoding: gzip, chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "te-identity": head(b"Transfer-Encoding: identity", body=b"{}"),
    "te-twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "te-chunked-chunked": head(b"Transfer-Encoding: chunked, chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "te-parameter": head(b"Transfer-Encoding: chunked;x", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "te-http10": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "fold": head(b"X-A: b", b" c", b"Content-Length: 0"),
    "fold-cl": head(b"Content-Length:", b" 2", body=b"{}"),
    "name-blank": head(b"X-A : b", b"Content-Length: 0"),
    "name-inner-blank": head(b"X A: b", b"Content-Length: 0"),
    "name-empty": head(b": b", b"Content-Length: 0"),
    "name-control": head(b"X\x01A: b", b"Content-Length: 0"),
    "name-parenthesis": head(b"X(A): b", b"Content-Length: 0"),
    "no-colon": head(b"nonsense", b"Content-Length: 0"),
    "value-nul": head(b"X-A: b\x00c", b"Content-Length: 0"),
    "value-control": head(b"X-A: b\x01c", b"Content-Length: 0"),
    "value-del": head(b"X-A: b\x7fc", b"Content-Length: 0"),
    "value-cr": head(b"X-A: b\rSet-Cookie: evil=1", b"Content-Length: 0"),
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-lf-in-the-middle": b"HTTP/1.1 200 OK\r\nX-A: b\nSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
    "splitting-by-cr": head(b"X-A: b\r\rHTTP/1.1 200 OK", b"Content-Length: 0"),
    "header-bomb": head(*[b"X-%d: y" % i for i in range(5000)], b"Content-Length: 0"),
    "header-count-over": head(*[b"X-%d: y" % i for i in range(101)], b"Content-Length: 0"),
    "header-too-long": head(b"X-A: " + b"y" * 70000, b"Content-Length: 0"),
    "endless-reason": b"HTTP/1.1 200 " + b"x" * 70000 + b"\r\nContent-Length: 0\r\n\r\n",
    "interim-flood": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200 + OK,
    "interim-with-length": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + OK,
    "interim-malformed": b"HTTP/1.1 103 Early Hints\r\nX A: b\r\n\r\n" + OK,
    "101-unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "204-with-te": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk-size-bad": head(b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk-size-huge": head(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    "chunk-size-blank": head(b"Transfer-Encoding: chunked", body=b"2 \r\n{}\r\n0\r\n\r\n"),
    "chunk-lf": head(b"Transfer-Encoding: chunked", body=b"2\n{}\n0\n\n"),
    "chunk-no-crlf": head(b"Transfer-Encoding: chunked", body=b"2\r\n{}x0\r\n\r\n"),
    "chunk-extension-endless": head(b"Transfer-Encoding: chunked", body=b"2;" + b"x" * 9000 + b"\r\n{}\r\n0\r\n\r\n"),
    "trailer-malformed": head(b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\nX T: y\r\n\r\n"),
    "trailer-endless": head(b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 9000 + b"\r\n"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_answer_is_a_502_and_not_a_guess(daemon, raw_upstream, name):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream, retries={"attempts": 1})
    with running.client() as client:
        client.send(request("/widget/a"))
        upstream.request().answer(MALFORMED[name], end="orderly")
        response = client.response()
        streaming = name.startswith(("chunk-", "trailer-"))
        if streaming and response is not None and response.status == 200:
            # The head was already on its way when the fault showed: then the client's answer is cut.
            assert not response.complete
        elif not (streaming and response is None):
            # After interim answers alone it is not known what became of the request.
            sent = response.json["sent"]
            assert sent == "yes" or sent == "maybe" and name in ("interim-flood", "101-unasked")
            refused(response, 502, "proxy_protocol_error", sent=sent)
        assert b"evil" not in (response.body if response else b"")
    # The connection it came over is not used again.
    with running.client() as client:
        client.send(request("/widget/b"))
        seen = upstream.request()
        seen.answer(OK)
        passed(client.response())
    assert seen.connection is not upstream.connections[0] or len(upstream.connections) > 1


def test_bytes_behind_an_answer_are_never_the_next_one(daemon, raw_upstream):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream)
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with running.client() as client:
        client.send(request("/widget/a"))
        first = upstream.request()
        first.answer(OK + evil)
        assert passed(client.response()).body == b"{}"
        client.send(request("/widget/b"))
        second = upstream.request()
        assert second.connection is not first.connection
        second.answer(OK)
        assert passed(client.response()).body == b"{}"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bytes_that_come_while_a_connection_idles_are_never_an_answer(daemon, raw_upstream, method):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream)
    with running.client() as client:
        client.send(request("/widget/a"))
        first = upstream.request()
        first.answer(OK)
        passed(client.response())
        first.connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        refused(client.get("/nowhere"), 404)  # the daemon's loop has turned: it knows of the bytes
        client.send(request("/widget/b", method))
        second = upstream.request()
        assert second.connection is not first.connection
        second.answer(OK)
        assert passed(client.response()).body == b"{}"


def test_body_bytes_behind_head_304_and_204_break_the_connection_only(daemon, raw_upstream):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream)
    for method, status in (("HEAD", b"200"), ("GET", b"204"), ("GET", b"304")):
        length = b"" if status == b"204" else b"Content-Length: 7\r\n"
        with running.client() as client:
            client.send(request("/widget/a", method))
            evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            upstream.request().answer(b"HTTP/1.1 " + status + b" X\r\n" + length + b"\r\n" + evil)
            response = client.response(head_only=method == "HEAD")
            assert response.status == int(status)
            client.send(request("/widget/b"))
            upstream.request().answer(OK)
            assert passed(client.response()).body == b"{}"


def test_a_few_interim_answers_with_headers_are_fine(daemon, raw_upstream):
    upstream = raw_upstream(tls=False, automatic=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5 + OK)
    passed(daemon(upstream).get("/widget/a"))


def test_an_interim_answer_in_pieces_with_the_final_head_in_its_last(daemon, raw_upstream):
    """The final head then lies behind the interim one in what is kept of both."""
    body, padding = b"a" * 100000, b"y" * 3000
    upstream = raw_upstream(tls=False)
    with daemon(upstream).client() as client:
        client.send(request("/widget/a"))
        asked = upstream.request()
        asked.connection.send(b"HTTP/1.1 103 Early Hints\r\nLi")
        time.sleep(0.1)  # the two come apart
        asked.answer(b"nk: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX-First: 1\r\nContent-Length: 100000\r\nX-Padding: " +
                     padding + b"\r\nX-Last: 2\r\n\r\n" + body)
        response = passed(client.response())
        assert response.body == body
        assert [response.field(name) for name in ("X-First", "X-Padding", "X-Last", "Link")] == \
            ["1", padding.decode(), "2", None]


# --- connections that die ---
@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
def test_no_answer_at_all(daemon, raw_upstream, how):
    upstream = raw_upstream()
    running = daemon(upstream, retries={"attempts": 1})
    with running.client() as client:
        client.send(request("/widget/a", "POST", body=b"pay"))
        upstream.request().end(how)
        refused(client.response(), 502, "proxy_protocol_error", sent="maybe")
    assert upstream.none_came()


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
def test_half_a_head(daemon, raw_upstream, how):
    upstream = raw_upstream()
    running = daemon(upstream, retries={"attempts": 1})
    with running.client() as client:
        client.send(request("/widget/a", "POST", body=b"pay"))
        upstream.request().answer(b"HTTP/1.1 200 OK\r\nContent-", end=how)
        response = client.response()
        assert refused(response, 502, "proxy_protocol_error", sent=response.json["sent"])["sent"] in ("maybe", "yes")
    assert upstream.none_came()


def warm(running, upstream):
    """One exchange, so that an idle connection is in the pool; returns upstream's side of it."""
    with running.client() as client:
        client.send(request("/widget/warm"))
        seen = upstream.request()
        seen.answer(OK)
        passed(client.response())
    return seen.connection


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
def test_a_stale_connection_is_no_reason_for_a_get_to_fail(daemon, raw_upstream, how):
    upstream = raw_upstream()
    running = daemon(upstream)
    warm(running, upstream)
    with running.client() as client:
        client.send(request("/widget/a"))
        first = upstream.request()
        first.end(how)
        second = upstream.request()
        assert second.line == first.line
        second.answer(OK)
        passed(client.response())


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_stale_connection_never_repeats_a_write(daemon, raw_upstream, how, method):
    upstream = raw_upstream()
    running = daemon(upstream)
    warm(running, upstream)
    with running.client() as client:
        client.send(request("/widget/session", method, body=b"pay"))
        upstream.request().end(how)
        refused(client.response(), 502, sent="maybe")
    assert upstream.none_came()


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
def test_connections_closed_while_idle_are_not_used(daemon, raw_upstream, how):
    upstream = raw_upstream()
    running = daemon(upstream)
    for _ in range(5):
        connection = warm(running, upstream)
        connection.close(how)
        with running.client() as client:
            client.send(request("/widget/session", "POST", body=b"pay"))
            seen = upstream.request()
            assert seen.connection is not connection
            seen.answer(OK)
            passed(client.response())


def test_a_server_that_closes_after_each_answer(daemon, fakeproof):
    fake = fakeproof(options=["--keep-alive-requests", "1"])
    running = daemon(fake)
    with running.client() as client:
        for _ in range(30):
            passed(client.get("/widget/transactions/x", method="POST", body=b"x"), 404)


def test_a_server_with_a_short_keep_alive(daemon, fakeproof):
    fake = fakeproof(options=["--keep-alive", "1"])
    running = daemon(fake)
    with running.client() as client:
        for _ in range(100):
            response = client.get("/widget/transactions/x")
            passed(response, 404)


def test_an_answer_that_comes_before_the_body_is_read(daemon, fake):
    running = daemon(fake, max_body="8m")
    fake.fault("status", status=429, early=True)
    with running.client() as client:
        client.try_send(request("/widget/a", "POST", body=b"x" * (6 << 20)))
        response = client.response()
        assert response.status in (429, 502), response
        if response.status == 502:
            assert response.json["sent"] == "maybe"


# --- time ---
def test_request_timeout(daemon, fake):
    running = daemon(fake, request_timeout="1s", retries={"attempts": 1})
    fake.fault("stall", count=0)
    start = time.monotonic()
    refused(running.get("/widget/a", method="POST", body=b"x"), 504, "proxy_timeout", sent="maybe")
    assert 0.9 < time.monotonic() - start < 8
    fake.wait("aborted", 1)


def test_a_body_that_stalls_ends_the_answer(daemon, fake):
    running = daemon(fake, request_timeout="1s")
    fake.fault("large", bytes=1 << 20, after=1 << 19, how="orderly")
    response = running.get("/widget/a")
    assert response is None or response.status == 502 or not response.complete


def test_a_dripping_head_does_not_outlive_the_request_timeout(daemon, raw_upstream):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream, request_timeout="1s", retries={"attempts": 1})
    with running.client() as client:
        client.send(request("/widget/a", "POST"))
        seen = upstream.request()
        deadline = time.monotonic() + 8
        seen.connection.send(b"HTTP/1.1 200 OK\r\n")
        while time.monotonic() < deadline and seen.connection.send(b"X: y\r\n"):
            time.sleep(0.05)
        refused(client.response(), 504, "proxy_timeout", sent="yes")  # it had begun to answer
    assert time.monotonic() < deadline


# --- the secret ---
def test_a_token_in_an_answer_is_masked(daemon, raw_upstream, token):
    body = b'{"echo":"' + token.encode() + b'"}'
    upstream = raw_upstream(tls=False, automatic=b"HTTP/1.1 200 OK\r\nX-Echo: Bearer " + token.encode() +
                            b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    running = daemon(upstream)
    response = running.get("/widget/a")
    assert token not in response.raw_head and token.encode() not in response.body
    assert response.field("X-Echo") is not None


def test_a_token_that_names_a_header_line_is_masked(daemon, raw_upstream, token):
    upstream = raw_upstream(tls=False, automatic=b"HTTP/1.1 200 OK\r\n" + token.encode() + b": kept\r\nX-" +
                            token.encode() + b":\r\nContent-Length: 0\r\n\r\n")
    response = passed(daemon(upstream).get("/widget/a"))
    assert token not in response.raw_head
    assert response.field("*" * len(token)) == "kept"


@pytest.mark.parametrize("framing", ["chunked", "until-close"])
@pytest.mark.parametrize("cuts", [[], [1], [20], [5, 6, 30]], ids=lambda cuts: "-".join(map(str, cuts)) or "whole")
def test_a_token_in_a_small_answer_that_comes_in_pieces_is_masked(daemon, raw_upstream, token, framing, cuts):
    upstream = raw_upstream(tls=False)
    running = daemon(upstream)
    edges = [0, *cuts, len(token)]
    pieces = [token[a:b].encode() for a, b in zip(edges, edges[1:])]
    with running.client() as client:
        client.send(request("/widget/a"))
        asked = upstream.request()
        asked.connection.send(b"HTTP/1.1 200 OK\r\n" +
                              (b"Transfer-Encoding: chunked" if framing == "chunked" else b"Connection: close") +
                              b"\r\n\r\n")
        for piece in [b"before ", *pieces, b" after ", token[:7].encode()]:
            time.sleep(0.03)
            asked.connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if framing == "chunked":
            asked.connection.send(b"0\r\n\r\n")
        else:
            asked.connection.close()
        assert client.response().body == b"before " + b"*" * len(token) + b" after " + token[:7].encode()
    assert metric(running, "proofproxy_response_leaks_masked_total") == 1


@pytest.mark.parametrize("held", [0, 1], ids=["current", "previous"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_every_held_token_is_masked_in_every_line(daemon, raw_upstream, vault, held, place):
    tokens = [vault.token("new"), vault.token("old")]
    lines = [b"X-A: a", b"X-B: b", b"X-C: c"]
    lines[place] += tokens[held].encode()
    lines.insert(0 if place > 0 else 3, b"Content-Length: 2")
    upstream = raw_upstream(tls=False, automatic=b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(lines) + b"\r\n\r\n{}")
    running = daemon(upstream, token_file=tokens)
    response = running.get("/widget/a")
    assert response.field("X-" + "ABC"[place]) == "abc"[place] + "*" * len(tokens[held])
    assert tokens[held] not in response.raw_head


def test_a_redirect_is_not_followed_with_the_token(daemon, raw_upstream):
    elsewhere = raw_upstream(tls=False, automatic=OK)
    upstream = raw_upstream(tls=False, automatic=b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:%d/widget/a\r\n"
                                                 b"Content-Length: 0\r\n\r\n" % elsewhere.port)
    assert daemon(upstream).get("/widget/a").status == 307
    assert not elsewhere.connections


def test_proxy_variables_of_the_environment_are_ignored(daemon, raw_upstream):
    trap = raw_upstream(tls=False, automatic=OK)
    upstream = raw_upstream(automatic=OK)
    url = f"http://127.0.0.1:{trap.port}"
    running = daemon(upstream, process={"environ": {
        "https_proxy": url, "HTTPS_PROXY": url, "ALL_PROXY": url, "all_proxy": url, "http_proxy": url,
        "SSLKEYLOGFILE": "keys.log", "CURL_CA_BUNDLE": "/nonexistent"}})
    passed(running.get("/widget/a"))
    assert not trap.connections
    assert not (running.directory / "keys.log").exists()
