"""Which failures are tried again, for which methods, how often, and within which limits."""
import time

import pytest

from harness.client import request
from harness.daemon import Reservation
from harness.expect import passed, refused


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_get_is_tried_again(daemon, fake, status, method):
    running = daemon(fake)
    fake.fault("status", status=status)
    passed(running.get("/widget/transactions/x", method=method), 404)
    assert fake.stats()["requests"] == 2


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_others_are_not(daemon, fake, status, method):
    running = daemon(fake)
    fake.fault("status", status=status)
    response = running.get("/widget/transactions/x", method=method, body=b"{}")
    assert passed(response, status).field("X-Request-Id").startswith("req_")
    assert fake.stats()["requests"] == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500, 501])
def test_other_answers_are_final(daemon, fake, status):
    running = daemon(fake)
    fake.fault("status", status=status)
    passed(running.get("/widget/transactions/x"), status)
    assert fake.stats()["requests"] == 1


def test_the_last_answer_is_passed_on_when_all_fail(daemon, fake):
    running = daemon(fake)
    fake.fault("status", status=503, code="first")
    fake.fault("status", status=502, code="second")
    assert passed(running.get("/widget/transactions/x"), 502).json["code"] == "second"
    assert fake.stats()["requests"] == 2


def test_attempts_count_all_tries(daemon, fake):
    running = daemon(fake, retries={"attempts": 4, "budget_percent": 100})
    fake.fault("status", status=503, count=3)
    passed(running.get("/widget/transactions/x"), 404)
    assert fake.stats()["requests"] == 4


def test_one_attempt_means_no_retry(daemon, fake):
    running = daemon(fake, retries={"attempts": 1})
    fake.fault("status", status=503)
    passed(running.get("/widget/transactions/x"), 503)
    assert fake.stats()["requests"] == 1


def test_which_failures_are_chosen(daemon, fake):
    running = daemon(fake, retries={"on": ["504"]})
    fake.fault("status", status=503)
    passed(running.get("/widget/transactions/x"), 503)
    fake.fault("status", status=504)
    passed(running.get("/widget/transactions/x"), 404)
    assert fake.stats()["requests"] == 3


def test_methods_are_chosen(daemon, fake):
    running = daemon(fake, retries={"methods": ["PUT"]})
    fake.fault("status", status=503)
    passed(running.get("/widget/transactions/x"), 503)
    fake.fault("status", status=503)
    passed(running.get("/widget/transactions/x", method="PUT", body=b"{}"), 404)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_was_never_opened_is_tried_again(daemon, method):
    """Nothing left the host: even a POST may be tried a second time."""
    nobody = Reservation()
    running = daemon(base_url=f"https://{nobody.text}")
    refused(running.get("/widget/a", method=method, body=b"pay"), 502, "proxy_connect_failed", sent="no")
    running.wait_log('"attempts":2', '"sent":"no"')
    nobody.close()


def test_retries_stay_within_the_request_timeout(daemon, fake):
    running = daemon(fake, request_timeout="1s", retries={"attempts": 5, "budget_percent": 100})
    fake.fault("status", status=503, delay_ms=700, count=0)
    start = time.monotonic()
    response = running.get("/widget/transactions/x")
    assert response.status in (503, 504)
    assert time.monotonic() - start < 5
    assert fake.stats()["requests"] <= 3


def test_the_budget_bounds_a_bad_hour(daemon, fake):
    running = daemon(fake, retries={"attempts": 2, "budget_percent": 20})
    fake.fault("status", status=503, count=0)
    with running.client() as client:
        for _ in range(200):
            passed(client.get("/widget/transactions/x"), 503)
    assert 200 <= fake.stats()["requests"] <= 260


@pytest.mark.parametrize("how", ["reset", "truncate", "orderly"])
def test_an_answer_that_never_came_to_a_post_is_not_asked_for_again(daemon, fake, how):
    running = daemon(fake, retries={"attempts": 5, "budget_percent": 100})
    fake.fault("end", how=how)
    refused(running.get("/widget/session", method="POST", body=b"{}"), 502, sent="maybe")
    assert fake.stats()["requests"] == 1


def test_a_started_answer_is_never_begun_again(daemon, fake):
    running = daemon(fake)
    fake.fault("large", bytes=4 << 20, after=2 << 20)
    with running.client() as client:
        client.send(request("/widget/a"))
        response = client.response()
        assert response is None or not response.complete
    assert fake.stats()["requests"] == 1
