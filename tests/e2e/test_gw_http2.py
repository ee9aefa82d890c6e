"""HTTP/2 through the gateway: clients, endpoints, gRPC, WebSocket, GOAWAY, floods."""
import json
import shutil
import socket
import struct
import subprocess

import pytest

from conftest import wait_until
from gw_wire import (ACK, CALM, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, PROTOCOL, RST,
                     SETTINGS, STREAM_CLOSED, WINDOW, Client, Raw, World, block, frame, h2_server, read_body, read_head)

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/echo"), (":authority", "one.test")]


def one(server, sock):
    """HTTP/1.1: tells what it got; some paths do odd things."""
    f = sock.makefile("rb")
    while head := read_head(f):
        (method, path, _), fields = head
        if path == "/ws":
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                         b"Sec-WebSocket-Accept: x\r\n\r\nhello ")
            server.note(fields)
            while data := sock.recv(4096):
                sock.sendall(data.upper())
            sock.sendall(b"BYE")
            return
        if path.startswith("/mistake"):
            server.note(path)
        body = read_body(f, fields)
        if path == "/cut":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            return
        if path == "/trailers":
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                         b"X-Sum: 42\r\nContent-Length: 7\r\nHost: evil\r\n\r\n")
            continue
        if path.startswith("/big"):
            body = b"0123456789abcdef" * (int(path[4:]) // 16)
        else:
            body = json.dumps({"method": method, "path": path, "fields": fields, "body": body.decode("latin-1")}).encode()
        extra = b"Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        sock.sendall(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (extra, len(body), b"" if method == "HEAD" else body))


def two(server, conn, stream, headers, body, trailers):
    """HTTP/2: a little of gRPC; some paths do odd things."""
    path = headers[":path"]
    first = path not in [s[":path"] for s in server.seen if isinstance(s, dict)]
    server.note(headers)
    if path.startswith("/refuse") and first:
        conn.reset_stream(stream, 7)
    elif path.startswith("/goaway") and first:
        conn.close_connection(last_stream_id=max(stream - 2, 0))
        conn.hang_up = True
    elif path == "/fails":
        conn.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")], end_stream=True)
    else:
        conn.send_headers(stream, [(":status", "200"), ("content-type", headers.get("content-type", "text/plain"))])
        conn.send_data(stream, json.dumps({"headers": headers, "body": body.decode("latin-1"), "trailers": trailers}).encode())
        conn.send_headers(stream, [("grpc-status", "0"), ("grpc-message", "fine")], end_stream=True)


@pytest.fixture(scope="module")
def world(workdir):
    w = World(workdir / "http2")
    w.one = w.serve("one", one)
    w.two = w.serve("two", h2_server(two), protocol="kubernetes.io/h2c")
    yield w
    w.close()


@pytest.fixture
def client(world):
    c = Client(world.port)
    yield c
    c.close()


# --- requests and answers ---

def test_a_request_as_the_endpoint_sees_it(world, client):
    a = client.get(headers=[("cookie", "a=1"), ("x-forwarded-for", "9.9.9.9"), ("forwarded", "for=9.9.9.9"), ("cookie", "b=2"), ("x-a", "1")])
    assert a["status"] == 200 and "x-hop" not in a["heads"][0] and "connection" not in a["heads"][0] and "keep-alive" not in a["heads"][0]
    got = json.loads(a["body"])
    fields = got["fields"]
    assert fields["host"] == "one.test" and fields["cookie"] == "a=1; b=2" and fields["x-a"] == "1"
    assert fields["x-forwarded-for"] == "127.0.0.1" and fields["x-forwarded-proto"] == "http" and "forwarded" not in fields
    assert len(fields["x-request-id"]) == 32 and fields["traceparent"].split("-")[1] == fields["x-request-id"]


def test_many_streams_at_once(world, client):
    streams = [client.ask("POST", f"/s{i}", body=b"b%d" % i) for i in range(60)]
    for i, s in enumerate(streams):
        got = json.loads(client.answer(s)["body"])
        assert (got["path"], got["body"]) == (f"/s{i}", f"b{i}")


def test_bodies_larger_than_the_windows(world, client):
    assert client.get(path="/big4194304")["body"] == b"0123456789abcdef" * 262144
    stream = client.ask("POST", "/up", end=False)
    left = payload = bytes(range(256)) * 4096
    while left:
        room = min(client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size, len(left))
        if room:
            client.h2.send_data(stream, left[:room])
            left = left[room:]
            client.flush()
        else:
            client.read()
    client.h2.end_stream(stream)
    client.flush()
    assert json.loads(client.answer(stream)["body"])["body"] == payload.decode("latin-1")


def test_head_and_own_answers(world, client):
    a = client.get("HEAD", "/echo")
    assert a["status"] == 200 and a["body"] == b"" and int(a["heads"][0]["content-length"]) > 0
    a = client.get(host="nobody.test")
    assert a["status"] == 404 and b"nobody.test" in a["body"]


def test_a_cut_answer_looks_cut(world, client):
    a = client.get(path="/cut")
    assert a["body"] == b"half" and a["reset"] is not None
    assert client.get()["status"] == 200  # the connection lives


def test_trailers_cross_the_versions(world, client):
    a = client.get(path="/trailers", headers=[("te", "trailers")])
    assert a["body"] == b"ok" and a["trailers"] == {"x-sum": "42"}
    with socket.create_connection(("127.0.0.1", world.port)) as s:  # HTTP/1.1 → HTTP/2
        s.sendall(b"POST /x HTTP/1.1\r\nHost: two.test\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")
        got = b""
        while not got.endswith(b"\r\n\r\n") or b"0\r\n" not in got:
            more = s.recv(4096)
            assert more, got
            got += more
    assert b"transfer-encoding: chunked" in got and got.endswith(b"0\r\ngrpc-status: 0\r\ngrpc-message: fine\r\n\r\n")
    assert b'"body": "hi"' in got and b'"x-t": "1"' in got and b'"te": "trailers"' in got


def test_trailers_of_http1_requests_are_cleaned_for_http2(world):
    """Without a space behind the colon, without a value, and some that have no business behind a body."""
    with socket.create_connection(("127.0.0.1", world.port), 20) as c:
        c.sendall(b"POST /t HTTP/1.1\r\nHost: two.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n"
                  b"X-Sum:42\r\nX-Empty:\r\nX-Last:  7 \r\nX-Forwarded-For: 6.6.6.6\r\nHost: evil\r\nConnection: x\r\nAuthorization: no\r\n\r\n")
        f = c.makefile("rb")
        _, fields = read_head(f)
        seen = json.loads(read_body(f, fields))
    assert seen["body"] == "ok" and seen["trailers"] == {"x-sum": "42", "x-empty": "", "x-last": "7"}


def test_grpc_end_to_end(world, client):
    message = b"\0\0\0\0\5hello"
    a = client.get("POST", "/pkg.Service/Call", host="two.test", body=message, trailers=[("x-checksum", "7")],
                   headers=[("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")])
    got = json.loads(a["body"])
    assert a["trailers"] == {"grpc-status": "0", "grpc-message": "fine"}
    assert got["body"].encode("latin-1") == message and got["headers"]["te"] == "trailers" and got["trailers"] == {"x-checksum": "7"}
    assert got["headers"][":authority"] == "two.test" and "host" not in got["headers"]
    a = client.get("POST", "/fails", host="two.test", body=message, headers=[("content-type", "application/grpc"), ("te", "trailers")])
    assert a["heads"][0]["grpc-status"] == "5" and a["status"] == 200


def test_streams_share_few_connections(world, client):
    before = world.two.connections
    for s in [client.ask(path=f"/n{i}", host="two.test") for i in range(40)]:
        assert client.answer(s)["status"] == 200
    assert world.two.connections - before <= 4


def test_refused_streams_go_elsewhere(world, client):
    for path in ("/refuse1", "/goaway1"):  # not idempotent, and yet safe: the endpoint said it did nothing
        a = client.get("POST", path, host="two.test", body=b"once")
        assert a["status"] == 200 and json.loads(a["body"])["body"] == "once"
        assert len([s for s in world.two.seen if s[":path"] == path]) == 2
    a = client.get("POST", "/refuse2", host="two.test", body=b"", trailers=[("x-sum", "0")])  # a body that is nothing but its end
    got = json.loads(a["body"])
    assert a["status"] == 200 and got["body"] == "" and got["trailers"] == {"x-sum": "0"}


def busy(server, conn, stream, headers, body, trailers):
    """Refuses /busy six at a time, twice; the next one waits for /go."""
    def fine(stream):
        conn.send_headers(stream, [(":status", "200")], end_stream=True)
    if headers[":path"] != "/busy":
        if headers[":path"] == "/go":
            fine(server.last)
        return fine(stream)
    server.note(stream)
    server.last = stream
    if len(server.seen) in (6, 12):
        for s in server.seen[-6:]:
            conn.reset_stream(s, 7)


def test_streams_refused_again_need_a_place(world, client):
    world.sampan.apply({"apiVersion": "sampan.dev/v1alpha1", "kind": "BackendPolicy", "metadata": {"name": "three"}, "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "three"}], "limits": {"maxRetries": 1}}})
    server = world.serve("three", h2_server(busy), protocol="kubernetes.io/h2c")
    wait_until(lambda: world.sampan.get("backendpolicies", "three").get("status"), "the policy is carried out")
    assert client.get(path="/", host="three.test")["status"] == 200  # a connection for all
    streams = [client.ask(path="/busy", host="three.test") for _ in range(6)]
    while len(client.over.intersection(streams)) < 5:
        assert client.read()
    assert sorted(client.answer(s)["status"] for s in client.over.intersection(streams)) == [503] * 5
    wait_until(lambda: len(server.seen) >= 13, "the one with a place")
    assert client.get(path="/go", host="three.test")["status"] == 200
    assert sorted(client.answer(s)["status"] for s in streams) == [200] + [503] * 5 and len(server.seen) == 13


def test_websocket_over_a_stream(world, client):
    stream = client.ask("CONNECT", "/ws", pseudo=[(":protocol", "websocket")], headers=[("sec-websocket-version", "13")], end=False)
    while client.answers[stream]["body"] != b"hello ":
        client.read()
    assert client.answers[stream]["heads"][0][":status"] == "200"
    client.h2.send_data(stream, b"ping")
    client.flush()
    while client.answers[stream]["body"] != b"hello PING":
        client.read()
    client.h2.end_stream(stream)
    client.flush()
    assert client.answer(stream)["body"] == b"hello PINGBYE"
    fields = world.one.seen[-1]
    assert fields["upgrade"] == "websocket" and fields["connection"] == "upgrade" and len(fields["sec-websocket-key"]) == 24


@pytest.mark.skipif(not shutil.which("h2load"), reason="needs h2load")
def test_other_clients(world, tmp_path):
    done = subprocess.run(["h2load", "-n", "600", "-c", "4", "-m", "20", f"--connect-to=127.0.0.1:{world.port}", "http://one.test/echo"],
                          capture_output=True, text=True, timeout=60)
    assert "600 succeeded, 0 failed" in done.stdout, done.stdout + done.stderr
    done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-H", "Host: one.test", "-w", " %{http_version} %{http_code}", "-d", "x=1",
                           f"http://127.0.0.1:{world.port}/c"], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith(" 2 200"), done


# --- what could be read in two ways ---

@pytest.mark.parametrize("fields, expected", [
    ([*GET, ("connection", "close")], "reset"), ([*GET, ("transfer-encoding", "chunked")], "reset"),
    ([*GET, ("te", "gzip")], "reset"), ([*GET, ("upgrade", "h2c")], "reset"), ([*GET, ("proxy-connection", "x")], "reset"),
    ([*GET, ("X-Upper", "1")], "reset"), ([*GET, ("x-a", "1\r\nx-b: 2")], "reset"), ([*GET, ("x-a", "\0")], "reset"),
    ([*GET, ("x a", "1")], "reset"), ([*GET, ("x:a", "1")], "reset"), ([*GET, ("", "1")], "reset"),
    ([*GET, ("content-length", "5")], "reset"), ([*GET, ("content-length", "0"), ("content-length", "1")], "reset"),
    ([*GET, ("content-length", "-1")], "reset"), ([("x-a", "1"), *GET], "reset"), ([*GET, (":path", "/b")], "reset"),
    ([*GET, (":status", "200")], "reset"), ([*GET, (":odd", "1")], "reset"), (GET[:2] + GET[3:], "reset"), (GET[1:], "reset"),
    ([GET[0], GET[1], (":path", ""), GET[3]], "reset"), ([GET[0], GET[1], (":path", "echo"), GET[3]], "reset"),
    ([GET[0], GET[1], (":path", "/a b"), GET[3]], "reset"), ([(":method", "GET /x HTTP/1.1"), *GET[1:]], "reset"),
    ([*GET, ("host", "two.test")], 400), ([*GET[:3], (":authority", "one.test/x")], "refused"), ([*GET[:3], (":authority", "a@one.test")], "refused"),
    ([*GET, ("host", "one.test")], 200), ([*GET[:3], ("host", "one.test")], 200),
])
def test_malformed_requests_never_arrive(world, fields, expected):
    seen = len(world.one.seen)
    c = Raw(world.port)
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(*fields)))
    c.until(lambda: 1 in c.resets or 1 in c.ended or c.goaway)
    if expected == "reset":
        assert c.resets.get(1) == PROTOCOL or c.goaway, c.heads
    elif expected == "refused":
        assert c.resets.get(1) == PROTOCOL or c.heads[1][0][":status"] == "400"
    else:
        assert c.heads[1][0][":status"] == str(expected)
    c.close()
    assert len(world.one.seen) == seen


# --- floods ---

def flood(world, pieces, settings=b""):
    c = Raw(world.port, settings)
    for piece in pieces:
        c.send(piece)
        if c.goaway or c.closed:
            break
        while c.pump(0):
            pass
    code = c.ends()
    c.close()
    return code


def test_floods_end_the_connection(world):
    ids = iter(range(1, 1 << 20, 2))
    request = block(*GET)
    rapid = (frame(HEADERS, END_HEADERS | END_STREAM, i, request) + frame(RST, 0, i, struct.pack(">I", CANCEL)) for i in ids)
    assert flood(world, (b"".join(next(rapid) for _ in range(50)) for _ in range(2000))) == CALM
    assert flood(world, (frame(PING, payload=b"12345678") * 200 for _ in range(1000))) == CALM
    assert flood(world, (frame(SETTINGS) * 200 for _ in range(1000))) == CALM
    assert flood(world, (frame(PRIORITY, 0, 1, b"\0\0\0\0\1") * 200 for _ in range(1000))) == CALM
    post = frame(HEADERS, END_HEADERS, 1, block((":method", "POST"), *GET[1:]))
    assert flood(world, [post] + [frame(DATA, 0, 1) * 100] * 1000) == CALM
    assert flood(world, [post] + [frame(WINDOW, 0, 1, b"\0\0\0\1") * 100] * 1000) == CALM
    many = [frame(HEADERS, END_STREAM, 1, request)] + [frame(CONTINUATION, 0, 1)] * 100
    assert flood(world, many) in (CALM, PROTOCOL)
    grow = frame(HEADERS, END_STREAM, 1, request) + frame(CONTINUATION, 0, 1, block(("x", "y" * 15000))) * 12
    assert flood(world, [grow] + [frame(CONTINUATION, 0, 1, block(("x", "y" * 15000)))] * 40) in (CALM, PROTOCOL)
    assert Client(world.port).get()["status"] == 200


@pytest.mark.parametrize("mistake", ["window", "data", "headers", "priority"])
def test_nobody_makes_the_gateway_reset_streams_again_and_again(world, mistake):
    """CVE-2025-8671: a client whose frames are wrong leaves work behind at the backend that no limit of resets counts. Here the first
    mistake ends the connection."""
    path = f"/mistake/{mistake}"
    fields = [(":scheme", "http"), (":path", path), (":authority", "one.test")]
    get, post = block((":method", "GET"), *fields), block((":method", "POST"), *fields)
    make = {"window": lambda i: frame(HEADERS, END_HEADERS, i, post) + frame(WINDOW, 0, i, b"\x7f\xff\xff\xff") * 2,
            "data": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, i, get) + frame(DATA, END_STREAM, i, b"x"),
            "headers": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, i, get) * 2,
            "priority": lambda i: frame(HEADERS, END_HEADERS, i, post) + frame(PRIORITY, 0, i, b"\0\0\0\0")}[mistake]
    flood(world, (b"".join(make(i) for i in range(n, n + 100, 2)) for n in range(1, 100000, 100)))
    assert Client(world.port).get(path=path)["status"] == 200
    assert 1 <= world.one.seen.count(path) <= 2


def test_headers_too_large_are_answered(world, client):
    a = client.get(headers=[(f"x-{i}", "y" * 7000) for i in range(11)])
    assert a["status"] == 431
    assert client.get()["status"] == 200


def test_a_client_without_window_costs_one_buffer(world):
    c = Raw(world.port, settings=struct.pack(">HI", 4, 0))
    for i in range(1, 41, 2):
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, i, block((":method", "GET"), (":scheme", "http"), (":path", "/big8388608"),
                                                                    (":authority", "one.test"))))
    c.until(lambda: len(c.heads) == 20)
    c.ping()
    assert not any(c.data.values())
    c.send(frame(WINDOW, 0, 1, struct.pack(">I", 100)))
    c.until(lambda: len(c.data.get(1, b"")) == 100)
    c.close()


def test_too_many_streams_are_refused(world):
    c = Raw(world.port)
    post = block((":method", "POST"), *GET[1:])
    for i in range(1, 2 * 140, 2):
        c.send(frame(HEADERS, END_HEADERS, i, post))
    c.until(lambda: c.goaway or c.resets)
    assert c.goaway or 7 in c.resets.values()
    c.close()
