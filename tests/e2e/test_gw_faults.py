"""What networks, clients and servers do when they are slow, cut off, early, mute or too big. One gateway on a haproxy.cfg.

SAMPAN_FAULTS_LONG=1 adds what takes a minute: a server that vanishes under a tunnel, 10,000 idle connections.
"""
import concurrent.futures
import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request

import h2.config
import h2.connection
import h2.events
import pytest

from conftest import BINARY, IS_ROOT, PATIENCE, free_port, wait_until
from gw_wire import Client, read_head

LONG = os.environ.get("SAMPAN_FAULTS_LONG")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")
BIG = 64 << 20
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def sh(line, check=True):
    return subprocess.run(line, shell=True, check=check, capture_output=True, text=True).stdout


class Server:
    """Serves each connection by self.act(sock), in a thread."""

    def __init__(self, address="127.0.0.1", accepting=True, backlog=64):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((address, 0))
        self.sock.listen(backlog)
        self.address, self.port, self.act, self.open, self.ends = address, self.sock.getsockname()[1], answer, 0, 0
        if accepting:
            threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        self.open += 1
        self.peer = s
        with contextlib.suppress(OSError, ValueError), s:
            self.act(s)
        self.ends += 1

    @property
    def at(self):
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def answer(s):
    """One request, and no kept connection for the next test."""
    with s.makefile("rb") as f:
        if not (head := read_head(f)):
            return
        left = int(head[1].get("content-length", 0))
        while left and (data := f.read(min(left, 1 << 16))):
            left -= len(data)
        s.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Gateway:
    def __init__(self, directory, servers, more="", limit=None, connect="1s", response="4s", flags=()):
        self.http, self.tcp, self.log = free_port(), free_port(), directory / "log"
        lines = "".join(f"  server s{i} {s.at}\n" for i, s in enumerate(servers))
        cfg = directory / "haproxy.cfg"
        cfg.write_text(f"defaults\n  timeout connect {connect}\n  timeout client 20s\n  timeout server {response}\n  retries 2\n  option redispatch\n"
                       f"listen web\n  mode http\n  timeout tunnel 30s\n  bind 127.0.0.1:{self.http}\n{lines}"
                       f"listen tcp\n  mode tcp\n  bind 127.0.0.1:{self.tcp}\n  timeout server 60s\n  timeout client 60s\n{lines}{more}")
        limits = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))) if limit else None
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", cfg, "--loops", "2", "--grace", "1s", *flags], stderr=log, preexec_fn=limits)
        wait_until(lambda: "gateway is ready" in self.log.read_text() or self.process.poll() is not None, "the gateway")
        assert self.process.poll() is None, self.log.read_text()

    def memory(self):
        """Of its own, in MiB."""
        return sum(int(line.split()[1]) for line in open(f"/proc/{self.process.pid}/smaps_rollup") if line.startswith("Private")) / 1024

    def cpu(self):
        words = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def connect(self, port=None, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", port or self.http), timeout)

    def get(self, timeout=PATIENCE):
        """The status; 0 when the connection ended without one."""
        with self.connect(timeout=timeout) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return status(s)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()


def status(s):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := s.recv(65536):
            data += more
    return int(data.split()[1]) if data else 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server, and one gateway before it, for all who need no other."""
    s = Server()
    g = Gateway(tmp_path_factory.mktemp("shared"), [s])
    yield s, g
    g.stop()
    s.sock.close()


@pytest.fixture
def server(shared):
    shared[0].act = answer
    return shared[0]


@pytest.fixture
def gateway(shared, server):
    return shared[1]


def upload(method=b"POST", n=BIG, more=b""):
    return method + b" / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (n, more)


# --- slow and halved ---

def test_one_byte_at_a_time(gateway, server):
    def slow(s):
        with s.makefile("rb") as f:
            read_head(f)
        for b in OK:
            s.sendall(bytes([b]))
            time.sleep(0.02)
    server.act = slow
    with gateway.connect() as s:
        for b in b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            s.sendall(bytes([b]))
            time.sleep(0.02)
        assert status(s) == 200


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_tunnel_is_closed_one_way_at_a_time(gateway, server, first):
    """Who has said all may still be told a lot."""
    got = {}

    def talk(s, name):
        if name == first:
            s.sendall(b"begin")
            s.shutdown(socket.SHUT_WR)
            got[name] = read_all(s)
        else:
            got[name] = read_all(s)
            s.sendall(b"x" * 3_000_000)

    server.act = lambda s: talk(s, "server")
    with gateway.connect(gateway.tcp) as s:
        talk(s, "client")
    other = {"client": "server", "server": "client"}[first]
    wait_until(lambda: len(got) == 2, "both are done")
    assert got[other] == b"begin" and len(got[first]) == 3_000_000


def read_all(s):
    data = bytearray()
    while more := s.recv(1 << 16):
        data += more
    return bytes(data)


def test_a_client_that_half_closes_gets_its_answer(gateway, server):
    def late(s):
        with s.makefile("rb") as f:
            read_head(f)
            time.sleep(0.3)
            s.sendall(OK)
    server.act = late
    with gateway.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        assert status(s) == 200


def test_who_leaves_the_queue(tmp_path):
    """Whoever resets its connection or stream, or closes one of HTTP/2. A client that has only closed its half of a
    connection of HTTP/1.1 or TCP is answered: it may be all that it had to say."""
    gate, asked, port, tcp, metrics, log = threading.Event(), [], free_port(), free_port(), free_port(), tmp_path / "access.log"

    def held(s):
        with s.makefile("rb") as f:
            asked.append(read_head(f)[0][1])
            gate.wait(PATIENCE)
            s.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    s = Server()
    s.act = held
    more = "".join(f"listen q{p}\n  mode {mode}\n  timeout queue 60s\n  bind 127.0.0.1:{p}\n  server s {s.at} maxconn 1\n"
                   for p, mode in ((port, "http"), (tcp, "tcp")))
    g = Gateway(tmp_path, [s], more, response="60s", flags=["--metrics-port", str(metrics), "--access-log", str(log)])
    g.http = port
    queued = []

    def queue(client):
        queued.append(client)
        wait_until(lambda: f"sampan_gateway_queued_total {len(queued)}\n" in
                   urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics").read().decode(), f"{len(queued)} have come to wait")
        return client

    def http(path, more=""):
        c = g.connect()
        c.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n".encode())
        return c

    def through(path):
        c = g.connect(tcp)
        c.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        return c

    first, first_tcp = http("/first"), through("/first-tcp")
    wait_until(lambda: len(asked) == 2, "both places are taken")
    stay = [queue(http("/half")), queue(through("/half-tcp"))]
    go = [queue(http("/reset")), queue(http("/reset-body", "Content-Length: 10\r\n")), queue(through("/reset-tcp"))]
    two, three = Client(port), Client(port)
    stream = two.ask(path="/stream")
    queue(two)
    three.ask(path="/three")
    queue(three)
    for c in stay:
        c.shutdown(socket.SHUT_WR)
    for c in go:
        reset(c)
    two.h2.reset_stream(stream)
    two.flush()
    three.close()
    wait_until(lambda: log.read_text().count("\n") == 5, f"five have left: {log.read_text()}")
    assert len(asked) == 2
    gate.set()
    for c in (first, first_tcp, *stay):
        with c:
            assert status(c) == 200
    assert sorted(asked) == ["/first", "/first-tcp", "/half", "/half-tcp"]
    g.stop()


# --- cut at each moment ---

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_client_goes_at_each_moment(gateway, server, end):
    """Nothing of it stays, at the server neither."""
    before = server.open - server.ends
    for port in (gateway.http, gateway.tcp):
        for sent in (0, 1, 16, len(REQUEST) - 1000, len(REQUEST) - 500, len(REQUEST)):
            s = gateway.connect(port)
            s.sendall(REQUEST[:sent])
            time.sleep(0.03)
            s.close() if end == "fin" else reset(s)
    assert gateway.get() == 200
    wait_until(lambda: server.open - server.ends <= before + 4, "the server is left alone")  # kept ones may be


ENDS = [(b"", 502), (b"HT", 502), (b"HTTP/1.1 200 OK\r\nContent-Le", 502), (b"HTTP/1.1 100 Continue\r\n\r\n", 502), (b"nonsense\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", 200)]


@pytest.mark.parametrize("cut", ["fin", "reset"])
def test_a_server_goes_at_each_moment(gateway, server, cut):
    """Before its answer: 502. In the middle of it: it looks cut, and the client does not wait."""
    for after in (1, 40, 500, len(REQUEST)):
        for say, expected in ENDS:
            heard = threading.Event()  # a reset overtakes what was not read
            server.act = lambda s: go_after(s, after, say, cut, heard if expected == 200 else None)
            with gateway.connect() as s, s.makefile("rb") as f:
                s.sendall(REQUEST)
                (_, code, *_), _ = read_head(f)
                if code == "100":
                    (_, code, *_), _ = read_head(f)
                assert int(code) == expected, (after, say)
                if expected == 200:
                    assert f.read(5) == b"12345"
                    heard.set()
                    with contextlib.suppress(ConnectionResetError):
                        assert f.read(1) == b""


def go_after(s, after, say, cut, heard):
    n = 0
    while n < after and (data := s.recv(after - n)):
        n += len(data)
    s.sendall(say)
    if heard:
        heard.wait(PATIENCE)
    if cut == "reset":
        time.sleep(0.02)
        reset(s)


def test_a_server_that_never_answers(gateway, server):
    server.act = lambda s: s.recv(1000) and s.recv(1)
    begin = time.monotonic()
    assert gateway.get() == 504
    assert time.monotonic() - begin >= 3


def test_a_full_accept_queue(tmp_path):
    """The server's kernel takes no more connections: the next server is asked, and with none left it is said in time."""
    mute, good = Server(accepting=False, backlog=0), Server()
    stuff = []
    for _ in range(4):  # fill its queue
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex((mute.address, mute.port))
        stuff.append(c)
    for servers, expected in (([mute, good], {200}), ([mute], {503, 504})):
        g = Gateway(tmp_path, servers, connect="300ms")
        try:
            for _ in range(4):
                assert g.get() in expected
        finally:
            g.stop()
    for c in stuff:
        c.close()


# --- early answers ---

def test_an_early_refusal_reaches_a_client_that_uploads(gateway, server):
    def refuse(s):
        with s.makefile("rb") as f:
            read_head(f)
            s.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    server.act = refuse
    for _ in range(5):
        with gateway.connect() as s:
            s.sendall(upload())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(200):
                    if select.select([s], [], [], 0)[0]:
                        break
                    s.sendall(b"z" * 65536)
            assert status(s) == 413


def test_an_answer_before_the_request_is_complete(gateway, server):
    """Both go on: the client gets the answer at once, the server the rest."""
    got = []

    def act(s):
        with s.makefile("rb") as f:
            read_head(f)
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
            got.append(f.read(10))
            s.sendall(b"lf")
    server.act = act
    with gateway.connect() as s, s.makefile("rb") as f:
        s.sendall(upload(n=10) + b"01234")
        assert read_head(f)[0][1] == "200" and f.read(2) == b"ha"
        s.sendall(b"56789")
        assert f.read(2) == b"lf" and got == [b"0123456789"]


def test_expect_100_continue(gateway, server):
    def act(s):
        with s.makefile("rb") as f:
            assert read_head(f)[1]["expect"] == "100-continue"
            s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert f.read(3) == b"abc"
            s.sendall(OK)
    server.act = act
    with gateway.connect() as s, s.makefile("rb") as f:
        s.sendall(upload(b"PUT", 3, b"Expect: 100-continue\r\n"))
        assert read_head(f)[0][1] == "100"
        s.sendall(b"abc")
        assert read_head(f)[0][1] == "200"


# --- big ones ---

def held_back(gateway, send):
    """Sends until nothing moves for half a second; then the gateway must not have taken much."""
    before, sent = gateway.memory(), 0
    while sent < 4 * BIG:
        n = send()
        if not n:
            break
        sent += n
    assert sent < BIG, "nobody reads, and still it was all taken"
    grown = gateway.memory() - before
    assert grown < 6, f"{grown} MiB for one connection"
    return sent


def sender(s):
    piece = b"q" * 65536

    def send():
        return s.send(piece) if select.select([], [s], [], 0.5)[1] else 0
    return send


def test_a_giant_upload_waits_for_the_server(tmp_path, server):
    gateway = Gateway(tmp_path, [server], response="30s")
    go, got = threading.Event(), [0]

    def act(s):
        go.wait(PATIENCE)
        while n := len(s.recv(1 << 20)):
            got[0] += n
            if s.recv(4, socket.MSG_PEEK) == b"":
                break
    server.act = act
    with gateway.connect() as s:
        head = upload(n=BIG)
        s.sendall(head)
        sent = held_back(gateway, sender(s))
        go.set()
        s.sendall(b"q" * (BIG - sent))  # to the byte: the last one of before may have gone in part
        wait_until(lambda: got[0] >= BIG, "all of it arrives")
    gateway.stop()


@pytest.mark.parametrize("version", [1, 2])
def test_a_giant_download_waits_for_the_client(tmp_path, server, version):
    gateway = Gateway(tmp_path, [server], response="30s")
    sent = [0]

    def act(s):
        with s.makefile("rb") as f:
            read_head(f)
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        for _ in range(BIG // 65536):
            s.sendall(b"q" * 65536)
            sent[0] += 65536
    server.act = act

    def progress():
        before = sent[0]
        time.sleep(0.5)
        return sent[0] - before
    if version == 1:
        with gateway.connect() as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            wait_until(lambda: sent[0], "the beginning")
            held_back(gateway, progress)
            with s.makefile("rb") as f:
                read_head(f)
                n = 0
                while more := f.read(1 << 20):
                    n += len(more)
            assert n == BIG
    else:
        c = Client(gateway.http)
        stream = c.ask()
        wait_until(lambda: sent[0], "the beginning")
        held_back(gateway, progress)
        c.close()
    gateway.stop()


# --- too many ---

def test_no_descriptors_left(tmp_path, server):
    """It serves what it can, does not spin, and goes on when there is room again."""
    g = Gateway(tmp_path, [server], limit=200)
    try:
        held = [g.connect(g.tcp) for _ in range(300)]  # the kernel's queue takes what the gateway cannot
        time.sleep(0.5)
        before = g.cpu()
        time.sleep(1.5)
        assert g.cpu() - before < 0.7, "it spins"
        for s in held:
            s.close()
        wait_until(lambda: g.get() == 200, "room again")
        assert g.process.poll() is None
    finally:
        g.stop()


@pytest.mark.skipif(not LONG, reason="SAMPAN_FAULTS_LONG=1 runs it")
def test_ten_thousand_idle_connections(tmp_path, server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.act = lambda s: s.recv(1)
    g = Gateway(tmp_path, [server])
    try:
        for port, what in ((g.http, "HTTP"), (g.tcp, "TCP")):
            before, held = g.memory(), [g.connect(port) for _ in range(10000 if port == g.http else 4000)]
            time.sleep(3)
            print(f"\n{len(held)} idle {what} connections: {(g.memory() - before) * 1024 / len(held):.2f} KiB each")
            assert (g.memory() - before) * 1024 / len(held) < 8
            for s in held:
                s.close()
    finally:
        g.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_silent_http2_connection_is_left(tmp_path):
    """One request learns that nobody answers there any more; those that follow take another connection."""
    def once(sock):
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        seen = 0
        while data := sock.recv(65536):
            for e in conn.receive_data(data):
                if isinstance(e, h2.events.RequestReceived):
                    seen += 1
                    if seen == 1:
                        conn.send_headers(e.stream_id, [(":status", "200")], end_stream=True)
            if seen < 2:
                sock.sendall(conn.data_to_send())
    s, port = Server(), free_port()
    s.act = once
    g = Gateway(tmp_path, [s], f"listen two\n  mode http\n  bind 127.0.0.1:{port}\n  server s {s.at} proto h2\n", response="1500ms")
    g.http, seen = port, []
    while len(seen) < 8 and seen.count(200) < 3:  # without it: once for each of two loops
        seen.append(g.get())
    assert seen.count(200) == 3 and set(seen) == {200, 504}, seen
    g.stop()


# --- bad networks ---

@pytest.fixture
def far(tmp_path):
    """A server behind a pair of interfaces, in a namespace of its own; yields (gateway, namespace)."""
    name = f"fault{os.getpid()}"
    link, started = f"{name[:10]}a", []
    try:
        sh(f"ip netns add {name} && ip link add {link} type veth peer name eth0 netns {name} && ip addr add 10.79.0.1/24 dev {link} &&"
           f"ip link set {link} up && ip -n {name} addr add 10.79.0.2/24 dev eth0 && ip -n {name} link set eth0 up && ip -n {name} link set lo up")
        yield from there(tmp_path, name, link, started)
    finally:
        for p in started:
            p.kill()
            p.wait()
        sh(f"ip link del {link}; ip netns del {name}", check=False)


def there(tmp_path, name, link, started):
    code = ("import socket, threading\ns = socket.create_server(('10.79.0.2', 9000), backlog=256)\n"
            "def serve(c):\n  f = c.makefile('rb')\n  while line := f.readline():\n"
            "    if line == b'\\r\\n':\n      c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 200000\\r\\n\\r\\n' + b'k' * 200000)\n"
            "while True:\n  threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n")
    started.append(subprocess.Popen(["ip", "netns", "exec", name, "python3", "-c", code]))
    There = type("There", (), {"at": "10.79.0.2:9000", "link": link})
    g = Gateway(tmp_path, [There], response="3s")
    started.append(g.process)
    wait_until(lambda: g.get() == 200, "the server")
    yield g, name, There
    g.stop()


def five_large_answers_in_small_packets(g, name, there):
    sh(f"ip -n {name} link set eth0 mtu 600; ip link set {there.link} mtu 600")
    for _ in range(5):
        with g.connect() as s, s.makefile("rb") as f:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_head(f)[0][1] == "200" and f.read(200000) == b"k" * 200000


@needs_root
def test_delay_loss_and_small_packets(far):
    g, name, there = far
    if "netem" not in sh(f"tc qdisc add dev {there.link} root netem delay 15ms 5ms loss 3% reorder 10% && tc qdisc show dev {there.link}", check=False):
        pytest.skip("this kernel has no netem")
    five_large_answers_in_small_packets(g, name, there)


@needs_root
def test_small_packets(far):
    g, name, there = far
    five_large_answers_in_small_packets(g, name, there)


@needs_root
def test_the_way_to_the_server_is_cut(far):
    """No FIN, no reset: a kept connection leads nowhere. Told within the time of an answer, and it is well when the way is."""
    g, name, there = far
    assert g.get() == 200
    sh(f"ip -n {name} link set eth0 down")
    begin = time.monotonic()
    assert g.get() in (503, 504)
    assert time.monotonic() - begin < 3 * 4 + 28  # attempts, and a slow machine
    sh(f"ip -n {name} link set eth0 up")
    wait_until(lambda: g.get() == 200, "it is well again")


def within(name, make):
    """What make() returns, with its sockets in that namespace."""
    def there():
        with open(f"/run/netns/{name}") as f:
            assert ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0) == 0
        return make()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(there).result()


def websocket(s):
    """Switches and gives back what it hears."""
    with s.makefile("rb") as f:
        if read_head(f)[1].get("upgrade"):
            s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while data := s.recv(1000):
                s.sendall(data)


@needs_root
def test_a_websocket_stream_over_a_cut_way_ends(tmp_path):
    """Over HTTP/2, whichever side has vanished: no FIN, no reset."""
    name = f"ws{os.getpid()}"
    link, port = f"{name[:10]}a", free_port()
    local, g = Server(), None
    try:
        sh(f"ip netns add {name} && ip link add {link} type veth peer name eth0 netns {name} && ip addr add 10.79.1.1/24 dev {link} &&"
           f"ip link set {link} up && ip -n {name} addr add 10.79.1.2/24 dev eth0 && ip -n {name} link set eth0 up &&"
           f"ip route change 10.79.1.0/24 dev {link} src 10.79.1.1 rto_min 5ms")
        far = within(name, lambda: Server("10.79.1.2"))
        local.act = far.act = websocket
        g = Gateway(tmp_path, [far], f"listen near\n  mode http\n  bind 10.79.1.1:{port}\n  server s {local.at}\n")
        mine, theirs = Client(g.http), within(name, lambda: Client(port, address="10.79.1.1"))
        streams = {}
        for c in (mine, theirs):
            streams[c] = c.ask("CONNECT", "/ws", pseudo=[(":protocol", "websocket")], headers=[("sec-websocket-version", "13")], end=False)
            c.h2.send_data(streams[c], b"hello")
            c.flush()
            while c.answers[streams[c]]["body"] != b"hello":
                assert c.read()
        assert local.open == far.open == 1
        sh(f"ip -n {name} addr flush dev eth0")
        mine.h2.send_data(streams[mine], b"anybody?")
        mine.flush()
        local.peer.sendall(b"anybody?")
        assert mine.answer(streams[mine])["reset"] is not None
        wait_until(lambda: local.ends == 1, "the server is told, too")
    finally:
        if g:
            g.stop()
        sh(f"ip link del {link}; ip netns del {name}", check=False)


@needs_root
@pytest.mark.skipif(not LONG, reason="SAMPAN_FAULTS_LONG=1 runs it")
def test_a_tunnel_over_a_cut_way_ends(far):
    g, name, there = far
    with g.connect(g.tcp) as s:
        s.sendall(b"\r\n")
        assert s.recv(10)
        sh(f"ip -n {name} link set eth0 down")
        begin = time.monotonic()
        s.settimeout(150)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while s.recv(65536):
                pass
        print(f"\nended after {time.monotonic() - begin:.1f} s")
        assert time.monotonic() - begin < 140


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6") or not open("/proc/net/if_inet6").read(), reason="no IPv6 here")
def test_ipv6_on_both_sides(tmp_path):
    server = Server("::1")
    port = free_port()
    g = Gateway(tmp_path, [server], more=f"listen six\n  mode http\n  bind [::1]:{port}\n  server s {server.at}\n")
    try:
        assert g.get() == 200
        with socket.create_connection(("::1", port), PATIENCE) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert status(s) == 200
    finally:
        g.stop()
