"""What may happen in the middle of a hand-over: either side killed, two at once, a lost control socket, a drain.

The gateway serves a haproxy.cfg; a client opens a new connection every few milliseconds the whole time, and not one
may fail: whoever dies, the other holds the listening sockets.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import BINARY, PATIENCE, free_port, wait_until
from gw_wire import read_head

SERVER = """
import socket, threading
s = socket.create_server(("127.0.0.1", 0), backlog=256)
print(s.getsockname()[1], flush=True)
def serve(c):
    while line := c.recv(100):
        c.sendall(line)
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


class Gateway:
    def __init__(self, directory):
        self.dir, self.socket, self.log, self.port = directory, str(directory / "gw.sock"), directory / "log", free_port()
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        self.cfg = directory / "haproxy.cfg"
        self.cfg.write_text(f"defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n"
                            f"listen l\n  bind 127.0.0.1:{self.port}\n  server s 127.0.0.1:{self.server.stdout.readline()}\n")
        self.children = []
        self.spawn()
        self.ready(1)

    def spawn(self, *more):
        with open(self.log, "a") as log:
            self.children.append(subprocess.Popen(
                [BINARY, "gateway", "--haproxy-cfg", self.cfg, "--control-socket", self.socket, "--grace", "15s", "--loops", "2", *more],
                stderr=log, env={**os.environ, "SAMPAN_LOG": "json"}))
        return self.children[-1]

    def lines(self, message):
        return [json.loads(line) for line in self.log.read_text(errors="replace").splitlines() if f'"{message}"' in line]

    def ready(self, count):
        wait_until(lambda: len(self.lines("gateway is ready")) >= count, f"{count} ready")

    def pids(self):
        found = []
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    if self.socket.encode() in open(f"/proc/{p}/cmdline", "rb").read().split(b"\0") and \
                            open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                        found.append(int(p))
                except OSError:
                    pass
        return sorted(found)

    def ask(self, **request):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(self.socket)
            s.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(s.makefile().readline())

    def current(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")

    def one_is_left(self):
        wait_until(lambda: len(self.pids()) == 1, "one gateway")
        return self.pids()[0]

    def stop(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.pids(), "the end")
        for p in self.children:
            p.wait(PATIENCE)
        self.server.kill()
        self.server.wait()


class Load:
    """Connections one after the other, each with a question and its answer."""

    def __init__(self, port, excuse=lambda e: False):
        self.port, self.excuse, self.count, self.failures, self.over = port, excuse, 0, [], threading.Event()
        self.rounds = [0, 0]
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(2)]

    def run(self, me):
        while not self.over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as s:
                    s.sendall(b"hello")
                    assert s.recv(100) == b"hello", "the end instead of an answer"
            except (OSError, AssertionError) as e:
                if not self.excuse(e):
                    self.failures.append(repr(e))
            self.count += 1
            self.rounds[me] += 1
            time.sleep(0.005)

    def __enter__(self):
        for t in self.threads:
            t.start()
        self.goes_on()
        return self

    def settle(self):
        """Until each has ended what it was at: what comes now has begun now."""
        seen = list(self.rounds)
        wait_until(lambda: all(now > before for now, before in zip(self.rounds, seen)), "each begins another one")

    def goes_on(self):
        count = self.count
        wait_until(lambda: self.count > count + 20, "traffic goes on")

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join(PATIENCE)
        assert not self.failures, self.failures[:5]


@pytest.fixture
def gateway(tmp_path, request):
    g = Gateway(tmp_path)
    yield g
    g.stop()
    text = g.log.read_text(errors="replace")
    request.node.add_report_section("call", "log", text[-4000:])
    assert "Sanitizer" not in text and "assertion" not in text, text[-4000:]


def test_two_upgrades_at_once(gateway):
    """The second one is told that one is under way; both ways of asking, many times."""
    with Load(gateway.port) as load:
        old = gateway.current()
        for _ in range(5):
            os.kill(old, signal.SIGUSR2)
        by_hand = gateway.spawn("--take-over")
        gateway.ready(2)
        load.goes_on()
        wait_until(lambda: old not in gateway.pids(), "the old one's end")
        # By hand comes first, or is refused, or replaces the one that was first.
        assert by_hand.poll() in (None, 1)
        gateway.one_is_left()
        load.goes_on()
    wait_until(lambda: can_ask(gateway), "commands are answered")
    assert gateway.current() == gateway.pids()[0]


def test_the_new_one_is_killed_in_the_middle(gateway):
    """At each step of its way; the old one goes on, and can be replaced afterwards."""
    old = gateway.current()
    killed = False
    words = lambda: sum("this one goes on" in line or "gateway was replaced and drains" in line  # noqa: E731
                        for line in gateway.log.read_text(errors="replace").splitlines())
    with Load(gateway.port, lambda e: killed) as load:
        for wait_ms in (0, 2, 5, 10, 20, 40):
            said = words()
            told = len(gateway.lines("starting a new gateway"))
            os.kill(old, signal.SIGUSR2)
            wait_until(lambda: len(gateway.lines("starting a new gateway")) > told, "a new one")
            new = gateway.lines("starting a new gateway")[-1]["pid"]
            time.sleep(wait_ms / 1000)
            killed = True  # what it had accepted dies with it
            os.kill(new, signal.SIGKILL)
            wait_until(lambda: new not in gateway.pids(), "its end")
            wait_until(lambda: words() > said or old not in gateway.pids(), "the old one's word")
            load.settle()
            if gateway.lines("gateway was replaced and drains"):
                break  # it was quicker than we, and the old one is about to end
            killed = False
            load.goes_on()
            assert gateway.current() == old
        if killed:
            wait_until(lambda: not gateway.pids(), "the old one's end")
            ready = len(gateway.lines("gateway is ready"))
            gateway.spawn()
            gateway.ready(ready + 1)
        else:
            ready = len(gateway.lines("gateway is ready"))
            os.kill(gateway.current(), signal.SIGUSR2)
            gateway.ready(ready + 1)
            wait_until(lambda: old not in gateway.pids(), "the old one's end")
        load.settle()
        killed = False
        load.goes_on()


def test_the_old_one_is_killed_in_the_middle(gateway):
    """The new one has the sockets: what waits in their queues is served by it."""
    killed = False
    with Load(gateway.port, lambda e: killed) as load:
        for wait_ms in (0, 5, 20):
            old = gateway.current()
            taken = len(gateway.lines("a new gateway takes the sockets over"))
            ready = len(gateway.lines("gateway is ready"))
            os.kill(old, signal.SIGUSR2)
            end = time.monotonic() + PATIENCE
            while len(gateway.lines("a new gateway takes the sockets over")) == taken:  # as soon as can be seen
                assert time.monotonic() < end
            time.sleep(wait_ms / 1000)
            killed = True
            os.kill(old, signal.SIGKILL)
            gateway.children[0].poll()
            gateway.ready(ready + 1)
            load.settle()
            killed = False
            load.goes_on()
            wait_until(lambda: old not in gateway.pids(), "its end")
            wait_until(lambda: can_ask(gateway), "commands are answered")
            assert gateway.current() == gateway.one_is_left()


def can_ask(gateway):
    try:
        return gateway.current()
    except OSError:
        return None


def test_a_lost_control_socket(gateway):
    """Whoever removed it: a signal still upgrades, and the new one makes it anew."""
    with Load(gateway.port) as load:
        old = gateway.current()
        os.unlink(gateway.socket)
        os.kill(old, signal.SIGUSR2)
        gateway.ready(2)
        wait_until(lambda: old not in gateway.pids(), "the old one's end")
        assert gateway.current() == gateway.one_is_left()
        load.goes_on()


def test_upgrade_while_draining(gateway):
    """Neither after a stop nor after a hand-over does a drain start anybody."""
    old = gateway.current()
    with socket.create_connection(("127.0.0.1", gateway.port)) as long:
        long.sendall(b"x")
        assert long.recv(1) == b"x"
        os.kill(old, signal.SIGUSR2)
        gateway.ready(2)
        wait_until(lambda: gateway.lines("gateway was replaced and drains"), "the drain")
        new = gateway.current()
        os.kill(old, signal.SIGUSR2)
        os.kill(old, signal.SIGHUP)
        long.sendall(b"y")
        assert long.recv(1) == b"y"  # and it still carries what it has
        assert gateway.pids() == sorted([old, new])
    wait_until(lambda: old not in gateway.pids(), "the old one's end")
    with socket.create_connection(("127.0.0.1", gateway.port)) as long:
        long.sendall(b"x")
        assert long.recv(1) == b"x"
        os.kill(new, signal.SIGTERM)
        wait_until(lambda: gateway.lines("gateway stops"), "the stop")
        os.kill(new, signal.SIGUSR2)
        long.sendall(b"y")
        assert long.recv(1) == b"y"
        assert gateway.pids() == [new]
    wait_until(lambda: not gateway.pids(), "the end")
    assert len(gateway.lines("gateway is ready")) == 2


class Named:
    """Answers with its name; checks as `well` says: 200, 500, or (None) not at all."""

    def __init__(self, name):
        self.name, self.well, self.sock = name, True, socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self.run, daemon=True).start()

    @property
    def at(self):
        return "127.0.0.1:%d" % self.sock.getsockname()[1]

    def run(self):
        while True:
            try:
                threading.Thread(target=self.serve, args=(self.sock.accept()[0],), daemon=True).start()
            except OSError:
                return

    def serve(self, c):
        with c, c.makefile("rb") as f:
            while head := read_head(f):
                well = self.well if head[0][1] == "/ok" else True
                if well is None:
                    c.recv(1)
                    return
                c.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (200 if well else 500, len(self.name), self.name.encode()))


def who(port, n):
    found = set()
    for _ in range(n):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as c, c.makefile("rb") as f:
            c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            words, fields = read_head(f)
            assert words[1] == "200", words
            found.add(f.read(int(fields["content-length"])).decode())
    return found


def test_what_was_learned_and_told_goes_on(gateway):
    """A successor knows which servers' checks fail before it has asked them, and what people said about others."""
    servers, port = [Named(f"s{i}") for i in range(4)], free_port()
    lines = "".join(f"  server {s.name} {s.at} check inter 100ms fall 1 rise 1\n" for s in servers)
    gateway.cfg.write_text(f"defaults\n  mode http\n  timeout connect 9s\n  timeout client 60s\n  timeout server 60s\n  timeout check 60s\n"
                           f"listen l\n  bind 127.0.0.1:{port}\n  option httpchk GET /ok\n{lines}")
    os.kill(gateway.current(), signal.SIGHUP)
    wait_until(lambda: can_connect(port), "the new file")
    servers[3].well = False
    wait_until(lambda: who(port, 40) == {"s0", "s1", "s2"}, "s3 is out")
    servers[3].well = None
    assert gateway.ask(do="steer", server="s0", state="drain")["ok"] and gateway.ask(do="steer", server="s0", weight=9)["ok"]
    assert gateway.ask(do="steer", server="s1", weight=0)["ok"]
    assert who(port, 40) == {"s2"}
    for count in (2, 3):  # and its successor, too
        old = gateway.current()
        os.kill(old, signal.SIGUSR2)
        gateway.ready(count)
        wait_until(lambda: old not in gateway.pids(), "the old one's end")
        assert who(port, 40) == {"s2"}
    assert gateway.ask(do="steer", server="s0", state="enable")["ok"]
    assert who(port, 80) == {"s0", "s2"}
    for s in servers:
        s.sock.close()


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        return True
    except OSError:
        return False
