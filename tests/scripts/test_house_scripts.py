"""The scripts that hold the house rules must be able to fail: each rule is broken once on purpose."""
import pathlib
import subprocess

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
HEADER = "/* A header with a job. */\n#ifndef PP_{guard}\n#define PP_{guard}\n\nint value;\n\n#endif\n"
GOOD = {
    "src/base/low.h": HEADER.format(guard="BASE_LOW_H"),
    "src/http/rule.h": HEADER.format(guard="HTTP_RULE_H"),
    "src/token/held.h": HEADER.format(guard="TOKEN_HELD_H"),
    "src/net/road.h": HEADER.format(guard="NET_ROAD_H"),
    "src/net/server.c": '/* Includes what it may. */\n#include "base/low.h"\n#include <microhttpd.h>\n',
    "src/main.c": '/* Includes everything. */\n#include "net/road.h"\n#include "config.h"\n#include <stdio.h>\n',
}


def run(script, root, extra):
    for name, text in {**GOOD, **extra}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run([SCRIPTS / script, root], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("script", ["check-layers", "check-style"])
def test_a_good_tree_passes(tmp_path, script):
    assert run(script, tmp_path, {}) == (0, "")


@pytest.mark.parametrize("name, line, said", [
    ("src/base/up.c", '#include "http/rule.h"', "base may not include"),
    ("src/http/side.c", '#include "token/held.h"', "http may not include"),
    ("src/token/side.c", '#  include "http/rule.h"', "token may not include"),
    ("src/token/up.c", '#include "net/road.h"', "token may not include"),
    ("src/net/none.c", '#include "base/missing.h"', "does not exist"),
    ("src/net/short.c", '#include "road.h"', "does not exist"),
    ("src/net/other.c", "#include <microhttpd.h>", "belongs only in net/server.c"),
    ("src/proxy/exchange.c", "#include <curl/curl.h>", "belongs only in net/connect.c"),
    ("src/cli/doctor.c", "#include <curl/curl.h>", "belongs only in net/connect.c"),
    ("src/http/tls.c", "#include <openssl/ssl.h>", "belongs only in net/tls.c"),
    ("src/cli/status.c", "#include <systemd/sd-daemon.h>", "belongs only in daemon/notify.c"),
    ("src/other/new.c", "", "no known layer"),
])
def test_a_breach_of_the_layers_is_found(tmp_path, name, line, said):
    rc, out = run("check-layers", tmp_path, {name: f"/* A file with a job. */\n{line}\n"})
    assert rc == 1 and said in out and name in out


def function(lines):
    return "/* A file with a job. */\nint grow(void)\n{\n" + "    step();\n" * (lines - 2) + "}\n"


@pytest.mark.parametrize("name, text, said", [
    ("src/base/a.c", "int x;\n", "first line"),
    ("src/base/a.c", '/* A file with a job. */\nvoid f(void)\n{\n    strcpy(a, "b");\n}\n', "strcpy() is banned"),
    ("src/base/a.c", "/* A file with a job. */\nint n = atoi (text);\n", "atoi() is banned"),
    ("src/base/a.c", "/* A file with a job. */\n" + "int x;\n" * 600, "601 lines"),
    ("src/base/a.c", function(101), "grow() has 101 lines"),
    ("src/base/a.c", "/* A file with a job. */\n\tint x;\n", "a tab"),
    ("src/base/a.c", "/* A file with a job. */\nint x; \n", "blanks at the end"),
    ("src/base/a.c", "/* A file with a job. */\nint x;", "no newline"),
    ("src/base/a.c", "/* A file with a job. */\n/* TO" "DO: finish */\n", "unfinished"),
    ("src/base/a.c", "/* A file with a job. */\nint x" + " " * 120 + "= 1;\n", "columns"),
    ("src/base/b.h", HEADER.format(guard="B_H"), "guard"),
    ("src/base/b.h", HEADER.format(guard="BASE_B_H") + "int after;\n#define LATE 1\n", "guard"),
    ("scripts/tool", "#!/bin/sh\nset -e\n", "no comment on top"),
])
def test_a_breach_of_style_is_found(tmp_path, name, text, said):
    rc, out = run("check-style", tmp_path, {name: text})
    assert rc == 1 and said in out and name in out


@pytest.mark.parametrize("text, said", [
    ('/* A file with a job: strcpy(a, b) is only named. */\nconst char *t = "strcpy(a, b)";\n', ""),
    (function(100), "note: src/base/a.c:3: grow() has 100 lines"),
    (function(60), ""),
])
def test_what_is_allowed_passes(tmp_path, text, said):
    rc, out = run("check-style", tmp_path, {"src/base/a.c": text})
    assert rc == 0 and said in out and bool(said) == bool(out)


@pytest.mark.parametrize("targets, last, rc", [
    ({"a": "@echo '9%: Checks: 7, Failures: 0, Errors: 0'", "b": "@echo '2 passed in 0.10s'"}, "9 passed, 0 failed", 0),
    ({"a": "@echo '50%: Checks: 4, Failures: 1, Errors: 1'; false"}, "2 passed, 2 failed", 1),
    ({"a": "@echo '====== 1 failed, 3 passed, 1 error in 1.00s ======'; false"}, "3 passed, 2 failed", 1),
    ({"a": "@echo fine", "b": "@false"}, "1 passed, 1 failed", 1),
    ({"a": "@echo '5 passed, 0 failed'; false"}, "5 passed, 1 failed", 1),
    ({"a": "@echo '5 passed, 2 failed'; true"}, "5 passed, 2 failed", 1),
    ({}, "0 passed, 0 failed", 1),
])
def test_run_checks_counts_and_fails(tmp_path, targets, last, rc):
    makefile = tmp_path / "Makefile"
    makefile.write_text("".join(f"check-{name}:\n\t{recipe}\n" for name, recipe in targets.items()))
    done = subprocess.run([SCRIPTS / "run-checks", *targets], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == last
    assert done.returncode == rc


SECURE = {
    "Makefile": "fuzz:\n\ttrue\n",
    "tests/e2e/test_gate.py": "def test_nobody():\n    pass\n",
    "tests/unit/test_gate.c": "/* A test with a job. */\nSTART_TEST(nobody)\n",
}
TABLE = "# S\n## Defences, and the test that proves each\n| threat | defence | test |\n|---|---|---|\n"


@pytest.mark.parametrize("row, said", [
    ("| x | y | `tests/e2e/test_gate.py::test_nobody`, `tests/unit/test_gate.c::nobody`, `make fuzz` |", None),
    ("| x | y | `tests/e2e/test_gate.py::test_somebody` |", "has no such test"),
    ("| x | y | `tests/unit/test_gate.c::somebody` |", "has no such test"),
    ("| x | y | `tests/e2e/test_gone.py` |", "does not exist"),
    ("| x | y | `test_gate.py` |", "without its folder"),
    ("| x | y | `make gone` |", "no target"),
    ("| x | `tests/e2e/test_gate.py` | by reading |", "no test proves this"),
    ("", "no table of defences"),
])
def test_a_claim_without_its_test_is_found(tmp_path, row, said):
    rc, out = run("check-security", tmp_path, {**SECURE, "SECURITY.md": TABLE + row + "\n"})
    assert (rc == 0 and "0 failed" in out) if said is None else (rc == 1 and said in out)


@pytest.mark.parametrize("seconds, jobs, status, said", [
    ("1", "2", 0, "1 passed, 0 failed"), ("0", "2", 2, "FUZZ_SECONDS"), ("abc", "2", 2, "FUZZ_SECONDS"),
    ("-1", "2", 2, "FUZZ_SECONDS"), ("", "2", 2, "FUZZ_SECONDS"), ("1", "0", 2, "FUZZ_JOBS"),
    ("1", "x", 2, "FUZZ_JOBS"),
])
def test_fuzzers_that_would_not_run_or_not_end_do_not_pass(tmp_path, seconds, jobs, status, said):
    target = tmp_path / "tests/fuzz/fuzz_one"
    target.parent.mkdir(parents=True)
    target.write_text("#!/bin/sh\necho stat::number_of_executed_units: 1\n")
    target.chmod(0o755)
    done = subprocess.run([SCRIPTS / "run-fuzzers", tmp_path, seconds, "one"], capture_output=True, text=True,
                          check=False, env={"PATH": "/usr/bin:/bin", "FUZZ_JOBS": jobs})
    assert done.returncode == status and said in done.stdout + done.stderr
