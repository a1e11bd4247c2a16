"""The examples in contrib/: alert rules, the dashboard's queries in a real Prometheus, the token templates."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest

from harness.admin import ask, metrics
from harness.daemon import Reservation
from harness.vault import fingerprint
from harness.waiting import until

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"
NOBODY = "/widget/transactions/00000000-0000-0000-0000-000000000000"
OWN = re.compile(r"\b(?:proofproxy|process)_[a-z_]+\b")
# Known to Prometheus itself, or only there once something rare has happened.
RARE = {"proofproxy_token_expiry_timestamp_seconds"}


def families(body):
    """Every name that may be asked for."""
    found = set()
    for line in body.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found |= {name + s for s in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


def expressions():
    board = json.loads((CONTRIB / "grafana/proofproxy.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def test_alert_rules():
    for arguments in (["check", "rules", "proofproxy-alerts.yml"], ["test", "rules", "proofproxy-alerts-test.yml"]):
        done = subprocess.run(["promtool", *arguments], cwd=CONTRIB / "prometheus", capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_that_raises_it():
    rules = set(re.findall(r"- alert: (\w+)", (CONTRIB / "prometheus/proofproxy-alerts.yml").read_text()))
    tests = (CONTRIB / "prometheus/proofproxy-alerts-test.yml").read_text()
    raised = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", tests))
    assert len(rules) >= 10 and raised == rules


def test_names_are_real(daemon, fake):
    running = daemon(fake)
    known = families(ask(running, "/metrics").body)
    texts = [expr for _, expr in expressions()] + [(CONTRIB / "prometheus/proofproxy-alerts.yml").read_text(),
                                                   (CONTRIB / "FLEETS.md").read_text()]
    asked = set(OWN.findall(" ".join(texts)))
    assert len(asked) > 20 and asked <= known, asked - known


def test_the_manual_names_every_metric(daemon, fake):
    manual = (CONTRIB.parent / "man/proofproxy.8").read_text()
    named = set(OWN.findall(manual))
    known = {line.split()[2] for line in ask(daemon(fake), "/metrics").body.splitlines() if line.startswith("# TYPE ")}
    assert known == named, known ^ named


class Prometheus:
    def __init__(self, directory, target):
        self.port = Reservation()
        config = directory / "prometheus.yml"
        scrape = (CONTRIB / "prometheus/scrape.yml").read_text()
        scrape = scrape.replace("127.0.0.1:9780", target, 2).replace("scrape_interval: 15s", "scrape_interval: 1s")
        config.write_text(scrape + f"rule_files: [{CONTRIB}/prometheus/proofproxy-alerts.yml]\n")
        self.log = open(directory / "prometheus.log", "w+")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/tsdb",
             f"--web.listen-address={self.port.text}"], stdout=self.log, stderr=self.log)

    def get(self, path, **query):
        url = f"http://{self.port.text}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return json.loads(text) if text.startswith("{") else {"error": text}  # not ready yet
        except OSError:
            return {}

    def query(self, expr):
        return self.get("query", query=expr)

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        self.port.close()


def test_the_dashboard_in_a_real_prometheus(daemon, fakeproof, vault, tmp_path):
    new, old = vault.token(), vault.token()
    port = Reservation()
    running = daemon(fakeproof([old]), token_file=[new, old], probe_interval="500ms",
                     settings={"admin": {"listen": [f"unix:{tmp_path}/daemon0/admin.sock", port.text]}})
    prometheus = Prometheus(tmp_path, port.text)
    try:
        for _ in range(3):
            running.get(NOBODY)
            running.get("/elsewhere")
        scraped = 'count_over_time(proofproxy_ready[1m]) >= 3'
        until(lambda: prometheus.query(scraped).get("data", {}).get("result"), "three scrapes", 40)
        here = {name for name, _ in metrics(running)}
        for title, expr in expressions():
            expr = expr.replace("$__rate_interval", "1m").replace("$__interval", "1m")
            expr = expr.replace("$environment", ".*").replace("$instance", ".*")
            answer = prometheus.query(expr)
            assert answer.get("status") == "success", (title, expr, answer)
            names = set(OWN.findall(expr))
            if names <= here and not names & RARE and "changes(" not in expr:
                assert answer["data"]["result"], f"{title}: no data for {expr}"
        groups = prometheus.get("rules")["data"]["groups"]
        assert groups and all(r["health"] in ("ok", "unknown") for g in groups for r in g["rules"])
        assert prometheus.query("up")["data"]["result"][0]["value"][1] == "1"
    finally:
        prometheus.close()
        port.close()


# --- how tokens come ---
def test_a_kubernetes_secret_is_swapped(daemon, fakeproof, vault, tmp_path):
    """A mounted Secret: token -> ..data/token, ..data -> ..2026_…; an update replaces the link ..data."""
    old, new = vault.token(), vault.token()
    fake = fakeproof([old, new])
    mount = tmp_path / "secret"
    mount.mkdir()

    def publish(version, *tokens):
        directory = mount / f"..{version}"
        directory.mkdir()
        (directory / "token").write_text("".join(f"{t}\n" for t in tokens))
        (directory / "token").chmod(0o440)
        fresh = mount / "..data_tmp"
        fresh.symlink_to(directory.name)
        os.replace(fresh, mount / "..data")

    publish("one", old)
    (mount / "token").symlink_to("..data/token")
    running = daemon(fake, token_file=str(mount / "token"), probe_interval="200ms")
    running.get(NOBODY)
    publish("two", new, old)
    shutil.rmtree(mount / "..one")

    def current():
        tokens = ask(running, "/status").json["environments"][0]["tokens"]
        return [t["fingerprint"] for t in tokens if t["role"] == "current" and t["verdict"] == "accepted"]
    until(lambda: current() == [fingerprint(new)], "the new token to carry the traffic")


def test_the_sidecar_config_is_valid(daemon, fake, tmp_path, token):
    manifest = (CONTRIB / "kubernetes/sidecar.yaml").read_text()
    text = re.search(r"proofproxy.conf: \|\n((?:    .*\n)+)", manifest).group(1)
    secret = tmp_path / "token"
    secret.write_text(token + "\n")
    secret.chmod(0o440)
    config = tmp_path / "sidecar.conf"
    config.write_text(re.sub("^    ", "", text, flags=re.M).replace("/secrets/production/token", str(secret)))
    config.chmod(0o640)
    done = subprocess.run([daemon(fake).binary, "-c", config, "check"], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["vault-agent/agent.hcl", "nomad/proofproxy.nomad.hcl"])
def test_braces_and_quotes_are_balanced(path):
    text = (CONTRIB / path).read_text()
    assert text.count("{") == text.count("}") and text.count('"') % 2 == 0


def test_vault_agent_renders_without_a_previous_token():
    """With error_on_missing_key a field that is not there is an error, even behind "with", unless index asks for it."""
    assert "error_on_missing_key = true" in (CONTRIB / "vault-agent/agent.hcl").read_text()
    template = (CONTRIB / "vault-agent/production.token.ctmpl").read_text()
    assert set(re.findall(r"\.Data\.data\.(\w+)", template)) == {"current"} and "index .Data.data" in template


def test_what_vault_agent_writes_is_a_token_file(daemon, fake, tmp_path, token):
    template = (CONTRIB / "vault-agent/production.token.ctmpl").read_text()
    text = template.replace("{{ .Data.metadata.version }}", "7").replace("{{ .Data.data.current }}", token)
    text = text.replace('{{ with index .Data.data "previous" }}{{ . }}\n{{ end }}', "previous_0123456789\n")
    assert "previous_0123456789" in text
    written = tmp_path / "written"
    written.write_text("\n".join(line for line in text.splitlines() if not line.startswith("{{")) + "\n")
    written.chmod(0o640)
    running = daemon(fake, token_file=str(written))
    tokens = ask(running, "/status").json["environments"][0]["tokens"]
    assert tokens[0]["fingerprint"] == fingerprint(token) and len(tokens) == 2
