"""Headless Chromium: a page's DOM, its picture, and what it complained about; or just a page left open."""
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import zlib

from .waiting import PATIENCE

ALWAYS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
          "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic", "--hide-scrollbars",
          "--disable-dev-shm-usage", "--enable-logging=stderr")
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"


class Browser:
    def __init__(self, directory):
        self.directory = directory
        self.program = shutil.which("chromium")
        self.runs = 0

    def _run(self, url, *options):
        self.runs += 1
        profile = self.directory / f"profile{self.runs}"
        done = subprocess.run([self.program, *ALWAYS, f"--user-data-dir={profile}", *options, url], capture_output=True,
                              timeout=PATIENCE * 3, check=False)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
        complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines()
                      if "CONSOLE" in line or "Refused to" in line]
        return done.stdout.decode("utf-8", "replace"), complaints

    def dom(self, url, *options):
        """(the document after it was loaded, the console's lines)"""
        return self._run(url, "--dump-dom", *options)

    def picture(self, url, width, height, *options):
        path = self.directory / f"page{self.runs}.png"
        self._run(url, f"--window-size={width},{height}", f"--screenshot={path}", *options)
        return Picture(path.read_bytes())


    @contextlib.contextmanager
    def opened(self, url, *options):
        """The page is open, and does what it does, until the with block ends."""
        self.runs += 1
        profile = self.directory / f"profile{self.runs}"
        process = subprocess.Popen([self.program, *ALWAYS, f"--user-data-dir={profile}", "--remote-debugging-port=0",
                                    *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it has many processes, all in the session made for it
            process.wait(PATIENCE)


class Picture:
    """A PNG of 8 bits per channel, without interlacing: what Chromium writes."""

    def __init__(self, data):
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        at, packed = 8, b""
        while at < len(data):
            size, kind = struct.unpack(">I4s", data[at:at + 8])
            chunk = data[at + 8:at + 8 + size]
            if kind == b"IHDR":
                self.width, self.height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunk)
                assert depth == 8 and colour in (2, 6) and interlace == 0
                self.step = 3 if colour == 2 else 4
            elif kind == b"IDAT":
                packed += chunk
            at += size + 12
        self.rows = self._rows(zlib.decompress(packed))

    def _rows(self, raw):
        stride, step, rows = self.width * self.step, self.step, []
        before = bytearray(stride)
        for y in range(self.height):
            at = y * (stride + 1)
            kind, row = raw[at], bytearray(raw[at + 1:at + 1 + stride])
            for x in range(stride):
                left = row[x - step] if x >= step else 0
                up = before[x]
                corner = before[x - step] if x >= step else 0
                if kind == 1:
                    row[x] = (row[x] + left) & 255
                elif kind == 2:
                    row[x] = (row[x] + up) & 255
                elif kind == 3:
                    row[x] = (row[x] + (left + up) // 2) & 255
                elif kind == 4:
                    guess = left + up - corner
                    near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))
                    row[x] = (row[x] + near[2]) & 255
            rows.append(row)
            before = row
        return rows

    def pixel(self, x, y):
        row = self.rows[y]
        return tuple(row[x * self.step:x * self.step + 3])

    def column(self, x):
        return {self.pixel(x, y) for y in range(self.height)}

    def colours(self):
        return {self.pixel(x, y) for y in range(0, self.height, 2) for x in range(0, self.width, 2)}
