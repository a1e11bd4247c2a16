"""Every secret of one test, and every output in which none of them may appear."""
import hashlib
import os
import secrets

SANITIZERS = (
    b"ERROR: AddressSanitizer",
    b"ERROR: LeakSanitizer",
    b"LeakSanitizer: detected",
    b"runtime error:",
    b"WARNING: ThreadSanitizer",
    b"AddressSanitizer:DEADLYSIGNAL",
    b"Assertion",
)


def fingerprint(token):
    return hashlib.sha256(token.encode()).hexdigest()[:12]


class Vault:
    def __init__(self):
        self.tokens = []
        self.outputs = []

    def token(self, hint="tok"):
        """A fresh token of the kind Proof hands out."""
        token = f"{hint}_{secrets.token_hex(20)}"
        self.tokens.append(token)
        return token

    def add(self, token):
        self.tokens.append(token)
        return token

    def saw(self, where, data):
        """Remembers an output that apps, ops or other users of the host can see."""
        self.outputs.append((where, data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogateescape")))

    def problems(self):
        found = []
        for where, data in self.outputs:
            for token in self.tokens:
                if token.encode() in data:
                    found.append(f"the token {fingerprint(token)} appears in {where}")
            for mark in SANITIZERS:
                if mark in data:
                    at = data.index(mark)
                    found.append(f"{where}: {data[at:at + 3000].decode('utf-8', 'replace')}")
        return found


def descriptors(pid):
    """What each open descriptor of a process is."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
    return found
