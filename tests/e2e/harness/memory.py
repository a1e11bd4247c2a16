"""What a process holds in memory, and what of it would be in a core dump."""
import re

HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$")
PIECE = 1 << 20


class Mapping:
    def __init__(self, start, end, mode, name):
        self.start, self.end, self.mode, self.name = start, end, mode, name
        self.flags = set()

    def __repr__(self):
        return f"{self.start:x}-{self.end:x} {self.mode} {self.name or 'anonymous'} {' '.join(sorted(self.flags))}"

    @property
    def secret(self):
        """Left out of core dumps (MADV_DONTDUMP) and locked (mlock)."""
        return {"dd", "lo"} <= self.flags


def mappings(pid):
    found = []
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            head = HEAD.match(line)
            if head:
                start, end, mode, name = head.groups()
                found.append(Mapping(int(start, 16), int(end, 16), mode, name))
            elif line.startswith("VmFlags:"):
                found[-1].flags = set(line.split()[1:])
    return found


SHADOW = 1 << 30  # bytes: mappings beyond are a sanitizer's, of terabytes


def places(pid, needle):
    """Every readable mapping in which the bytes occur, once per occurrence. Needs the right to trace the process."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for m in mappings(pid):
            if "r" not in m.mode or m.name in ("[vvar]", "[vsyscall]") or m.end - m.start > SHADOW:
                continue
            for at in range(m.start, m.end, PIECE):
                size = min(PIECE + len(needle) - 1, m.end - at)
                try:
                    memory.seek(at)
                    data = memory.read(size)
                except OSError:
                    continue  # a mapping beyond the end of its file
                found += [m] * data.count(needle)
    return found
