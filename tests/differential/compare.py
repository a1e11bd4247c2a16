#!/usr/bin/python3
"""Holds the response parser against libhttp-parser, h11 and Node on thousands of generated answers.

compare.py FOLDER    the folder with the drivers in C, ours and peer_http_parser

The rule: what proofproxy takes as a complete answer, every other parser must take as the same answer: status, header
lines, body. Where an answer is cut short, no other parser may see a complete one. Where proofproxy refuses and others
do not, it is stricter, which is counted and shown, not judged.
"""
import json
import pathlib
import random
import re
import struct
import subprocess
import sys

import h11

HERE = pathlib.Path(__file__).resolve().parent
CASES = 6000
SEED = 20261122

OK = b"HTTP/1.1 200 OK\r\n"
SEEDS = [
    OK + b"Content-Length: 5\r\n\r\nhello",
    OK + b"Content-Type: application/json\r\nX-Request-Id: 7\r\nContent-Length: 2\r\n\r\n{}",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    OK + b"Connection: close\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://a.example/b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"x\"\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n",
    OK + b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nEmpty:\r\nBlank: \t \r\nX:y\r\nContent-Length: 3\r\n\r\nabc",
]
# Pieces that parsers have disagreed about (RFC 9112 11, and what is known of attacks on framing).
TOKENS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\r\n", b" ", b"\t", b"\x0b", b"\x0c", b"\x00", b"\x7f", b"\x85",
    b"\xa0", b"\xff", b":", b";", b",", b"\"", b"\r\n ", b"\r\n\t", b" :", b": ", b"0", b"00", b"+", b"-", b"_", b"0x",
    b"1", b"f", b"FF", b"5\r\n", b"0\r\n\r\n", b"chunked", b"identity", b"gzip", b"chunked, chunked", b"close",
    b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length : 5\r\n", b"Content-Length\r\n", b"content-length:5\r\n", b"Content_Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n", b"transfer-encoding: CHUNKED\r\n", b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: websocket\r\n", b"X: y\r\n", b": y\r\n",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 200 OK\r\n", b"200", b"204", b"304", b"101", b"100", b"999",
    b";ext=\"a;b\"", b";\n", b"8000000000000000", b"10000000000000000", b"18446744073709551621",
]


def mutate(rng, case):
    case = bytearray(case)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        at = rng.randrange(len(case) + 1)
        kind = rng.randrange(9)
        if kind == 0:
            case[at:at] = rng.choice(TOKENS)
        elif kind == 1:
            case[at:at + rng.randrange(1, 4)] = b""
        elif kind == 2 and at < len(case):
            case[at] = rng.randrange(256)
        elif kind == 3 and at < len(case):
            case[at] ^= 1 << rng.randrange(8)
        elif kind == 4:
            case = case[:at]
        elif kind == 5:  # another header line, at the start of a line
            ends = [m.end() for m in re.finditer(b"\r\n", bytes(case))]
            place = rng.choice(ends) if ends else 0
            case[place:place] = rng.choice([t for t in TOKENS if t.endswith(b"\r\n") and len(t) > 2])
        elif kind == 6:  # a line twice, or two lines exchanged
            lines = bytes(case).split(b"\r\n")
            one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one], lines[two] = (lines[two], lines[one]) if rng.random() < 0.5 else (lines[one], lines[one])
            case = bytearray(b"\r\n".join(lines))
        elif kind == 7:  # one line end is another
            places = [m.start() for m in re.finditer(b"\r\n", bytes(case))]
            if places:
                place = rng.choice(places)
                case[place:place + 2] = rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\t\r\n"))
        else:
            case += rng.choice((b"x", b"\r\n", OK, b"HTTP/1.1 500 No\r\n\r\n"))
    return bytes(case)


def make_cases():
    rng = random.Random(SEED)
    cases = [(seed, to_head) for seed in SEEDS for to_head in (False, True)]
    cases += [(seed[:cut], False) for seed in SEEDS for cut in range(0, len(seed), 3)]
    cases += [(OK + token + b"\r\nabc", False) for token in TOKENS]
    while len(cases) < CASES:
        cases.append((mutate(rng, rng.choice(SEEDS)), rng.random() < 0.1))
    return cases


def from_driver(command, blob, count):
    done = subprocess.run(command, input=blob, capture_output=True, timeout=60, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    if len(results) != count:
        raise SystemExit(f"{command[0]} answered {len(results)} of {count} cases")
    for result in results:
        result["headers"] = [(bytes.fromhex(n), bytes.fromhex(v)) for n, v in result.get("headers", [])]
        result["body"] = bytes.fromhex(result.get("body", ""))
    return results


def from_h11(case, to_head):
    """An upgrade is proposed, so that h11 takes a 101 for an answer and not for an error."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method="HEAD" if to_head else "GET", target="/",
                            headers=[("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]))
    client.send(h11.EndOfMessage())
    result = {"body": b"", "headers": []}
    at_end = False
    try:
        client.receive_data(case)
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                if at_end:
                    return {**result, "verdict": "cut"}
                at_end = True
                client.receive_data(b"")
            elif isinstance(event, h11.Response) or (isinstance(event, h11.InformationalResponse)
                                                     and event.status_code == 101):
                result.update(status=event.status_code, headers=list(event.headers.raw_items()))
                if event.status_code == 101:
                    return {**result, "verdict": "complete"}
            elif isinstance(event, h11.Data):
                result["body"] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return {**result, "verdict": "complete"}
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return {**result, "verdict": "cut"}
    except h11.RemoteProtocolError:
        return {**result, "verdict": "cut" if at_end else "refused"}


def lines_of(result):
    """Header lines as every parser can show them: names in lower case, values without blanks around them."""
    lines = [(name.lower(), value.strip(b" \t")) for name, value in result["headers"]]
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in lines]


# Answers that others do not take and RFC 9110 and 9112 allow: (parsers, what it is about, how it looks).
ALLOWED = [
    ("http-parser node h11", "framing fields among the trailers, which are dropped unread (RFC 9112 7.1.2)",
     re.compile(rb"\r\n0+[^\n]*\r\n([^\r\n]+\r\n)*(content-length|transfer-encoding):", re.I)),
    ("node h11", "what stands in a chunk extension, which is skipped to the end of its line (RFC 9112 7.1.1)",
     re.compile(rb"\r\n[0-9a-f]+;[^\r\n]*\r\n", re.I)),
    ("node", "close in an interim answer, which speaks of the connection after the final one (RFC 9110 15.2)",
     re.compile(rb"^HTTP/1.1 1[^\r\n]*\r\n([^\r\n]+\r\n)*connection:[^\r\n]*close", re.I)),
    ("http-parser", "a name that only begins like Transfer-Encoding, which it takes for it",
     re.compile(rb"\r\ntransfer-encoding[^:\r\n]+:", re.I)),
]


def allowed(name, case, theirs):
    return theirs["verdict"] != "complete" and any(name in parsers.split() and pattern.search(case)
                                                  for parsers, _, pattern in ALLOWED)


def differs(ours, theirs):
    """What is wrong between our verdict and another parser's, or None."""
    if ours["verdict"] == "complete":
        if theirs["verdict"] != "complete":
            return f"we take it as complete, they say {theirs['verdict']}"
        for what in ("status", "body"):
            if ours[what] != theirs[what]:
                return f"{what}: {ours[what]!r}, theirs {theirs[what]!r}"
        if lines_of(ours) != lines_of(theirs):
            return f"header lines: {lines_of(ours)}, theirs {lines_of(theirs)}"
    if ours["verdict"] == "cut" and theirs["verdict"] == "complete":
        return "we wait for more, they take it as complete"
    return None


def main():
    drivers = pathlib.Path(sys.argv[1])
    cases = make_cases()
    blob = b"".join(struct.pack(">IB", len(case), to_head) + case for case, to_head in cases)
    ours = from_driver([drivers / "ours"], blob, len(cases))
    peers = {
        "http-parser": from_driver([drivers / "peer_http_parser"], blob, len(cases)),
        "node": from_driver(["node", "--no-deprecation", HERE / "peer_node.js"], blob, len(cases)),
        "h11": [from_h11(case, to_head) for case, to_head in cases],
    }
    verdicts = [result["verdict"] for result in ours]
    print(", ".join(f"{verdicts.count(v)} {v}" for v in ("complete", "cut", "refused")), f"of {len(cases)} answers")
    failed = set()
    for name, results in peers.items():
        stricter = sum(o["verdict"] == "refused" and t["verdict"] != "refused" for o, t in zip(ours, results))
        print(f"{name}: refuses {sum(t['verdict'] == 'refused' for t in results)}; we are stricter in {stricter}")
        for number, (one, other) in enumerate(zip(ours, results)):
            problem = differs(one, other)
            if problem and not allowed(name, cases[number][0], other):
                failed.add(number)
                print(f"{name}, case {number}: {problem}\n    {cases[number][0]!r} (HEAD: {cases[number][1]})")
    if min(verdicts.count("complete"), verdicts.count("refused")) < len(cases) // 10:
        raise SystemExit("the cases are too much alike to say anything")
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
