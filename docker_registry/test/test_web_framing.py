"""What is read as a request, and what is not (T13, T14, T19, T24, T27).

Each line is followed by a request that must never be executed, and each must be quiet.
"""

from __future__ import annotations

from docker_registry.test.web_case import SiteCase, get
from docker_registry.web.request import Request

SMUGGLED = b"DELETE /smuggled HTTP/1.1\r\nHost: registry\r\n\r\n"


def raw(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", b""]) + body


POST = b"POST /x HTTP/1.1"
GET = b"GET /x HTTP/1.1"
HOST = b"Host: registry"
CHUNKED = b"Transfer-Encoding: chunked"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: h2c")
FORM = b"Content-Type: application/x-www-form-urlencoded"

REFUSED: list[tuple[str, bytes, int]] = [
    ("coding and length", raw(POST, HOST, CHUNKED, b"Content-Length: 4", body=b"0\r\n\r\n"), 400),
    ("length and coding", raw(POST, HOST, b"Content-Length: 4", CHUNKED, body=b"0\r\n\r\n"), 400),
    ("two lengths", raw(POST, HOST, b"Content-Length: 4", b"Content-Length: 5", body=b"abcd"), 400),
    ("the same length twice", raw(POST, HOST, b"Content-Length: 4", b"Content-Length: 4", body=b"abcd"), 400),
    ("a list of lengths", raw(POST, HOST, b"Content-Length: 4, 4", body=b"abcd"), 400),
    ("signed length", raw(POST, HOST, b"Content-Length: +4", body=b"abcd"), 400),
    ("negative length", raw(POST, HOST, b"Content-Length: -4", body=b"abcd"), 400),
    ("hexadecimal length", raw(POST, HOST, b"Content-Length: 0x4", body=b"abcd"), 400),
    ("length of blanks", raw(POST, HOST, b"Content-Length: 4 4", body=b"abcd"), 400),
    ("empty length", raw(POST, HOST, b"Content-Length:", body=b"abcd"), 400),
    ("length of 20 digits", raw(POST, HOST, b"Content-Length: " + b"9" * 20), 400),
    ("length of 5000 digits", raw(POST, HOST, b"Content-Length: " + b"9" * 5000), 400),
    ("identity", raw(POST, HOST, b"Transfer-Encoding: identity", body=b"abcd"), 400),
    ("identity beside chunked", raw(POST, HOST, b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n"), 400),
    ("chunked not last", raw(POST, HOST, b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"), 400),
    ("gzip, chunked", raw(POST, HOST, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    ("chunked twice", raw(POST, HOST, CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400),
    ("quoted coding", raw(POST, HOST, b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400),
    ("coding with a tab", raw(POST, HOST, b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    ("empty coding", raw(POST, HOST, b"Transfer-Encoding:", body=b"0\r\n\r\n"), 400),
    ("coding in HTTP/1.0", raw(b"POST /x HTTP/1.0", HOST, CHUNKED, body=b"0\r\n\r\n"), 400),
    ("blank before colon", raw(POST, HOST, b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400),
    ("folded header", raw(POST, HOST, b"X: a", b" b"), 400),
    ("folded coding", raw(POST, HOST, b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"), 400),
    ("empty header name", raw(GET, HOST, b": x"), 400),
    ("blank header name", raw(GET, HOST, b" : x"), 400),
    ("header without colon", raw(GET, HOST, b"X"), 400),
    ("NUL in a value", raw(GET, HOST, b"X: a\0b"), 400),
    ("bare CR in a value", raw(GET, HOST, b"X: a\rb"), 400),
    ("bare LF", GET + b"\n" + HOST + b"\n\n", 400),
    ("bare LF in a header", raw(GET, HOST, b"X: a\nY: b"), 400),
    ("no Host", raw(GET), 400),
    ("two Hosts", raw(GET, HOST, HOST), 400),
    ("Host with a blank", raw(GET, b"Host: a b"), 400),
    ("Host with markup", raw(GET, b'Host: a"><b'), 400),
    ("Host with a path", raw(GET, b"Host: a/b"), 400),
    ("Host with credentials", raw(GET, b"Host: a@b"), 400),
    ("Host with a bad port", raw(GET, b"Host: a:b"), 400),
    ("HTTP/0.9", b"GET /x\r\n\r\n", 400),
    ("HTTP/2.0", raw(b"GET /x HTTP/2.0", HOST), 505),
    ("HTTP/3.0", raw(b"GET /x HTTP/3.0", HOST), 505),
    ("HTTP/1.2", raw(b"GET /x HTTP/1.2", HOST), 400),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("http/1.1", raw(b"GET /x http/1.1", HOST), 400),
    ("lower-case method", raw(b"get /x HTTP/1.1", HOST), 400),
    ("unknown method", raw(b"BREW /x HTTP/1.1", HOST), 501),
    ("TRACE", raw(b"TRACE /x HTTP/1.1", HOST), 501),
    ("CONNECT", raw(b"CONNECT registry:80 HTTP/1.1", HOST), 501),
    ("PROPFIND", raw(b"PROPFIND /x HTTP/1.1", HOST), 501),
    ("target with a blank", raw(b"GET /x y HTTP/1.1", HOST), 400),
    ("target with raw bytes", raw("GET /ä HTTP/1.1".encode(), HOST), 400),
    ("target of an asterisk", raw(b"OPTIONS * HTTP/1.1", HOST), 400),
    ("target without slash", raw(b"GET x HTTP/1.1", HOST), 400),
    ("target of another scheme", raw(b"GET ftp://registry/x HTTP/1.1", HOST), 400),
    ("expectation", raw(b"PUT /x HTTP/1.1", HOST, b"Content-Length: 1", b"Expect: 200-ok"), 417),
    ("chunk of no digits", raw(POST, HOST, CHUNKED, body=b"x\r\n"), 400),
    ("chunk of 0x", raw(POST, HOST, CHUNKED, body=b"0x1\r\na\r\n0\r\n\r\n"), 400),
    ("signed chunk", raw(POST, HOST, CHUNKED, body=b"-1\r\na\r\n0\r\n\r\n"), 400),
    ("chunk of 17 digits", raw(POST, HOST, CHUNKED, body=b"10000000000000000\r\n"), 400),
    ("chunk with forty zeros", raw(POST, HOST, CHUNKED, body=b"0" * 40 + b"1\r\na\r\n0\r\n\r\n"), 400),
    ("chunk without end", raw(POST, HOST, CHUNKED, body=b"1\r\nab\r\n0\r\n\r\n"), 400),
    ("chunk begun by LF", raw(POST, HOST, CHUNKED, body=b"1\na\r\n0\r\n\r\n"), 400),
    ("chunk ended by LF", raw(POST, HOST, CHUNKED, body=b"1\r\na\n0\r\n\r\n"), 400),
    ("chunk ended by CR", raw(POST, HOST, CHUNKED, body=b"1\r\na\r0\r\n\r\n"), 400),
    ("blank behind a chunk's size", raw(POST, HOST, CHUNKED, body=b"1 \r\na\r\n0\r\n\r\n"), 400),
    ("CR in a size line", raw(POST, HOST, CHUNKED, body=b"1\r\r\na\r\n0\r\n\r\n"), 400),
    ("NUL in an extension", raw(POST, HOST, CHUNKED, body=b"1;\0\r\na\r\n0\r\n\r\n"), 400),
    ("CR in an extension", raw(POST, HOST, CHUNKED, body=b"1;a\r0\r\na\r\n0\r\n\r\n"), 400),
    ("trailer without colon", raw(POST, HOST, CHUNKED, body=b"0\r\nX\r\n\r\n"), 400),
    ("blank before a trailer's colon", raw(POST, HOST, CHUNKED, body=b"0\r\nX : y\r\n\r\n"), 400),
    ("folded trailer", raw(POST, HOST, CHUNKED, body=b"0\r\nX: y\r\n z\r\n\r\n"), 400),
    ("bare LF after the last chunk", raw(POST, HOST, CHUNKED, body=b"0\r\n\n"), 400),
    ("long extension", raw(POST, HOST, CHUNKED, body=b"1;" + b"a" * 5000 + b"\r\na\r\n0\r\n\r\n"), 400),
    ("endless extension", raw(POST, HOST, CHUNKED, body=b"1;" + b"a" * 100_000), 400),
    ("many trailers", raw(POST, HOST, CHUNKED, body=b"0\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), 400),
    ("101 fields", raw(GET, HOST, *[b"X: y"] * 100), 431),
    ("a field of 40 KB", raw(GET, HOST, b"X: " + b"y" * 40_000), 431),
    ("an endless field", b"GET /x HTTP/1.1\r\nHost: registry\r\nX: " + b"y" * 400_000, 431),
    ("a target of 9 KB", raw(b"GET /" + b"x" * 9000 + b" HTTP/1.1", HOST), 414),
    ("a target of 400 KB", raw(b"GET /" + b"x" * 400_000 + b" HTTP/1.1", HOST), 414),
    ("nonsense", b"\x00\x01\x02\x03", 400),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", 400),
    ("endless empty lines", b"\r\n" * 50_000, 400),
]

ACCEPTED: list[tuple[str, bytes, str]] = [
    ("plain", raw(GET, HOST), "/x"),
    ("query", raw(b"GET /x?a=b HTTP/1.1", HOST), "/x"),
    ("empty line before it", b"\r\n" + raw(GET, HOST), "/x"),
    ("absolute target", raw(b"GET http://other/x HTTP/1.1", HOST), "/x"),
    ("absolute target without a path", raw(b"GET http://other HTTP/1.1", HOST), "/"),
    ("Host with a port", raw(GET, b"Host: registry:5000"), "/x"),
    ("Host of IPv6", raw(GET, b"Host: [::1]:5000"), "/x"),
    ("a token of 16 KB", raw(GET, HOST, b"Authorization: Bearer " + b"x" * 16_384), "/x"),
    ("99 fields", raw(GET, HOST, *[b"X: y"] * 98), "/x"),
    ("length 0", raw(POST, HOST, b"Content-Length: 0"), "/x"),
    ("chunks", raw(POST, HOST, CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), "/x"),
    ("chunk in capitals", raw(POST, HOST, CHUNKED, body=b"A\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n"), "/x"),
    ("extension and trailer", raw(POST, HOST, CHUNKED, body=b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"), "/x"),
    ("Chunked", raw(POST, HOST, b"Transfer-Encoding: Chunked", body=b"0\r\n\r\n"), "/x"),
    ("form", raw(POST, HOST, FORM, b"Content-Length: 3", body=b"a=b"), "/x"),
    ("form in parts", raw(POST, HOST, b"Content-Type: multipart/form-data", b"Content-Length: 3", body=b"abc"), "/x"),
    ("upgrade", raw(GET, HOST, *UPGRADE), "/x"),
    ("upgrade with a body", raw(POST, HOST, *UPGRADE, b"Content-Length: 3", body=b"abc"), "/x"),
    ("upgrade with chunks", raw(POST, HOST, *UPGRADE, CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), "/x"),
    ("method override", raw(POST, HOST, b"X-HTTP-Method-Override: DELETE", b"Content-Length: 0"), "/x"),
]


class FramingTests(SiteCase):
    async def handler(self, request: Request) -> None:
        await self.echo(request)

    def feed(self, data: bytes, size: int) -> None:
        for at in range(0, len(data), size):
            if not self.wire.ended:
                self.send(data[at : at + size])

    def test_refused(self) -> None:
        """Whole, and in pieces whose borders lie anywhere."""
        for name, data, status in REFUSED:
            for size in (1 << 20, 1000, 7, 1):
                if size < 100 and len(data) > 10_000:
                    continue
                self.setUp()
                self.feed(data + SMUGGLED, size)
                self.clock.pump([1] * 130)
                answer = self.sent()
                self.assertEqual(self.statuses(answer), [status], (name, size))
                self.assertIn(b"Connection: close\r\n", answer, name)
                self.assertIn(b'{"reason": "', answer, name)
                self.assertTrue(self.wire.ended, name)
                self.assertNotIn("/smuggled", [request.path for request in self.requests], name)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_accepted(self) -> None:
        for name, data, path in ACCEPTED:
            for size in (1 << 20, 7, 1):
                self.setUp()
                self.feed(data + get("/next"), size)
                answers = self.sent()
                self.assertEqual(self.statuses(answers), [200, 200], (name, size))
                self.assertEqual([request.path for request in self.requests], [path, "/next"], (name, size))
                self.assertNotIn(b"other", answers, name)

    def test_greeting_of_tls(self) -> None:
        """Clients try TLS first on a port that is said to be insecure; some go on only if the answer is HTTP."""
        self.send(bytes.fromhex("1603010200010001fc0303") + b"\0" * 100)
        self.assertEqual(self.statuses(self.sent()), [400])
        self.assertEqual(self.requests, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_method_override_is_ignored(self) -> None:
        self.send(raw(POST, HOST, b"X-HTTP-Method-Override: DELETE", b"Content-Length: 0"))
        self.assertEqual(self.requests[0].method, "POST")

    def test_bodies_are_bytes(self) -> None:
        """Whatever they say they are (T14)."""
        self.send(raw(POST, HOST, FORM, b"Content-Length: 7", body=b"a=b&c=d"))
        self.assertTrue(self.sent().endswith(b"/x a=b&c=d"))
        self.assertEqual(self.requests[0].args, {})

    def test_query(self) -> None:
        """Decoded once; too many fields, and what is not UTF-8, are refused (T13)."""
        self.send(get("/x?a=%2Fb%252F&c=&a=2&d=%C3%A4"))
        self.assertEqual(self.requests[0].args, {"a": ["/b%2F", "2"], "c": [""], "d": ["ä"]})

    def test_bad_query(self) -> None:
        for query, status in (("&".join(["a=b"] * 101), 414), ("&" * 100, 414), ("a=%ff", 400)):
            self.setUp()

            async def asks(request: Request) -> None:
                request.answer(200, [], str(request.args).encode())

            self.handler = asks  # type: ignore[method-assign]
            self.send(get(f"/x?{query}"))
            self.assertEqual(self.statuses(self.sent()), [status], query)
