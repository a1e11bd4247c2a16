"""What answers of the daemon itself look like."""
import json
import pathlib

JSON = "application/json"


def refused(response, status, code=None, error=None, sent="no"):
    """Asserts a local error: its status, shape and headers. Returns its JSON."""
    assert response is not None, "the connection ended without an answer"
    assert response.status == status, response
    assert (response.field("Content-Type") or "").startswith(JSON), response
    assert response.field("X-Request-Id"), response
    assert (response.field("Proxy-Status") or "").startswith("proofproxy; error="), response
    body = json.loads(response.body)
    assert set(body) == {"error", "code", "message", "sent"}, body
    assert body["code"].startswith("proxy_"), body
    assert body["message"], body
    assert body["sent"] == sent, body
    if code is not None:
        assert body["code"] == code, body
    if error is not None:
        assert body["error"] == error, body
    return body


def passed(response, status=200):
    """Asserts an answer that is upstream's and not the daemon's."""
    assert response is not None, "the connection ended without an answer"
    assert response.status == status, response
    assert not (response.field("Proxy-Status") or "").startswith("proofproxy;"), response
    return response


def sanitized(binary):
    """Sanitizers need more memory; bounds on it don't apply then."""
    return b"__asan_" in (data := pathlib.Path(binary).read_bytes()) or b"__tsan_" in data
