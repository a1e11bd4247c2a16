"""The commands that need no daemon: check, config, help and version; and the scripts that hold the documentation."""
import json
import os
import pathlib
import re
import socket
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("PROOFPROXY_BUILD", ROOT / "build")).resolve() / "proofproxy"
NOBODY = 65534


def proofproxy(*arguments, **options):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=20, check=False, **options)


@pytest.fixture
def config(tmp_path):
    """A good config with a good token file; returns its path. Keywords replace or add lines of the environment."""
    def write(mode=0o640, top="", **keys):
        path, token = tmp_path / "proofproxy.conf", tmp_path / "production.token"
        token.write_text("ct_0123456789\n")
        token.chmod(0o600)
        lines = {"base_url": '"https://api.example"', "listen": '[ "127.0.0.1:8780" ]', "token_file": f'"{token}"',
                 **keys}
        body = "".join(f"    {key} = {value};\n" for key, value in lines.items() if value is not None)
        path.write_text(f"{top}environments = {{\n  production = {{\n{body}  }};\n}};\n")
        path.chmod(mode)
        return path
    return write


def test_check_of_a_good_file(config):
    path = config()
    done = proofproxy("check", "-c", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: no problem found\n", "")
    # -c may stand in front as well, and be spelled out.
    assert proofproxy("-c", path, "check").returncode == 0
    assert proofproxy(f"--config={path}", "check").returncode == 0


def test_check_names_every_fault_in_order(config):
    path = config(top="wokers = 2;\n", listen='[ "0.0.0.0:8780", "127.0.0.1:1" ]', max_body='"2t"',
                  tls="{ verify = false; }", client_token='"Bearer ct_SECRET"')
    done = proofproxy("check", "-c", path)
    assert done.returncode == 78 and done.stdout == ""
    key = "environments.production"
    assert done.stderr.splitlines() == [
        f"{path}:1: wokers: unknown key; did you mean workers?",
        f'{path}:5: {key}.listen: "0.0.0.0:8780" can be reached from other hosts, which could then use the token: '
        "expected a loopback address, or allow_non_loopback = true if that is meant",
        f'{path}:7: {key}.max_body: "2t": expected a size such as 4096, "64k" or "1m"',
        f"{path}:8: {key}.tls.verify: unknown key; proofproxy.conf(5) lists all of them",
        f'{path}:9: {key}.client_token: byte 0: a "Bearer " prefix: write the token alone, the daemon adds the scheme',
    ]
    assert "SECRET" not in done.stderr


@pytest.mark.parametrize("command", ["check", "config"])
def test_files_that_are_no_config(tmp_path, command):
    missing = proofproxy(command, "-c", tmp_path / "missing.conf")
    assert missing.returncode == 78 and f"{tmp_path}/missing.conf:0: there is no such file" in missing.stderr
    directory = proofproxy(command, "-c", tmp_path)
    assert directory.returncode == 78 and "is a directory: expected a regular file" in directory.stderr
    os.mkfifo(tmp_path / "fifo")
    fifo = proofproxy(command, "-c", tmp_path / "fifo")
    assert fifo.returncode == 78 and "expected a regular file" in fifo.stderr


def test_a_file_this_user_may_not_read(config, tmp_path):
    assert os.geteuid() == 0, "the end-to-end tests run as root"
    path = config(mode=0o600)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    done = proofproxy("check", "-c", path, user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 78
    assert f"this user (uid {NOBODY}) may not read it" in done.stderr


def test_inline_tokens_want_a_private_file(config):
    keys = {"token_file": None, "client_token": '"ct_SECRET_new"', "previous_client_token": '"ct_SECRET_old"',
            "egress": '{ proxy = "http://user:SECRET@proxy.example:3128"; }'}
    loose = proofproxy("check", "-c", config(mode=0o644, **keys))
    assert loose.returncode == 78
    assert loose.stderr.count("the mode 0644 of this file lets every user read it: expected 0640 or stricter") == 3
    path = config(mode=0o640, **keys)
    assert proofproxy("check", "-c", path).returncode == 0
    for arguments in (["config"], ["config", "--json"]):
        done = proofproxy(*arguments, "-c", path)
        assert done.returncode == 0
        assert re.search(r'client_token"? *[=:] "fingerprint:[0-9a-f]{12}"', done.stdout)
        assert "http://***@proxy.example:3128" in done.stdout
        assert "SECRET" not in loose.stderr + done.stdout + done.stderr


def test_a_file_everybody_may_change(config):
    done = proofproxy("check", "-c", config(mode=0o666))
    assert done.returncode == 78 and "its mode 0666 lets every user change it" in done.stderr


def test_check_reads_the_token_files(config, tmp_path):
    path = config()
    token = tmp_path / "production.token"
    for text, said in [
            ("", "no token"),
            ("ct_SECRET\nct_SECRET", ":2: offset 0: the same token"),
            ("# new\nBearer ct_SECRET\n", ':2: offset 0: a "Bearer "'),
            ("ct_SECRET SECRET\n", ":1: offset 9: white space"),
            ("\n\nct_SECRET\x01\n", ":3: offset 9: a control")]:
        token.write_text(text)
        done = proofproxy("check", "-c", path)
        assert done.returncode == 78 and done.stdout == "", text
        assert done.stderr.startswith(f"{path}:5: environments.production.token_file: {token}"), text
        assert said in done.stderr and "SECRET" not in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    token.write_text("ct_SECRET_new\nct_SECRET_old\n")
    assert proofproxy("check", "-c", path).returncode == 0
    token.chmod(0o644)
    assert "mode 0644 lets every user read it" in proofproxy("check", "-c", path).stderr
    token.unlink()
    assert "there is no such file" in proofproxy("check", "-c", path).stderr
    token.mkdir()
    assert "is a directory" in proofproxy("check", "-c", path).stderr
    token.rmdir()
    os.mkfifo(token)
    assert proofproxy("check", "-c", path).returncode == 78


def test_check_as_json(config, tmp_path):
    path = config()
    done = proofproxy("check", "--json", "-c", path)
    assert done.returncode == 0 and json.loads(done.stdout) == {"ok": True, "problems": []}
    (tmp_path / "production.token").unlink()
    done = proofproxy("check", "--json", "-c", config(max_body='"2t"'))
    assert done.returncode == 78 and done.stderr == ""
    assert json.loads(done.stdout) == {"ok": False, "problems": [
        {"file": str(path), "line": 6, "key": "environments.production.max_body",
         "message": '"2t": expected a size such as 4096, "64k" or "1m"'}]}
    (missing,) = json.loads(proofproxy("check", "--json", "-c", "/missing.conf").stdout)["problems"]
    assert (missing["file"], missing["line"], missing["key"]) == ("/missing.conf", 0, "")
    assert missing["message"].startswith("there is no such file: ")


def test_check_finds_a_missing_ca_file(config, tmp_path):
    done = proofproxy("check", "-c", config(tls=f'{{ ca_file = "{tmp_path}/ca.pem"; }}'))
    assert done.returncode == 78
    assert done.stderr.endswith(f":6: environments.production.tls.ca_file: the CA certificates in {tmp_path}/ca.pem "
                                "can't be read: No such file or directory\n")


def test_a_base_url_whose_name_leads_back(config):
    """By the addresses it has, not by how it is written."""
    name = socket.gethostname()
    address = socket.gethostbyname(name)
    own = {"base_url": f'"https://{name}:18780"', "allow_non_loopback": "true"}
    done = proofproxy("check", "-c", config(**own, listen=f'[ "{address}:18780" ]'))
    assert done.returncode == 78
    assert f':3: environments.production.base_url: "https://{name}:18780" leads back to our own listener' in done.stderr
    for listen in (f"{address}:18781", "unix:/run/x.sock", "127.9.9.9:18780"):  # another port, no port, another address
        assert proofproxy("check", "-c", config(**own, listen=f'[ "{listen}" ]')).returncode == 0, listen


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_ca_file_without_certificates_is_a_config_fault(config, tmp_path, command):
    (tmp_path / "ca.pem").write_text("no certificate\n")
    admin = f'admin = {{ listen = [ "unix:{tmp_path}/a" ]; }};\n'
    path = config(tls=f'{{ ca_file = "{tmp_path}/ca.pem"; }}', top=admin)
    done = proofproxy(command, "-c", path)
    assert done.returncode == 78
    assert f":7: environments.production.tls.ca_file: {tmp_path}/ca.pem holds no CA certificates" in done.stderr


def test_a_credential_of_systemd(config, tmp_path):
    path = config(token_file='"credential:production"')
    environment = {k: v for k, v in os.environ.items() if k != "CREDENTIALS_DIRECTORY"}
    done = proofproxy("check", "-c", path, env=environment)
    assert done.returncode == 78 and "CREDENTIALS_DIRECTORY is not set" in done.stderr
    (tmp_path / "production").write_text("ct_SECRET\n")
    (tmp_path / "production").chmod(0o400)
    done = proofproxy("check", "-c", path, env={**environment, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_the_sample_lacks_nothing_but_tokens():
    done = proofproxy("check", "-c", ROOT / "etc/proofproxy.conf")
    for line in done.stderr.splitlines():
        assert re.search(r"token_file: /etc/proofproxy/(production|sandbox)\.token: ", line), line


def test_config_prints_what_reads_back(config, tmp_path):
    path = config(max_body='"64k"', allow_users='[ "root" ]', retries='{ on = [ "503" ]; }')
    first = proofproxy("config", "-c", path)
    assert first.returncode == 0 and first.stderr == ""
    assert '    max_body = "64k";\n' in first.stdout and '      on = [ "503" ];\n' in first.stdout
    again = tmp_path / "again.conf"
    again.write_text(first.stdout)
    second = proofproxy("config", "-c", again)
    assert second.stdout == first.stdout


def test_config_as_json_has_every_key(config):
    path = config()
    effective = json.loads(proofproxy("config", "--json", "-c", path).stdout)
    assert effective["environments"]["production"]["max_body"] == "1m"
    assert effective["environments"]["production"]["retries"]["methods"] == ["GET", "HEAD"]
    keys = [line.split("\t")[0] for line in proofproxy("config", "--keys").stdout.splitlines()]
    assert len(keys) > 40
    for key in keys:
        value = effective
        for part in key.replace("environments.NAME", "environments.production").split("."):
            value = value[part]


def test_config_of_a_bad_file_prints_nothing(config):
    done = proofproxy("config", "-c", config(max_body='"x"'))
    assert done.returncode == 78 and done.stdout == "" and "max_body" in done.stderr


def test_help_names_every_command():
    done = proofproxy("-h")
    assert done.returncode == 0 and done.stderr == ""
    commands = re.findall(r"^  ([a-z]+)", done.stdout, re.M)
    assert {"check", "config", "status", "reload", "wait"} <= set(commands)
    assert proofproxy("--help").stdout == done.stdout
    for command in commands:
        one = proofproxy(command, "-h")
        assert one.returncode == 0 and one.stdout.startswith(f"usage: proofproxy [-c FILE] {command}")


def test_version_names_the_libraries():
    done = proofproxy("-V")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"proofproxy {(ROOT / 'VERSION').read_text().strip()}"
    for library in ("jansson", "libconfig", "libcurl", "libmicrohttpd", "openssl"):
        assert re.search(rf"^{library} \d+\.\d+", done.stdout, re.M), library
    assert proofproxy("--version").stdout == done.stdout


@pytest.mark.parametrize("arguments, said", [
    (["chekc"], 'no command is named "chekc"; did you mean "check"?'),
    (["frobnicate"], '"proofproxy -h" lists them'),
    (["--frobnicate"], "unknown option --frobnicate"),
    (["-c"], "-c needs the path of a config file"),
    (["-c", ""], "-c needs the path of a config file"),
    (["config", "--jsno"], "unknown option --jsno; did you mean --json?"),
    (["config", "--json=1"], "--json takes no value"),
    (["check", "ct_SECRET"], "too many arguments"),
    (["check", "--token=ct_SECRET"], "unknown option --token\n"),
    (["--token=ct_SECRET"], "unknown option --token;"),
    (["token"], "usage: proofproxy [-c FILE] token list ENV"),
    (["wait", "--max"], "--max needs a value"),
    (["wait", "--max", "9999999999h"], "at most 168h"),
])
def test_wrong_command_lines(arguments, said):
    done = proofproxy(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and "SECRET" not in done.stderr


def test_output_that_cannot_be_written(config):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "config", "-c", config()], stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=20, check=False)
    assert done.returncode == 1 and "could not write to standard output" in done.stderr


# --- scripts/check-options must be able to fail ---

def check_options(man=ROOT / "man/proofproxy.conf.5", sample=ROOT / "etc/proofproxy.conf"):
    return subprocess.run([ROOT / "scripts/check-options", BINARY, man, sample], capture_output=True, text=True,
                          timeout=60, check=False)


def test_manual_and_sample_name_every_key():
    done = check_options()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("old, new, said", [
    (".It Ic probe_interval\n", "", "environments.NAME.probe_interval is missing"),
    (".It Ic probe_interval\n", ".It Ic probe_intervall\n", "probe_intervall is no key"),
    ('Default: "75s"', 'Default: "60s"', "client_idle_timeout does not end with"),
    ("1 to 65536", "1 to 65535", "max_inflight does not end with"),
    ("0 to 64; needs a restart.", "0 to 64; takes effect on reload.", "workers does not end with"),
])
def test_a_wrong_manual_is_found(tmp_path, old, new, said):
    text = (ROOT / "man/proofproxy.conf.5").read_text()
    assert old in text
    (tmp_path / "man.5").write_text(text.replace(old, new, 1))
    done = check_options(man=tmp_path / "man.5")
    assert done.returncode == 1 and said in done.stderr


@pytest.mark.parametrize("old, new, said", [
    ("    #max_inflight = 1024;\n", "", "environments.NAME.max_inflight is missing"),
    ("#max_inflight = 1024;", "#max_inflight = 1000;", "is shown as 1000, but its default is 1024"),
    ("    #max_inflight = 1024;\n", "    #max_inflight = 1024;\n    #max_flight = 1;\n", "max_flight is no key"),
])
def test_a_wrong_sample_is_found(tmp_path, old, new, said):
    text = (ROOT / "etc/proofproxy.conf").read_text()
    assert old in text
    (tmp_path / "sample.conf").write_text(text.replace(old, new, 1))
    done = check_options(sample=tmp_path / "sample.conf")
    assert done.returncode == 1 and said in done.stderr
