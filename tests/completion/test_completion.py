"""Shell completion against the real program: what bash and zsh offer is what the program has."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("PROOFPROXY", ROOT / "build/proofproxy"))
BASH = ROOT / "contrib/completion/proofproxy.bash"
ZSH = ROOT / "contrib/completion/_proofproxy"


@pytest.fixture(scope="module")
def commands():
    """name: usage of every command, as the help shows them."""
    text = subprocess.run([PROGRAM, "-h"], capture_output=True, text=True, check=True).stdout
    block = text.split("Commands", 1)[1].split("\nOptions:", 1)[0]
    found = {}
    for line in block.splitlines()[1:]:
        match = re.match(r"  (\w+)", line)
        if match:
            found.setdefault(match.group(1), "")
            found[match.group(1)] += line.strip() + "\n"
    return found


@pytest.fixture
def config(tmp_path):
    (tmp_path / "token").write_text("a-token-of-the-test\n")
    path = tmp_path / "proofproxy.conf"
    path.write_text("environments = {\n" + "".join(
        f'  {name} = {{ base_url = "https://localhost:9"; listen = [ "127.0.0.1:{port}" ]; '
        f'token_file = "{tmp_path}/token"; }};\n' for name, port in (("production", 8780), ("sandbox", 8781))) + "};\n")
    for file in (path, tmp_path / "token"):
        file.chmod(0o600)
    return path


def complete(*words):
    """What bash offers for the last word."""
    script = f"""
        compopt() {{ :; }}
        . {BASH}
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _proofproxy
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    env = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script, "bash", "proofproxy", *words], capture_output=True, text=True,
                          check=False, env=env)
    assert done.stderr == ""
    return [word for word in done.stdout.split("\n") if word]


def test_every_command_is_offered_and_no_other(commands):
    assert {word for word in complete("") if not word.startswith("-")} == set(commands)
    assert complete("doc") == ["doctor"]


def test_options_of_commands_are_those_of_the_help(commands):
    for command, usage in commands.items():
        said = set(re.findall(r"--[a-z]+", usage))
        offered = complete(command, "--")
        if command == "token":  # has a word more before its options
            offered = [word for action in ("list", "add", "retire") for word in complete(command, action, "--")]
        assert {word for word in offered if word.startswith("--")} == said, command


@pytest.mark.parametrize("action", ["list", "add", "retire"])
def test_options_of_token_are_those_of_the_help(commands, action):
    said = set(re.findall(r"--[a-z]+", re.search(rf"token {action} [^\n]*", commands["token"])[0]))
    assert {word for word in complete("token", action, "production", "--") if word.startswith("--")} == said
    zsh = ZSH.read_text()
    branch = re.search(rf"^ +{action}\)(.*?);;", zsh, re.M | re.S)[1]
    branch += re.search(r"local json=(.*)", zsh)[1] if "$json" in branch else ""
    branch = branch if "$admin" in branch else re.sub(r"'--admin.*", "", branch)
    assert set(re.findall(r"'(--[a-z]+)", branch)) == said


@pytest.mark.parametrize("words", [["doctor", ""], ["token", "list", ""], ["token", "add", ""],
                                   ["token", "retire", ""]])
def test_environments_come_from_the_config(config, words):
    offered = complete("-c", str(config), *words)
    assert {word for word in offered if not word.startswith("-")} == {"production", "sandbox"}


def test_files_are_offered_for_c(config):
    assert complete("-c", str(config)[:-3]) == [str(config)]


def test_zsh_reads_it_and_knows_every_command(commands):
    subprocess.run(["zsh", "-n", ZSH], check=True)
    described = set(re.findall(r"^        '([a-z]+):", ZSH.read_text(), re.M)) - {"list", "add", "retire"}
    assert described == set(commands)
