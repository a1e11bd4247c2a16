"""What a reload takes up, what waits for a restart, and what a bad file leaves as it was."""
import json
import shutil
import subprocess

import pytest

from harness.upstream import OK


@pytest.fixture
def running(daemon, raw_upstream):
    return daemon(raw_upstream(tls=False))


def command(running, *arguments):
    """A command at the daemon, by the admin socket it was started with; its status and output."""
    done = subprocess.run([running.binary, *arguments, "--admin", f"unix:{running.directory}/admin.sock", "-c",
                           running.config_file], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


def configuration(running):
    _, text = command(running, "status", "--json")
    return json.loads(text)["config"]


def test_changes_are_named_and_in_force(running):
    running.environments["production"]["max_body"] = "3"
    running.settings["log"] = {"level": "debug"}
    running.write_config()
    status, text = command(running, "reload")
    assert status == 0
    assert 'log.level: "info" -> "debug"\n' in text
    assert 'environments.production.max_body: "1m" -> "3"\n' in text
    assert "restart" not in text
    assert running.get("/widget/session", "POST", (), b"1234").status == 413


def test_what_needs_a_restart_is_named_until_it_is_made_or_taken_back(running):
    before = dict(running.settings)
    running.settings.update(workers=2, admin={"listen": [f"unix:{running.directory}/elsewhere.sock"]})
    running.write_config()
    status, text = command(running, "reload")
    waiting = ["workers: 1 -> 2", f'admin.listen: [ "unix:{running.directory}/admin.sock" ] -> '
               f'[ "unix:{running.directory}/elsewhere.sock" ]']
    assert status == 0 and all(line in text for line in waiting)
    # The admin interface is where it was, nothing is where it is not, and a second reload forgets nothing.
    assert not (running.directory / "elsewhere.sock").exists()
    running.reload()
    assert configuration(running)["restart_needed"] == waiting
    # Nor does a bad one.
    running.write_config("nonsense = 1;")
    status, text = command(running, "reload")
    assert status != 0 and "proofproxy.conf:1: nonsense: unknown key" in text
    assert configuration(running)["restart_needed"] == waiting
    assert configuration(running)["problems"] and not configuration(running)["ok"]
    running.settings = before
    running.write_config()
    running.reload()
    effective = configuration(running)
    assert effective["restart_needed"] == [] and effective["problems"] == [] and effective["ok"]


def test_environments_come_and_go(running):
    keys = {**running.environments["production"], "listen": [f"unix:{running.directory}/second.sock"]}
    running.environments["second"] = keys
    running.write_config()
    status, text = command(running, "reload")
    assert status == 0 and "environments.second: added" in text and "restart" not in text
    assert (running.directory / "second.sock").is_socket()
    del running.environments["second"]
    running.write_config()
    status, text = command(running, "reload")
    assert status == 0 and "environments.second: removed" in text
    assert not (running.directory / "second.sock").exists()


def test_a_changed_mode_of_the_admin_socket_needs_no_restart(running):
    assert (running.directory / "admin.sock").stat().st_mode & 0o777 == 0o660
    running.settings["admin"]["unix_mode"] = "0600"
    running.write_config()
    status, text = command(running, "reload")
    assert status == 0 and 'admin.unix_mode: "0660" -> "0600"' in text and "restart" not in text
    assert (running.directory / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_secrets_in_the_config_stay_out_of_what_a_reload_says(running, vault):
    new, old = vault.token(), vault.token()
    running.environments["production"].update(client_token=new, egress={"proxy": f"http://user:{old}@127.0.0.1:1"})
    del running.environments["production"]["token_file"]
    running.write_config()
    status, text = command(running, "reload")
    assert status == 0 and 'client_token: "" -> "fingerprint:' in text and '-> "http://***@127.0.0.1:1"' in text
    assert new not in text and old not in text


@pytest.mark.parametrize("content", [None, "", "Bearer {token}\n"], ids=["missing", "empty", "malformed"])
def test_a_changed_path_must_lead_to_a_good_token_file(daemon, raw_upstream, vault, content):
    running = daemon(raw_upstream(tls=False, automatic=OK))
    path = running.directory / "moved.token"
    if content is not None:
        path.write_text(content.format(token=vault.token()))
        path.chmod(0o600)
    running.environments["production"].update(token_file=str(path), max_body="3")
    running.write_config()
    status, text = command(running, "reload")
    assert status == 78 and f"environments.production.token_file: {path}" in text
    assert not configuration(running)["ok"]
    assert running.get("/widget/session", "POST", (), b"1234").status == 200, "it was taken over all the same"
    path.write_text(vault.token() + "\n")
    path.chmod(0o600)
    status, text = command(running, "reload")
    assert status == 0 and configuration(running)["ok"] and "token_file" in text
    assert running.get("/widget/session", "POST", (), b"1234").status == 413


def test_a_new_environment_must_have_a_good_token_file(running):
    path = running.directory / "later.token"
    running.environments["second"] = {**running.environments["production"], "token_file": str(path),
                                      "listen": [f"unix:{running.directory}/second.sock"]}
    running.write_config()
    status, text = command(running, "reload")
    assert status == 78 and f"environments.second.token_file: {path}: there is no such file" in text
    assert not (running.directory / "second.sock").exists()
    path.write_text("t0ken\n")
    path.chmod(0o600)
    assert command(running, "reload")[0] == 0 and (running.directory / "second.sock").is_socket()


def test_a_bad_file_at_the_path_in_use_does_not_keep_a_good_config_out(running):
    for path in running.directory.glob("*.token"):
        path.unlink()
    running.environments["production"]["max_body"] = "3"
    running.write_config()
    assert command(running, "reload")[0] == 0
    assert running.get("/widget/session", "POST", (), b"1234").status == 413


@pytest.mark.parametrize("workers", [1, 2])
def test_a_ca_file_replaced_where_it_is_takes_effect(daemon, raw_upstream, certs, tmp_path, token, workers):
    """Its path stays, what is in it does not: nobody is trusted any more who was before, and the other way round."""
    file = tmp_path / "ca.crt"
    shutil.copy(certs / "other-ca.crt", file)
    upstream, replaced = raw_upstream(automatic=OK), raw_upstream(cert="unknown", automatic=OK)
    keys = {"token_file": [token], "tls": {"ca_file": str(file)}}
    running = daemon(settings={"workers": workers}, environments={
        "first": {**keys, "base_url": upstream.url}, "second": {**keys, "base_url": replaced.url}})

    def statuses(name):
        return {running.get("/widget/a", environment=name).status for _ in range(8)}

    assert (statuses("first"), statuses("second")) == ({502}, {200})
    shutil.copy(certs / "ca.crt", file)
    running.reload()
    running.wait_log("CA certificates")
    assert (statuses("first"), statuses("second")) == ({200}, {502})
    kept, after = [c for c in upstream.connections if not c.done.is_set()], len(running.log)
    running.reload()  # nothing has changed
    assert statuses("first") == {200} and "CA certificates" not in running.log[after:]
    assert [c for c in kept if not c.done.is_set()], "connections ahead of need were given up"


def test_a_start_never_tells_of_a_failed_reload(running):
    with running.notices.changed:  # the first comes after READY
        assert running.notices.changed.wait_for(running.notices.status, 20)
    told = [line for line in running.notices.lines if line.startswith("STATUS=")]
    assert told and not [line for line in told if "FAILED" in line], told
