"""A gateway is replaced by a new process while clients are busy: nobody notices.

Every connection and every request counts: one refused, reset or unanswered is a failure.
"""
import json
import os
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import BINARY, PATIENCE, Sampan, free_port, own_address, wait_until
from gw_wire import END_HEADERS, END_STREAM, HEADERS, Raw, block, frame

RELOADS = 6


class Backend:
    """Answers every line with the same line, and every request head with its own short answer."""

    def __init__(self):
        self.address = own_address()
        self.listener = socket.create_server((self.address, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        with connection:
            try:
                while piece := connection.recv(65536):
                    data += piece
                    if data.startswith(b"GET ") or b"\r\n\r\n" in data:
                        while b"\r\n\r\n" in data:
                            _, data = data.split(b"\r\n\r\n", 1)
                            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    elif data.endswith(b"\n"):
                        connection.sendall(data)
                        data = b""
            except OSError:
                pass


class World:
    """An API server with one TCP and one HTTP way to the backend, and gateways started by hand."""

    def __init__(self, directory):
        self.dir = directory
        self.backend = Backend()
        self.tcp_port, self.http_port, self.tls_port = free_port(), free_port(), free_port()
        self.socket = str(directory / "gw.sock")
        self.log = directory / "gateway.log"
        self.platform = Sampan(directory / "platform", roles="apiserver").start()
        self.first = None
        # A file of our own, so that a test can put another one in its place.
        self.binary = directory / "sampan"
        os.link(BINARY, self.binary) if os.stat(BINARY).st_dev == os.stat(directory).st_dev else self.binary.symlink_to(BINARY)

    def objects(self):
        reference = {"service": {"name": "echo", "port": {"number": self.tcp_port}}}
        return [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"},
             "spec": {"type": "LoadBalancer", "ports": [{"port": self.tcp_port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": "echo", "labels": {"kubernetes.io/service-name": "echo"}},
             "ports": [{"port": self.backend.port}],
             "endpoints": [{"addresses": [self.backend.address], "conditions": {"ready": True}}]},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "echo"}, "spec": {"rules": [
                {"host": "echo.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": reference}]}}]}},
            {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "echo"}, "stringData": self.certificate()},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "echo"}, "spec": {
                "gatewayClassName": "sampan", "listeners": [{"name": "tls", "protocol": "HTTPS", "port": self.tls_port,
                                                             "tls": {"certificateRefs": [{"name": "echo"}]}}]}},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "echo"}, "spec": {
                "parentRefs": [{"name": "echo"}], "rules": [{"backendRefs": [{"name": "echo", "port": self.tcp_port}]}]}}]

    def certificate(self):
        key, crt = self.dir / "echo.key", self.dir / "echo.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=echo.test", "-keyout", key, "-out", crt], check=True, capture_output=True)
        return {"tls.key": key.read_text(), "tls.crt": crt.read_text()}

    def start(self, *more):
        self.platform.apply(*self.objects())
        kubeconfig = self.platform.dir / "conf" / "gateway.kubeconfig"
        self.first = subprocess.Popen(
            [str(self.binary), "gateway", "--kubeconfig", str(kubeconfig), "--http-port", str(self.http_port),
             "--cluster-ips", "off", "--control-socket", self.socket, "--loops", "2", *more],
            stderr=open(self.log, "a"), env={**os.environ, "SAMPAN_LOG": "json"})
        wait_until(lambda: self.ready_pids() or self.first.poll() is not None, "the gateway")
        assert self.first.poll() is None, self.log.read_text()
        wait_until(lambda: self.platform.http(port=self.tcp_port)[0] == 200, "an answer")

    def lines(self, message):
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                document = json.loads(line)
                if document["msg"] == message:
                    found.append(document)
        return found

    def ready_pids(self):
        return len(self.lines("gateway is ready"))

    def ask(self, **request):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(self.socket)
            s.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(s.makefile().readline())

    def pids(self):
        """Gateways of this test that run."""
        found = []
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    words = open(f"/proc/{p}/cmdline", "rb").read().split(b"\0")
                    if self.socket.encode() in words and open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                        found.append(int(p))
                except OSError:
                    pass
        return sorted(found)

    def current(self):
        """The one that took over last."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")

    def reload(self):
        before = self.ready_pids()
        os.kill(self.current(), signal.SIGUSR2)
        wait_until(lambda: self.ready_pids() > before, "the successor")

    def stop(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.pids(), "the gateways' end")
        if self.first:
            self.first.wait(PATIENCE)
        self.platform.stop()


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.stop()
    text = w.log.read_text(errors="replace")
    assert "Sanitizer" not in text and "assert" not in text, text[-4000:]


class Load:
    """Threads that repeat something until they are told to stop; every exception is a failure."""

    def __init__(self, *jobs):
        self.stopping, self.failures, self.count = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.repeat, args=(job,)) for job in jobs]

    def repeat(self, job):
        try:
            for _ in job():
                self.count += 1
                if self.stopping.is_set():
                    return
        except Exception as e:
            self.failures.append(f"{job.__name__}: {type(e).__name__} {e}")

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for t in self.threads:
            t.join(PATIENCE)


def read_answer(reader):
    """(status line, whether the connection goes on)."""
    status = reader.readline()
    if not status:
        raise EOFError("the connection ended where an answer was due")
    length, keep = 0, True
    while (line := reader.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        if line == b"connection: close":
            keep = False
    body = reader.read(length)
    assert status.startswith(b"HTTP/1.1 200") and body == b"ok", (status, body)
    return keep


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def can_shake_hands(open_one):
    try:
        open_one().close()
        return True
    except OSError:
        return False


def test_six_reloads_under_load_lose_nothing(world):
    world.start("--grace", "120s")  # of the oldest one, until the last has come: on a busy machine, too

    def tcp_short():
        while True:
            with connect(world.tcp_port) as s:
                s.sendall(b"hello\n")
                assert s.recv(100) == b"hello\n"
            yield

    def http_short():
        while True:
            with connect(world.http_port) as s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: echo.test\r\nConnection: close\r\n\r\n")
                read_answer(s.makefile("rb"))
            yield

    def http_kept(open_one=lambda: connect(world.http_port)):
        while True:
            with open_one() as s, s.makefile("rb") as reader:
                keep = True
                while keep:
                    s.sendall(b"GET / HTTP/1.1\r\nHost: echo.test\r\n\r\n")
                    keep = read_answer(reader)
                    yield

    def tls():
        return context.wrap_socket(connect(world.tls_port), server_hostname="echo.test")

    def tls_kept():
        yield from http_kept(tls)

    def tls_short():
        while True:
            with tls() as s, s.makefile("rb") as reader:
                s.sendall(b"GET / HTTP/1.1\r\nHost: echo.test\r\nConnection: close\r\n\r\n")
                read_answer(reader)
            yield

    def http2():
        while True:
            client, stream = Raw(world.http_port), 1
            while not client.goaway:  # no new request after it
                client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, request))
                client.until(lambda: stream in client.ended or stream in client.resets or refused(client, stream))
                if not refused(client, stream):  # else it was never looked at, and goes on the next connection
                    assert client.heads[stream][-1][":status"] == "200" and client.data[stream] == b"ok", client.frames[-3:]
                stream += 2
                yield
            client.close()

    def refused(client, stream):
        return client.goaway and client.goaway[0] < stream

    request = block((":method", "GET"), (":scheme", "http"), (":authority", "echo.test"), (":path", "/"))
    context = ssl._create_unverified_context()
    wait_until(lambda: can_shake_hands(tls), "TLS")

    with connect(world.tcp_port) as long, long.makefile("rb") as reader, \
            Load(tcp_short, http_short, http_kept, tls_kept, tls_short, http2) as load:
        for i in range(RELOADS):
            count = load.count
            world.reload()
            wait_until(lambda: load.count > count + 20 or load.failures, "traffic goes on")
            long.sendall(b"%d\n" % i)  # the oldest process still carries it
            assert reader.readline() == b"%d\n" % i
    assert not load.failures, load.failures
    assert load.count > 20 * RELOADS
    wait_until(lambda: len(world.pids()) == 1, "the old ones end when their last connection does")
    assert len({line["new_pid"] for line in world.lines("a new gateway takes the sockets over")}) == RELOADS


def test_a_long_connection_ends_at_the_deadline_and_not_before(world):
    world.start("--grace", "5s")
    old = world.current()
    with connect(world.tcp_port) as long, connect(world.http_port) as idle:
        reader = long.makefile("rb")
        long.sendall(b"before\n")
        assert reader.readline() == b"before\n"
        world.reload()
        assert old in world.pids() and world.current() != old
        long.sendall(b"after\n")
        assert reader.readline() == b"after\n"
        idle.settimeout(PATIENCE)
        assert idle.recv(1) == b""  # politely: an end, not a reset
        try:
            assert long.recv(1) == b""
        except ConnectionResetError:
            pass  # the deadline cuts it
        wait_until(lambda: old not in world.pids(), "the old one's end")


def test_a_new_one_that_cannot_start_harms_nothing(world):
    world.start()
    old = world.current()
    with connect(world.tcp_port) as long:
        world.binary.unlink()
        world.binary.write_text("#!/bin/sh\necho no such luck >&2\nexit 7\n")
        world.binary.chmod(0o755)
        assert world.ask(do="reload") == {"ok": True}
        wait_until(lambda: world.lines("the new gateway did not start; this one goes on"), "the reason")
        assert world.lines("the new gateway did not start; this one goes on")[0]["exit_code"] == 7
        world.binary.unlink()
        assert world.ask(do="reload") == {"ok": True}
        wait_until(lambda: world.lines("the new gateway does not start; this one goes on"), "the reason")
        assert world.current() == old
        long.sendall(b"still\n")
        assert long.recv(100) == b"still\n"
        # One that took the sockets and died before it was ready.
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(world.socket)
            s.sendall(b'{"do":"take-over","pid":4711}\n')
            data, fds, _, _ = socket.recv_fds(s, 65536, 64)
            assert json.loads(data)["ok"] and len(fds) == json.loads(data)["sockets"] >= 4
            for fd in fds:
                os.close(fd)
        wait_until(lambda: world.lines("the new gateway did not become ready; this one goes on"), "the reason")
        assert world.platform.http(port=world.tcp_port)[0] == 200
    os.link(BINARY, world.binary) if os.stat(BINARY).st_dev == os.stat(world.dir).st_dev else world.binary.symlink_to(BINARY)
    world.reload()  # and all of it can still be replaced
    assert world.current() != old
    assert world.platform.http(port=world.tcp_port)[0] == 200


def test_take_over_by_hand_with_other_flags(world):
    world.start()
    old = world.current()
    assert world.ask(do="nonsense")["ok"] is False
    assert os.stat(world.socket).st_mode & 0o777 == 0o600
    more = [word.decode() for word in open(f"/proc/{old}/cmdline", "rb").read().split(b"\0")[2:-1]]
    second = subprocess.run([BINARY, "gateway", *more], capture_output=True, text=True, timeout=PATIENCE)
    assert second.returncode == 1 and "--take-over" in second.stderr
    with open(world.log, "a") as log:
        new = subprocess.Popen([BINARY, "gateway", *more, "--loops", "1", "--take-over"], stderr=log,
                               env={**os.environ, "SAMPAN_LOG": "json"})
    wait_until(lambda: old not in world.pids(), "the old one's end")
    assert world.current() == new.pid
    assert world.platform.http(port=world.tcp_port)[0] == 200
    new.terminate()
    assert new.wait(PATIENCE) == 0


def test_up_replaces_its_gateway_and_watches_over_the_new_one(fresh):
    fresh.roles = "apiserver,gateway"
    fresh.start()
    old = fresh.role_pids()["gateway"]
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: fresh.role_pids().get("gateway") not in (old, None) and not os.path.exists(f"/proc/{old}"), "another gateway")
    assert "ended" not in fresh.output.read_text()
    new = fresh.role_pids()["gateway"]
    assert fresh.http()[0] == 404
    os.kill(new, signal.SIGKILL)
    wait_until(lambda: fresh.role_pids().get("gateway") not in (new, None), "started again")
    wait_until(lambda: fresh.http()[0] == 404, "an answer")
