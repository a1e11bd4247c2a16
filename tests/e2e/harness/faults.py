"""Malformed and misleading requests, each with what must become of it.

A case is (name, bytes, statuses, upstream). `statuses`: the answers in order until the daemon ends the connection; a
set means one of these; None in a set means that it may also just end. `upstream`: the request lines that upstream may
see, no more and no less. `{T}` in the bytes is a correct and complete second request, which must reach upstream only
where a case says so: that would be the smuggled one.
"""
SECOND = b"GET /widget/second HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECOND_LINE = b"GET /widget/second HTTP/1.1"
HEAD = b"POST /widget/first HTTP/1.1\r\nHost: localhost\r\n"
FIRST_LINE = b"POST /widget/first HTTP/1.1"
GET = b"GET /widget/first HTTP/1.1\r\nHost: localhost\r\n"
GET_LINE = b"GET /widget/first HTTP/1.1"

BAD = [{400}]           # refused, and the connection ends: what follows is not looked at
GONE = [{400, None}]    # hopeless from the first line on: an answer is not owed

CASES = []


def case(name, data, statuses=None, upstream=()):
    CASES.append((name, data.replace(b"{T}", SECOND), BAD if statuses is None else statuses, list(upstream)))


def lenient(name, data):
    """libmicrohttpd understands this sloppy framing the only way it can be meant. No desync can come of it: upstream
    gets our framing, never the client's."""
    case(name, data, [200, 200], [FIRST_LINE, SECOND_LINE])


def chunked(*lines, te=b"Transfer-Encoding: chunked\r\n", head=HEAD):
    return head + te + b"\r\n" + b"".join(lines)


# --- Transfer-Encoding against Content-Length ---
for te in (b"chunked", b"Chunked", b"identity", b"x"):
    case("both-te-" + te.decode(), HEAD + b"Content-Length: 5\r\nTransfer-Encoding: " + te + b"\r\n\r\n0\r\n\r\n{T}")
    case("both-cl-last-" + te.decode(),
         HEAD + b"Transfer-Encoding: " + te + b"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{T}")
case("both-cl-zero", HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{T}")
case("both-cl-covers-second", HEAD + b"Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{T}")
case("both-in-get", GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{T}")

# --- Transfer-Encoding that is not exactly chunked, once ---
for value in (b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunkedx", b"chunked;q=1",
              b"chunked, ",
              b", chunked", b"\"chunked\"", b"chunk", b"chunked chunked", b"identity", b"deflate", b"", b"cow",
              b"chun ked",
              b"\x0bchunked", b"chunked\x0b", b"chunked\x00", b"chunked\xa0", b"identity, chunked",
              b"chunked, identity"):
    case("te-" + repr(value)[2:-1], chunked(b"0\r\n\r\n{T}", te=b"Transfer-Encoding: " + value + b"\r\n"))
case("te-twice", chunked(b"0\r\n\r\n{T}", te=b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"))
case("te-twice-identity", chunked(b"0\r\n\r\n{T}", te=b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"))
case("te-twice-case", chunked(b"0\r\n\r\n{T}", te=b"Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n"))
case("te-in-http10",
     b"POST /widget/first HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{T}")
case("te-folded", chunked(b"0\r\n\r\n{T}", te=b"Transfer-Encoding:\r\n chunked\r\n"))
case("te-folded-name", HEAD + b"Transfer-Enc: x\r\n oding: chunked\r\n\r\n0\r\n\r\n{T}")
for name in (b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"\tTransfer-Encoding",
             b"Transfer-Encoding\x00", b"Transfer\x00-Encoding", b"Transfer Encoding", b"Transfer-Encoding\x0b",
             b"Transfer-Encoding\xa0", b"Transfer-Encoding\r", b"Transfer-Encoding\""):
    case("te-name-" + repr(name)[2:-1], HEAD + name + b": chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{T}")
case("te-underscore", HEAD + b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{T}", [200, 200],
     [FIRST_LINE, SECOND_LINE])

# --- Content-Length ---
for value in (b"+5", b"-5", b"-0", b"0x5", b"5,5", b"5, 5", b"5,6", b"5 5", b"5;", b"5.0", b"5e0", b"", b" ", b"five",
              b"\"5\"",
              b"5\x0b", b"\x0b5", b"5\x00", b"\xb25", b"9223372036854775808", b"18446744073709551616",
              b"18446744073709551621", b"99999999999999999999999999", b"0b101", b"5_0", b"1\t2", b"5,", b",5", b"0,5"):
    case("cl-" + repr(value)[2:-1], HEAD + b"Content-Length: " + value + b"\r\n\r\nhello{T}", [{400, 413}])
for second in (b"5", b"6", b"0", b"+5"):
    case("cl-twice-" + second.decode(),
         HEAD + b"Content-Length: 5\r\nContent-Length: " + second + b"\r\n\r\nhello{T}")
case("cl-twice-case", HEAD + b"Content-Length: 0\r\ncontent-length: 5\r\n\r\nhello{T}")
for name in (b"Content-Length ", b"Content-Length\t", b" Content-Length", b"Content Length", b"Content-Length\x00",
             b"Content-Length\x0b", b"Content-Length\x7f"):
    case("cl-name-" + repr(name)[2:-1], HEAD + name + b": 5\r\n\r\nhello{T}")
case("cl-folded", HEAD + b"Content-Length:\r\n 5\r\n\r\nhello{T}")
case("cl-folded-digits", HEAD + b"Content-Length: 0\r\n 5\r\n\r\nhello{T}")
case("cl-leading-zeros", HEAD + b"Content-Length: 0005\r\n\r\nhello{T}", [200, 200], [FIRST_LINE, SECOND_LINE])
case("cl-underscore", HEAD + b"Content_Length: 50\r\nContent-Length: 5\r\n\r\nhello{T}", [200, 200],
     [FIRST_LINE, SECOND_LINE])
case("cl-short-then-second", HEAD + b"Content-Length: 5\r\n\r\nhello{T}", [200, 200], [FIRST_LINE, SECOND_LINE])
case("cl-get-then-second", GET + b"Content-Length: 5\r\n\r\nhello{T}", [200, 200], [GET_LINE, SECOND_LINE])
case("no-length-body-is-next-request", HEAD + b"\r\n{T}", [200, 200], [FIRST_LINE, SECOND_LINE])
case("cl-beyond-the-end", HEAD + b"Content-Length: 500\r\n\r\nhello{T}", [{400, 408, None}])

# --- chunks ---
for size in (b"5 ", b" 5", b"\t5", b"+5", b"-5", b"0x5", b"5h", b"g", b"", b"ffffffffffffffff", b"10000000000000005",
             b"fffffffffffffffff", b"5\x00", b"5\x0b", b"5,5", b"5 5", b"8000000000000000", b"-1", b"5\xa0", b"5_",
             b"5.", b"\"5\""):
    case("chunk-size-" + repr(size)[2:-1], chunked(size + b"\r\nhello\r\n0\r\n\r\n{T}"), [{400, 413, None}])
case("chunk-ok", chunked(b"5\r\nhello\r\n0\r\n\r\n{T}"), [200, 200], [FIRST_LINE, SECOND_LINE])
case("chunk-upper-case", chunked(b"A\r\nhellohello\r\n0\r\n\r\n{T}"), [200, 200], [FIRST_LINE, SECOND_LINE])
case("chunk-leading-zeros", chunked(b"0005\r\nhello\r\n000\r\n\r\n{T}"), [200, 200], [FIRST_LINE, SECOND_LINE])
case("chunk-extension", chunked(b"5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n{T}"), [200, 200], [FIRST_LINE, SECOND_LINE])
case("chunk-no-crlf-after", chunked(b"5\r\nhello0\r\n\r\n{T}"))
case("chunk-longer-than-size", chunked(b"3\r\nhello\r\n0\r\n\r\n{T}"))
lenient("chunk-lf-after-size", chunked(b"5\nhello\r\n0\r\n\r\n{T}"))
lenient("chunk-lf-after-data", chunked(b"5\r\nhello\n0\r\n\r\n{T}"))
lenient("chunk-lf-after-last", chunked(b"5\r\nhello\r\n0\n\r\n{T}"))
lenient("chunk-lf-at-the-end", chunked(b"5\r\nhello\r\n0\r\n\n{T}"))
case("chunk-cr-after-size", chunked(b"5\rhello\r\n0\r\n\r\n{T}"))
case("chunk-cr-cr-lf", chunked(b"5\r\r\nhello\r\n0\r\n\r\n{T}"))
case("chunk-data-cr-x", chunked(b"5\r\nhello\rX0\r\n\r\n{T}"))
case("chunk-extension-lf", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n{T}"))
lenient("chunk-extension-cr", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n{T}"))
lenient("chunk-extension-nul", chunked(b"5;a\x00b\r\nhello\r\n0\r\n\r\n{T}"))
lenient("chunk-extension-endless", chunked(b"5;" + b"a" * 9000 + b"\r\nhello\r\n0\r\n\r\n{T}"))
lenient("chunk-zeros-endless", chunked(b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n{T}"))
case("trailer-endless", chunked(b"0\r\n" + b"X-T: y\r\n" * 5000 + b"\r\n{T}"), [{400, 413, 431}])
case("trailer-length", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n{T}"), [200, 200],
     [FIRST_LINE, SECOND_LINE])
case("trailer-te", chunked(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n{T}"), [200, 200],
     [FIRST_LINE, SECOND_LINE])
case("trailer-authorization", chunked(b"5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\n\r\n{T}"), [200, 200],
     [FIRST_LINE, SECOND_LINE])
case("trailer-no-colon", chunked(b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n{T}"))
lenient("trailer-blank-before-colon", chunked(b"5\r\nhello\r\n0\r\nX-T : y\r\n\r\n{T}"))
lenient("trailer-folded", chunked(b"5\r\nhello\r\n0\r\nX-T: y\r\n z\r\n\r\n{T}"))
lenient("trailer-control-byte", chunked(b"5\r\nhello\r\n0\r\nX-T: a\x01b\r\n\r\n{T}"))
case("trailer-is-a-request", chunked(b"5\r\nhello\r\n0\r\n{T}"))
case("chunk-cut-off", chunked(b"5\r\nhel"), [{400, 408, None}])
case("chunk-without-last", chunked(b"5\r\nhello\r\n"), [{400, 408, None}])

# --- header lines ---
for name in (b"X A", b"X\tA", b"X\x00A", b"X(A)", b"X,A", b"X/A", b"X;A", b"X<A>", b"X=A", b"X?A", b"X@A", b"X[A]",
             b"X\\A", b"X{A}",
             b"X\"A\"", b"X\x80", b"X\xe9", b"X\x7f", b"X\x01", b"", b" ", b"X-A ", b"X-A\t", b"Authorization ",
             b"Authorization\t",
             b"Host "):
    case("name-" + repr(name)[2:-1], GET + name + b": v\r\n\r\n{T}")
for value in (b"a\x00b", b"a\x01b", b"a\x08b", b"a\x0bb", b"a\x0cb", b"a\x1fb", b"a\x7fb", b"\x00", b"a\rb", b"a\r\rb",
              b"a\r"):
    case("value-" + repr(value)[2:-1], GET + b"X-A: " + value + b"\r\n\r\n{T}")
case("fold", GET + b"X-A: a\r\n b\r\n\r\n{T}")
case("fold-tab", GET + b"X-A: a\r\n\tb\r\n\r\n{T}")
case("fold-first-line", b"GET /widget/first HTTP/1.1\r\n Host: localhost\r\n\r\n{T}")
case("fold-into-authorization", GET + b"Authoriz: q\r\n ation: Bearer evil\r\n\r\n{T}")
case("no-colon", GET + b"nonsense\r\n\r\n{T}")
case("no-name", GET + b": v\r\n\r\n{T}")
case("only-a-colon", GET + b":\r\n\r\n{T}")
case("nul-line", GET + b"\x00\r\n\r\n{T}")
case("nul-starts-line", GET + b"\x00X-A: b\r\n\r\n{T}")
case("request-line-as-header", GET + b"GET /widget/second HTTP/1.1\r\n\r\n")
case("bare-lf-lines", b"GET /widget/first HTTP/1.1\nHost: localhost\n\n{T}")
case("bare-lf-one", b"GET /widget/first HTTP/1.1\r\nHost: localhost\nX-A: b\r\n\r\n{T}")
case("bare-lf-hides-te", HEAD + b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{T}")
case("bare-lf-ends-head", HEAD + b"Content-Length: 0\n\n{T}")
case("cr-only-lines", b"GET /widget/first HTTP/1.1\rHost: localhost\r\r", GONE)
case("crlf-cr-lf-variants", b"GET /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\r\n{T}")

# --- Host ---
case("host-missing", b"GET /widget/first HTTP/1.1\r\n\r\n{T}")
case("host-twice", GET + b"Host: localhost\r\n\r\n{T}")
case("host-twice-other", GET + b"Host: evil.example\r\n\r\n", [{400, 421}])
case("host-list", b"GET /widget/first HTTP/1.1\r\nHost: localhost, localhost\r\n\r\n", [{400, 421}])
case("host-missing-http10", b"GET /widget/first HTTP/1.0\r\n\r\n{T}")
case("host-control", b"GET /widget/first HTTP/1.1\r\nHost: local\x01host\r\n\r\n", [{400, 421}])

# --- refused for something else, and its end is in doubt: what follows is not looked at ---
for name, line, fields, status in (
        ("405", b"FOO /widget/first", b"Host: localhost\r\n", 405),
        ("404", b"POST /elsewhere", b"Host: localhost\r\n", 404),
        ("421", b"POST /widget/first", b"Host: evil.example\r\n", 421),
        ("403", b"POST /widget/first", b"Host: localhost\r\nOrigin: https://evil.example\r\n", 403)):
    start = line + b" HTTP/1.1\r\n" + fields
    case(f"in-doubt-{name}-both",
         start + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{T}", [status])
    case(f"in-doubt-{name}-two-lengths", start + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n{T}", [status])
    case(f"in-doubt-{name}-name", start + b"Content(Length: 5\r\n\r\n{T}", [status])
    case(f"in-doubt-{name}-value", start + b"X: \x01\r\n\r\n{T}", [status])
    case(f"in-doubt-{name}-not", start + b"\r\n{T}", [status, 200], [SECOND_LINE])

case("hidden-byte-at-the-end", b"GET /widget/first HTTP/1.1\r\nHost: localhost\0X\n\n{T}")
case("hidden-byte-in-the-line", b"GET /widget/first HTTP/1.1\0X\n\n{T}", GONE)
case("bad-chunk-behind-too-many-lines",
     HEAD + b"X: y\r\n" * 120 + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{T}", [431])
case("in-doubt-405-method", b"\r\x08GET /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n{T}", [405])
case("in-doubt-405-target", b"FOO /widget/\x0b HTTP/1.1\r\nHost: localhost\r\n\r\n{T}", [{400, 405}])

# --- request line ---
case("version-09", b"GET /widget/first\r\n\r\n{T}", GONE)
case("version-20", b"GET /widget/first HTTP/2.0\r\nHost: localhost\r\n\r\n{T}", [{505}])
case("version-12", b"GET /widget/first HTTP/1.2\r\nHost: localhost\r\n\r\n{T}", [{505}])
case("version-19", b"GET /widget/first HTTP/1.9\r\nHost: localhost\r\n\r\n{T}", [{505}])
case("version-00", b"GET /widget/first HTTP/0.9\r\nHost: localhost\r\n\r\n{T}", [{400, 505}])
for version in (b"http/1.1", b"HTTP/1.", b"HTTP/1", b"HTTP/11", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.1 ", b"HTTP /1.1",
                b"HTTP/1.1\x00", b"HTTP/1.1\t", b"HTTPS/1.1", b"HTTP/+1.1", b"XTTP/1.1", b"HTTP/1,1"):
    case("version-" + repr(version)[2:-1], b"GET /widget/first " + version + b"\r\nHost: localhost\r\n\r\n{T}",
         [{400, 505, None}])
case("h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [{400, 405, 505, None}])
case("tls-hello", bytes.fromhex("1603010200010001fc0303") + b"x" * 100, GONE)
case("two-blanks", b"GET  /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n{T}", GONE)
case("two-blanks-later", b"GET /widget/first  HTTP/1.1\r\nHost: localhost\r\n\r\n{T}", GONE)
case("tab-separated", b"GET\t/widget/first\tHTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 405, None}])
case("leading-blank", b" GET /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 405, None}])
case("blank-in-target", b"GET /widget/first /second HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 505, None}])
case("nul-in-target", b"GET /widget/first\x00/x HTTP/1.1\r\nHost: localhost\r\n\r\n{T}", GONE)
case("nul-in-method", b"GE\x00T /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 405, None}])
case("cr-in-target", b"GET /widget/fi\rrst HTTP/1.1\r\nHost: localhost\r\n\r\n{T}", GONE)
case("cr-in-request-line", b"GET /widget/first HTTP/1.1\rX: y\r\nHost: localhost\r\n\r\n{T}", [{400, 505, None}])
case("method-colon", b"GET: /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 405}])
case("method-empty", b" /widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 405, None}])
case("only-garbage", b"\xff\xfe\x00\x01\x02garbage\r\n\r\n", GONE)
case("empty-lines-before", b"\r\n" + GET + b"\r\n", [200], [GET_LINE])
case("absolute-form", b"GET http://localhost/widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400}])
case("absolute-form-other-host", b"GET http://evil.example/widget/first HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400}])
case("authority-form", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400, 405}])
case("asterisk-form", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", [{400}])

# --- Connection and Upgrade ---
case("h2c-upgrade",
     GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n{T}",
     [200, 200], [GET_LINE, SECOND_LINE])
case("tls-upgrade", GET + b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n{T}", [200, 200], [GET_LINE, SECOND_LINE])
case("nominated-framing", HEAD + b"Content-Length: 5\r\nConnection: Content-Length\r\n\r\nhello{T}", [200, 200],
     [FIRST_LINE, SECOND_LINE])
case("nominated-te",
     chunked(b"5\r\nhello\r\n0\r\n\r\n{T}", te=b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n"),
     [200, 200], [FIRST_LINE, SECOND_LINE])
case("close-then-second", GET + b"Connection: close\r\n\r\n{T}", [200], [GET_LINE])
case("websocket-with-body",
     b"GET /ws?tx_id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nhello{T}")
case("websocket-without-key",
     b"GET /ws?tx_id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
     b"Sec-WebSocket-Version: 13\r\n\r\n", [{400}])
case("websocket-http10", b"GET /ws?tx_id=1 HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", [{400}])
case("websocket-post", b"POST /ws?tx_id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", [{400}])
