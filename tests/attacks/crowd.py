"""The processes of attackers and of good callers, as tests use them."""
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


class Helper:
    """A process that says when it is ready, goes on until its standard input ends, and then says what came of it."""

    def __init__(self, program, **options):
        self.process = subprocess.Popen([sys.executable, HERE / program, json.dumps(options)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.result = None

    def ready(self):
        line = self.process.stdout.readline()
        assert line, "the helper died before it was ready"
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.result is None:
            said, _ = self.process.communicate(timeout=90)
            assert self.process.returncode == 0, f"the helper ended with {self.process.returncode}"
            self.result = json.loads(said.splitlines()[-1])
        return self.result


class Attack(Helper):
    """Attack(address, slow_head=5000, ...): so many bad clients of each kind; a kind may also be a dict of options."""

    def __init__(self, address, **groups):
        listed = [{"kind": kind, **(spec if isinstance(spec, dict) else {"count": spec})}
                  for kind, spec in groups.items()]
        super().__init__("attacker.py", address=address, groups=listed)
        self.ready()


class Honest(Helper):
    def __init__(self, address, callers=8, pause=0.01, target="/widget/honest", status=200):
        super().__init__("honest.py", address=address, callers=callers, pause=pause, target=target, status=status)
        self.ready()
