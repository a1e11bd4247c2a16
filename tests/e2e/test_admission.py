"""Who and what gets in, and in which order refusals come."""
import json
import socket
import time

import pytest

from harness.client import request
from harness.expect import passed, refused
from harness.upstream import OK


@pytest.fixture
def upstream(raw_upstream):
    return raw_upstream(automatic=OK)


def untouched(upstream):
    """Nothing of what was refused reached upstream."""
    assert not upstream.taken()


# --- Host ---
@pytest.mark.parametrize("host",
                         ["localhost", "localhost:1", "127.0.0.1", "127.0.0.1:8780", "[::1]", "[::1]:80", "LOCALHOST",
                                  "LocalHost:65535"])
def test_local_hosts_are_accepted(daemon, upstream, host):
    passed(daemon(upstream).get("/widget/a", host=host))


@pytest.mark.parametrize("host", [
    "example.com", "localhost.example.com", "127.0.0.1.example.com", "127.0.0.2", "127.1", "2130706433", "0.0.0.0",
    "::1",
    "[::]", "[::ffff:127.0.0.1]", "localhost.", "", "localhost:", "localhost:x", "localhost:99999", "localhost:80:80",
    "user@localhost", "localhost/x", "localhost,example.com", "rebind.attacker.test", "api.proof.test", "xlocalhost",
])
def test_other_hosts_are_misdirected(daemon, upstream, host):
    response = daemon(upstream).get("/widget/a", host=host)
    assert response.status in (400, 421), response
    refused(response, response.status)
    if host.endswith((".com", ".test")):
        assert response.status == 421
    untouched(upstream)


def test_allowed_hosts_add_names(daemon, upstream):
    running = daemon(upstream, allowed_hosts=["proof.internal"])
    passed(running.get("/widget/a", host="proof.internal"))
    passed(running.get("/widget/a", host="Proof.Internal:8780"))
    refused(running.get("/widget/a", host="x.proof.internal"), 421)


# --- browsers ---
@pytest.mark.parametrize("line", [
    "Origin: https://evil.example", "Origin: null", "Origin: http://localhost:3000", "Origin: http://127.0.0.1",
    "Origin:",
    "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: odd",
])
def test_browsers_get_nothing(daemon, upstream, line):
    for method in ("GET", "POST", "OPTIONS"):
        response = daemon(upstream).get("/widget/a", method=method, fields=[line])
        refused(response, 403, error="forbidden")
        assert not [n for n, _ in response.fields if n.lower().startswith("access-control-")]
    untouched(upstream)


@pytest.mark.parametrize("line", ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin"])
def test_own_pages_pass(daemon, upstream, line):
    passed(daemon(upstream).get("/widget/a", fields=[line]))


def test_allowed_origins_pass(daemon, upstream):
    running = daemon(upstream, allowed_origins=["https://app.example"])
    passed(running.get("/widget/a", fields=["Origin: https://app.example"]))
    refused(running.get("/widget/a", fields=["Origin: https://app.example.evil"]), 403)
    refused(running.get("/widget/a", fields=["Origin: http://app.example"]), 403)
    refused(running.get("/widget/a", fields=["Origin: https://app.example", "Origin: https://evil.example"]), 403)


# --- forwarded ---
@pytest.mark.parametrize("line", ["Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "x-forwarded-host: x",
                                  "X-Forwarded-Proto: https", "X_Forwarded_For: 1"])
def test_forwarded_requests_are_refused(daemon, upstream, line):
    refused(daemon(upstream).get("/widget/a", fields=[line]), 403, error="forbidden")
    untouched(upstream)


def test_forwarded_headers_are_dropped_where_they_are_tolerated(daemon, upstream):
    running = daemon(upstream, refuse_forwarded=False)
    passed(running.get("/widget/a", fields=["Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Real: 1"]))
    names = upstream.request().names()
    assert b"forwarded" not in names and b"x-forwarded-for" not in names and b"x-real" in names


# --- the required header ---
def test_the_required_header(daemon, upstream):
    running = daemon(upstream, require_header="X-Proofproxy-Request: true")
    refused(running.get("/widget/a"), 403)
    refused(running.get("/widget/a", fields=["X-Proofproxy-Request: false"]), 403)
    refused(running.get("/widget/a", fields=["X-Proofproxy-Request:"]), 403)
    passed(running.get("/widget/a", fields=["x-proofproxy-request: true"]))
    assert b"x-proofproxy-request" not in upstream.request().names()
    untouched(upstream)


# --- the client's own credential ---
def test_a_clients_authorization_can_be_rejected(daemon, upstream):
    running = daemon(upstream, client_authorization="reject")
    refused(running.get("/widget/a", fields=["Authorization: Bearer x"]), 400)
    untouched(upstream)
    passed(running.get("/widget/a"))


# --- methods ---
@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PROPFIND", "LINK", "get", "Get", "GETX", "PRI", "X"])
def test_other_methods_are_not_allowed(daemon, upstream, method):
    response = daemon(upstream).get("/widget/a", method=method)
    refused(response, 405)
    allowed = {m.strip() for m in response.field("Allow").split(",")}
    assert allowed == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    untouched(upstream)


# --- targets ---
BAD_TARGETS = [
    "http://127.0.0.1/widget/a", "https://evil.example/widget/a", "HTTP://localhost/widget/a", "*", "widget/a",
    "localhost:80", "/widget/../a", "/widget/..", "/widget/.", "/widget/./a", "/widget/a/..", "/widget/%2e%2e/a",
    "/widget/%2E./a", "/widget/.%2e/a", "/widget/%2e/a", "/widget/..;/a", "/widget/..;x=1/a", "/widget/a%2fb",
    "/widget/a%2Fb", "/widget/a%5cb", "/widget/a%5Cb", "/widget/a\\b", "/widget//a", "//widget/a", "/widget/a//",
    "//evil.example/widget/a", "/widget/a;b", "/widget/a%3bb", "/widget/%252e%252e/a", "/widget/a%25", "/widget/%2525",
    "/widget/%00", "/widget/a%0a", "/widget/a%0d%0aX:y", "/widget/%", "/widget/%4", "/widget/%zz", "/widget/a%u002e",
    "/widget/a#b", "/widget/a?b#c", "/widget/a\"b", "/widget/<a>", "/widget/{a}", "/widget/a|b", "/widget/a^b",
    "/widget/a`b", "/widget/a?b\"c", "/widget/a?b<c", "/widget/a?%", "/widget/a?%zz", "/widget/caf\xe9",
    "/widget/a?caf\xe9", "/widget/\xc0\xae\xc0\xae/a", "/widget/a\x7f",
]


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_targets_that_cannot_be_understood_exactly(daemon, upstream, target):
    refused(daemon(upstream).get(target), 400, error="invalid_request")
    untouched(upstream)


@pytest.mark.parametrize("target", ["/widget/a\tb", "/widget/a\x01", "/widget/a\x0b", "/widget/a b", "/widget/a\x00b"])
def test_control_bytes_in_the_target(daemon, upstream, target):
    with daemon(upstream).client() as client:
        client.send(request(target)).half_close()
        statuses = [r.status for r in client.responses()]
    assert all(s in (400, 505) for s in statuses), statuses
    untouched(upstream)


@pytest.mark.parametrize("target",
                         ["/", "/widget", "/Widget/a", "/WIDGET/a", "/widgets/a", "/widgetx", "/ws/", "/wsx", "/ws/a",
                                    "/admin", "/api/widget/a", "/%77idget/a", "/wid%67et/a", "/w%73", "/?/widget/a"])
def test_paths_that_are_not_allowed(daemon, upstream, target):
    refused(daemon(upstream).get(target), 404, error="not_found")
    untouched(upstream)


def test_allowed_paths_can_be_chosen(daemon, upstream):
    running = daemon(upstream, allowed_paths=["/v2/", "/exact"])
    for target in ("/v2/a", "/exact", "/exact?q", "/v2/"):
        passed(running.get(target))
    for target in ("/v2", "/exact/", "/exactly", "/widget/a"):
        refused(running.get(target), 404)


def test_a_target_over_8_kib_is_too_long(daemon, upstream):
    running = daemon(upstream)
    passed(running.get("/widget/" + "x" * (8192 - len("/widget/"))))
    assert running.get("/widget/" + "x" * 8192).status in (400, 414)
    assert len(upstream.taken()) == 1


# --- sizes ---
def test_header_limits(daemon, upstream):
    running = daemon(upstream)
    passed(running.get("/widget/a", fields=[f"X-{i}: v" for i in range(90)]))
    passed(running.get("/widget/a", fields=["X-A: " + "x" * 16000]))
    upstream.taken()
    for fields in ([f"X-{i}: v" for i in range(101)], ["X-A: " + "x" * 33000], ["X" * 33000 + ": a"],
                   [f"X-{i}: " + "y" * 1000 for i in range(40)]):
        with running.client() as client:
            client.try_send(request("/widget/a", fields=fields))
            refused(client.response(), 431)
            assert client.at_end()
    untouched(upstream)


@pytest.mark.parametrize("size", [8193, 12_000, 20_000, 40_000, 60_000, 200_000])
def test_a_target_that_is_too_long_is_refused_for_that(daemon, upstream, size):
    running = daemon(upstream)
    with running.client() as client:
        client.try_send(request("/widget/" + "a" * (size - 8)))
        refused(client.response(), 400, "proxy_target_too_long")
        assert client.at_end()
    untouched(upstream)


def test_a_malformed_request_gets_our_answer_while_others_leave(daemon, upstream):
    """libmicrohttpd has an answer of its own, in HTML, and says not whose request it is."""
    running = daemon(upstream)
    for _ in range(30):
        with running.client() as other:
            passed(other.get("/widget/a"))
        with running.client() as client:
            client.send(b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n")
            refused(client.response(), 400, "proxy_framing_invalid")


def test_a_large_content_length_is_refused_before_the_body(daemon, upstream):
    running = daemon(upstream, max_body=1000)
    with running.client() as client:
        client.send(request("/widget/a", "POST", ["Content-Length: 1001"]))
        refused(client.response(), 413)
        assert client.at_end()
    untouched(upstream)


# --- what the log says of it ---
@pytest.mark.parametrize("target,fields", [
    ("/widget/a?q=private", ["Origin: https://evil.example"]), ("/widget/a?q=private", ["X-A : b"]),
    ("/widget/a?q=private", ["X: " + "x" * 17000]), ("/widget/a?q=private%", []), ("/elsewhere?q=private", []),
    ("/widget/../a#private", []), ("/widget/" + "private" * 2000, []),
])
def test_the_log_names_the_path_of_a_refused_request_without_its_query(daemon, upstream, target, fields):
    running = daemon(upstream)
    with running.client() as client:
        client.try_send(request(target, fields=fields))
        assert client.response().status >= 400
    line = running.wait_log('"component":"access"')
    path = json.loads(line)["path"]
    assert path and target.startswith(path) and "?" not in line and len(path) <= 8192
    assert "private" not in line or "?" not in target and "#" not in target


@pytest.mark.parametrize("head,status,reason", [
    (b"GET /widget/a\r\n\r\n", 400, "framing"),
    (b"GET /widget/a HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, "version"),
    (b"GET /widget/a HTTP/1.1\r\nHost:", 408, "timeout"),
    (b"nonsense\r\n\r\n", None, "framing"),
])
def test_the_log_tells_of_a_client_without_a_readable_request(daemon, upstream, head, status, reason):
    running = daemon(upstream, header_timeout="300ms")
    with running.client() as client:
        client.send(head)
        if status is None:
            assert client.at_end()
        else:
            answer = client.response()
            refused(answer, status)
        line = json.loads(running.wait_log('"component":"access"'))
    assert line["environment"] == "production" and line["status"] == (status or 0)
    assert line.get("request_id") == (answer.field("X-Request-Id") if status else None)
    assert (line["sent"], line["reason"], line["end"]) == ("no", reason, "refused")
    assert "path" not in line and "method" not in line


# --- order ---
ORDER = [
    # Each step's fault with all later ones in the same request: the first one decides.
    ("host", 421), ("origin", 403), ("forwarded", 403), ("required", 403), ("method", 405), ("target", 400),
]


@pytest.mark.parametrize("first", range(len(ORDER)), ids=[name for name, _ in ORDER])
def test_the_first_refusal_decides(daemon, upstream, first):
    faults = {name for name, _ in ORDER[first:]}
    fields = [] if "required" in faults else ["X-Need: 1"]
    if "origin" in faults:
        fields.append("Origin: https://evil.example")
    if "forwarded" in faults:
        fields.append("X-Forwarded-For: 1.2.3.4")
    running = daemon(upstream, require_header="X-Need: 1")
    response = running.get(
        "/widget/../x", method="TRACE" if "method" in faults else "GET", fields=fields,
        host="evil.example" if "host" in faults else "localhost")
    refused(response, ORDER[first][1])
    untouched(upstream)


# --- capacity ---
def test_max_inflight(daemon, raw_upstream):
    upstream = raw_upstream()
    running = daemon(upstream, max_inflight=2)
    clients = [running.client() for _ in range(2)]
    held = []
    for client in clients:
        client.send(request("/widget/a"))
        held.append(upstream.request())
    response = running.get("/widget/b")
    refused(response, 503, "proxy_overloaded")
    for client, seen in zip(clients, held):
        seen.answer(OK)
        passed(client.response())
        client.close()
    with running.client() as client:
        client.send(request("/widget/c"))
        upstream.request().answer(OK)
        passed(client.response())


# --- deadlines ---
def test_a_head_that_drips_is_cut_at_an_absolute_deadline(daemon, upstream):
    running = daemon(upstream, header_timeout="1s")
    with running.client() as client:
        client.sock.settimeout(0.2)
        client.send(b"GET /widget/a HTTP/1.1\r\nHost: localhost\r\n")
        start = time.monotonic()
        while not client.ended and time.monotonic() - start < 10:
            client.try_send(b"X-A: b\r\n")
            try:
                data = client.sock.recv(65536)
                client.buffer += data
                client.ended = not data
            except socket.timeout:
                continue
            except ConnectionResetError:
                client.ended = True
        assert 0.7 < time.monotonic() - start < 6
        response = client.response()
        assert response is None or response.status == 408
    untouched(upstream)


def test_a_body_that_stalls_is_cut(daemon, upstream):
    running = daemon(upstream, body_timeout="1s")
    with running.client() as client:
        client.send(request("/widget/a", "POST", ["Content-Length: 100"]) + b"x" * 10)
        response = client.response()
        assert response is not None and response.status == 408
        assert client.at_end()
    assert all(len(r.body) < 100 for r in upstream.taken())


def test_an_idle_connection_is_closed(daemon, upstream):
    running = daemon(upstream, client_idle_timeout="1s")
    with running.client() as client:
        passed(client.get("/widget/a"))
        assert client.at_end()


def test_file_descriptors_run_out_and_come_back(daemon, upstream):
    running = daemon(upstream, process={"nofile": 64})
    clients = []
    for _ in range(120):
        clients.append(running.client())
    for client in clients:
        client.close()
    passed(running.get("/widget/a"))
    passed(running.get("/widget/a"))
