"""Being another user of this host. Only root can; for anybody else every user is the one who runs the tests."""
import contextlib
import os
import pwd
import subprocess

from .waiting import PATIENCE


class User:
    def __init__(self, uid, gid=None, groups=()):
        self.uid, self.gid, self.groups = uid, uid if gid is None else gid, list(groups)
        if os.geteuid() != 0:
            self.uid, self.gid, self.groups = os.geteuid(), os.getegid(), os.getgroups()

    @classmethod
    def named(cls, name, groups=()):
        account = pwd.getpwnam(name)
        return cls(account.pw_uid, account.pw_gid, groups)

    @property
    def identity(self):
        """For subprocess."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}

    @contextlib.contextmanager
    def running(self, *command, **options):
        """A process of this user, until the with block ends."""
        process = subprocess.Popen([str(word) for word in command], cwd="/", stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, **self.identity, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE)

    def python(self, program, *arguments):
        """What a program prints that runs as this user."""
        done = subprocess.run(["/usr/bin/python3", "-I", "-c", program, *map(str, arguments)], capture_output=True,
                              text=True, cwd="/", timeout=PATIENCE, check=False, **self.identity)
        assert done.returncode == 0, done.stderr
        return done.stdout
