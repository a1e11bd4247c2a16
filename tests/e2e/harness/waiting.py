"""Waiting for something to become true, with a deadline and no blind sleeping."""
import select
import time

# Sanitizers and a shared machine slow everything down; a test that has to wait this long has failed.
PATIENCE = 20.0


class Overdue(AssertionError):
    pass


def until(condition, what, patience=PATIENCE, pause=0.01):
    """Polls, for things in /proc and the like that nobody announces."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Overdue(f"after {patience:.0f} s still not true: {what}")
        select.select([], [], [], pause)


def on(changed, condition, what, patience=PATIENCE):
    """Waits on a threading.Condition until `condition()` is true, and returns its value."""
    deadline = time.monotonic() + patience
    with changed:
        while True:
            found = condition()
            if found:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise Overdue(f"after {patience:.0f} s still not true: {what}")
            changed.wait(left)
