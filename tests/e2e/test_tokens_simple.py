"""Tokens as one exchange sees them: attached, replayed on 401, and never invented."""
import pytest

from harness.expect import passed, refused
from harness.vault import fingerprint
from harness.waiting import until

SESSION = b'{"partner_user_id":"u1","user_email":"a@b.c","network":"TRC20","currency":"USDT","amount":"10.5"}'


def used(fake):
    return {f: (c["requests"], c["refused"]) for f, c in fake.stats()["tokens"].items()}


def test_the_token_is_attached(daemon, fake, token):
    assert passed(daemon(fake).get("/widget/session", method="POST", body=SESSION)).json["signature"].startswith("v2:")
    assert used(fake) == {fingerprint(token): (1, 0)}


@pytest.mark.parametrize("method,body,status", [("GET", None, 404), ("HEAD", None, 404), ("POST", SESSION, 200),
                                                ("DELETE", None, 404), ("PUT", b"x" * 200000, 404)],
                         ids=["GET", "HEAD", "POST", "DELETE", "PUT"])
def test_a_401_is_replayed_with_the_next_token(daemon, fakeproof, vault, method, body, status):
    fresh, old = vault.token("new"), vault.token("old")
    fake = fakeproof([old])
    running = daemon(fake, token_file=[fresh, old])
    target = "/widget/session" if status == 200 else "/widget/transactions/x"
    passed(running.get(target, method=method, body=body), status)
    assert used(fake) == {fingerprint(fresh): (1, 1), fingerprint(old): (1, 0)}
    assert fake.stats()["sessions_created"] == (1 if status == 200 else 0)
    # What was learnt stays learnt: the next call goes straight to the good one.
    passed(running.get(target, method=method, body=body), status)
    assert used(fake) == {fingerprint(fresh): (1, 1), fingerprint(old): (2, 0)}


def test_a_chunked_body_is_replayed_whole(daemon, fakeproof, vault):
    fresh, old = vault.token("new"), vault.token("old")
    fake = fakeproof([old])
    running = daemon(fake, token_file=[fresh, old])
    with running.client() as client:
        client.send(b"POST /widget/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(SESSION), 10):
            piece = SESSION[at:at + 10]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        passed(client.response())
    assert fake.stats()["sessions_created"] == 1


def test_when_all_are_refused_upstreams_own_401_comes_back_verbatim(daemon, fakeproof, vault):
    tokens = [vault.token(f"t{i}") for i in range(3)]
    fake = fakeproof([])
    running = daemon(fake, token_file=tokens)
    response = passed(running.get("/widget/session", method="POST", body=SESSION), 401)
    assert response.json == {"error": "unauthorised", "code": "invalid_token",
                             "message": "the client token is unknown or inactive"}
    assert response.field("X-Request-Id").startswith("req_")
    assert used(fake) == {fingerprint(t): (1, 1) for t in tokens}


def test_a_401_with_one_token_is_passed_on(daemon, fakeproof, vault):
    fake = fakeproof([])
    only = vault.token()
    running = daemon(fake, token_file=[only])
    passed(running.get("/widget/transactions/x"), 401)
    assert used(fake)[fingerprint(only)] == (1, 1)


def test_a_403_is_not_replayed(daemon, fakeproof, vault):
    tokens = [vault.token("a"), vault.token("b")]
    fake = fakeproof(tokens)
    fake.control("POST", "/allow", {"ranges": ["10.0.0.0/8"]})
    running = daemon(fake, token_file=tokens)
    assert passed(running.get("/widget/transactions/x"), 403).json["error"] == "forbidden"
    assert fake.stats()["requests"] == 1


def test_a_token_that_becomes_valid_is_taken_up(daemon, fakeproof, vault):
    fresh, old = vault.token("new"), vault.token("old")
    fake = fakeproof([old])
    running = daemon(fake, token_file=[fresh, old])
    passed(running.get("/widget/transactions/x"), 404)
    fake.tokens(fresh)
    passed(running.get("/widget/transactions/x"), 404)
    assert used(fake)[fingerprint(fresh)][0] >= 2


def test_inline_tokens(daemon, fakeproof, vault, ca):
    fresh, old = vault.token("new"), vault.token("old")
    fake = fakeproof([old])
    running = daemon(environments={"production": {
        "base_url": fake.url, "client_token": fresh, "previous_client_token": old, "tls": {"ca_file": ca}}},
        process={"text": None})
    passed(running.get("/widget/transactions/x"), 404)
    assert used(fake)[fingerprint(old)] == (1, 0)


def test_a_credential_of_systemd(daemon, fakeproof, vault, ca, tmp_path, token):
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "proof").write_text(token + "\n")
    (directory / "proof").chmod(0o400)
    fake = fakeproof()
    running = daemon(environments={"production": {
        "base_url": fake.url, "token_file": "credential:proof", "tls": {"ca_file": ca}}},
        process={"environ": {"CREDENTIALS_DIRECTORY": str(directory)}})
    passed(running.get("/widget/transactions/x"), 404)


def test_the_log_names_fingerprints_only(daemon, fakeproof, vault):
    fresh, old = vault.token("new"), vault.token("old")
    fake = fakeproof([old])
    running = daemon(fake, token_file=[fresh, old])
    passed(running.get("/widget/transactions/x"), 404)
    running.wait_log(fingerprint(old))


def test_local_refusals_use_no_token(daemon, fake):
    running = daemon(fake)
    refused(running.get("/nowhere"), 404)
    assert used(fake) == {}


def test_without_a_token_it_waits_for_one(daemon, fakeproof, token, ca, tmp_path):
    """A secret manager may come later than we: until then 503, and no restart is needed."""
    fake = fakeproof()
    path = tmp_path / "late.token"
    running = daemon(environments={"production": {"base_url": fake.url, "token_file": str(path),
                                                  "tls": {"ca_file": ca}}},
                     process={"wait": False})
    running.wait_ready()
    running.wait_log("late.token")
    refused(running.get("/widget/transactions/x"), 503, "proxy_no_token")
    running.write_tokens(path, [token])
    until(lambda: running.get("/widget/transactions/x").status == 404, "the new token is used")
    assert fake.stats()["requests"] == 1
