"""HTTP/1.1 through the gateway: clients and servers that are slow, leave early, or lie."""
import socket
import struct
import threading
import time

import pytest

from gw_wire import World, read_body, read_head


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def odd(server, sock):
    """Answers with what it was sent; some paths break off at some moment."""
    f, before = sock.makefile("rb"), 0
    while head := read_head(f):
        (method, path, _), fields = head
        server.note((method, path, fields))
        before += 1
        if path == "/tired" and before > 1:
            return sock.sendall(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        if path == "/reset-at-head":
            return reset(sock)
        body = read_body(f, fields)
        if path == "/reset-in-answer-head":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-")
            return reset(sock)
        if path == "/reset-in-body":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            return reset(sock)
        if path == "/end-in-chunk":
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf")
            return
        if path == "/garbage":
            sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            return
        if path == "/slow":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow":
                sock.sendall(bytes([byte]))
                time.sleep(0.002)
            continue
        if path == "/two-answers":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
            continue
        if path in BAD_ANSWERS:
            sock.sendall(BAD_ANSWERS[path])
            continue
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), b"" if method == "HEAD" else body))


BAD_ANSWERS = {
    "/both-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "/folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "/bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "/no-colon": b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
    "/status-abc": b"HTTP/1.1 abc OK\r\n\r\n",
    "/upgrade-unasked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
}


@pytest.fixture(scope="module")
def world(workdir):
    w = World(workdir / "http1")
    w.odd = w.serve("odd", odd)
    yield w
    w.close()


class Conn:
    def __init__(self, world):
        self.sock = socket.create_connection(("127.0.0.1", world.port), timeout=20)
        self.file = self.sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)
        return self

    def answer(self):
        """(status, fields, body) of the next answer."""
        words, fields = read_head(self.file)
        return int(words[1]), fields, read_body(self.file, fields)

    def ended(self):
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def request(path="/", method="GET", extra="", body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: odd.test\r\n{length}{extra}\r\n".encode() + body


def test_a_client_that_closes_its_half_gets_its_answer(world):
    with Conn(world) as c:
        c.send(request(method="POST", body=b"question"))
        c.sock.shutdown(socket.SHUT_WR)
        assert c.answer()[2] == b"question" and c.ended()


def test_bytes_one_by_one(world):
    with Conn(world) as c:
        for byte in request(method="PUT", body=b"slow client"):
            c.send(bytes([byte]))
        assert c.answer()[2] == b"slow client"
        for byte in b"PUT / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nX-T: 1\r\n\r\n":
            c.send(bytes([byte]))
        assert c.answer()[2] == b"abcd"
        assert c.send(request("/slow")).answer()[2] == b"slow"


@pytest.mark.parametrize("path", ["/reset-at-head", "/reset-in-answer-head", "/garbage", *BAD_ANSWERS])
def test_servers_that_break_before_an_answer(world, path):
    with Conn(world) as c:
        status, _, text = c.send(request(path, method="POST", body=b"x")).answer()
        assert status == 502 and b"odd" in text
        assert c.send(request()).answer()[0] == 200  # the client's connection is as good as before


def test_a_server_that_tires_of_a_kept_connection_is_asked_again(world):
    with Conn(world) as c:
        assert c.send(request("/")).answer()[0] == 200
        assert c.send(request("/tired")).answer()[0] == 200


@pytest.mark.parametrize("path", ["/reset-in-body", "/end-in-chunk"])
def test_cut_answers_look_cut(world, path):
    with Conn(world) as c:
        c.send(request(path))
        assert read_head(c.file)[0][1] == "200"
        with pytest.raises(OSError):  # a reset, not an end
            while c.sock.recv(100):
                pass


def test_what_a_server_says_too_much_reaches_nobody(world):
    with Conn(world) as c:
        assert c.send(request("/two-answers")).answer()[2] == b"one"
        assert c.send(request(method="POST", body=b"mine")).answer()[2] == b"mine"


def test_clients_that_leave_at_each_moment(world):
    whole = request(method="POST", body=b"0123456789")
    for n in range(1, len(whole), 7):
        for leave in (reset, socket.socket.close):
            with Conn(world) as c:
                c.send(whole[:n])
                leave(c.sock)
    with Conn(world) as c:
        assert c.send(request()).answer()[0] == 200


@pytest.mark.parametrize("head, status", [
    (b"GET / HTTP/1.1\r\nHost: odd.test\r\nX: " + b"y" * 70000 + b"\r\n\r\n", 431), (b"GET /" + b"y" * 20000 + b" HTTP/1.1\r\nHost: odd.test\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: odd.test\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431), (b"GET / HTTP/2.0\r\nHost: odd.test\r\n\r\n", 505),
    (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET  / HTTP/1.1\r\nHost: odd.test\r\n\r\n", 400), (b"GET / HTTP/1.1 \r\nHost: odd.test\r\n\r\n", 400),
    (b"G(T / HTTP/1.1\r\nHost: odd.test\r\n\r\n", 400), (b"GET /\x7f HTTP/1.1\r\nHost: odd.test\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: odd.test\r\n: x\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: odd.test\r\nX : x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: odd.test\r\nX: \0\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: odd.test\r\nX: a\rb\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: odd.test\n\n", 400), (b"GET / HTTP/1.1\r\nHost: odd.test\r\nX: a\r\n\tb\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: odd.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: odd.test\r\nContent-Length: 3, 4\r\n\r\nabcd", 400), (b"POST / HTTP/1.1\r\nHost: odd.test\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: odd.test\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n", 400),
    (b"PUT / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"PUT / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n", 400),
    (b"PUT / HTTP/1.1\r\nHost: odd.test\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400),
])
def test_malformed_requests(world, head, status):
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: odd.test\r\n\r\n"
    with Conn(world) as c:
        try:
            c.send(head + smuggled)
        except OSError:
            pass  # it answered before it had read all of that
        assert c.answer()[0] == status
    assert not [s for s in world.odd.seen if s[1] == "/smuggled"]


def test_absolute_form_names_the_host(world):
    with Conn(world) as c:
        assert c.send(b"GET http://odd.test/abs?x HTTP/1.1\r\nHost: nobody.test\r\n\r\n").answer()[0] == 200
    assert [fields["host"] for _, path, fields in world.odd.seen if path == "/abs?x"] == ["odd.test"]
    with Conn(world) as c:
        assert c.send(b"GET https://odd.test/ HTTP/1.1\r\nHost: odd.test\r\n\r\n").answer()[0] == 400


def test_many_clients_at_once(world):
    wrong = []

    def client(n):
        with Conn(world) as c:
            for i in range(20):
                body = b"%d-%d" % (n, i)
                if c.send(request(method="PUT", body=body)).answer()[2] != body:
                    wrong.append(body)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
