"""A crowd of clients through one gateway that is reloaded every second while servers come and go.

SAMPAN_SOAK_SECONDS=600 is the long form: 2,000 connections (SAMPAN_SOAK_SHARE=0.25: 500). SAMPAN_SOAK_FREEZE=1 lets clients
and gateways stand still for up to three seconds now and then, as on a machine that has too much to do. The gateway serves a haproxy.cfg; by turns it is
replaced (SIGUSR2), or gets a changed file (SIGHUP) with other servers and, now and then, another certificate.

What must not fail, whatever happens:
- every new connection is accepted;
- every GET is answered 200, also when the server it was sent to is killed, because the gateway may ask another one
  (there always is one: of the servers that are not weighed down to 0, only one is killed at a time). A client may have to repeat a request itself in two cases: it was written on a kept HTTP/1.1
  connection at the moment of its polite end (RFC 9112, 9.3.1; "crossed": counted, and rare), or HTTP/2 said that it
  was not looked at (GOAWAY, REFUSED_STREAM);
- a tunnel (TCP, WebSocket) lives as long as its server, and at least --grace after its gateway was replaced;
- a POST may fail only when its server ended in the meantime.
"""
import collections
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from conftest import BINARY, PATIENCE, free_port, wait_until

HERE = pathlib.Path(__file__).parent
SECONDS = float(os.environ.get("SAMPAN_SOAK_SECONDS", "14"))
LONG = SECONDS >= 60
GRACE = 8
MIX = {"tcp_short": 100, "tcp_long": 600, "websocket": 350, "http_short": 100, "http_kept": 600, "tls_kept": 90, "tls_short": 10, "http2": 150}
SHARE = float(os.environ.get("SAMPAN_SOAK_SHARE", "1" if LONG else "0.1"))
dice = random.Random(int(os.environ.get("SAMPAN_SOAK_SEED", "0")) or None)


class Servers:
    """name → a process; and when which one ended."""

    def __init__(self):
        self.processes, self.ended, self.next = {}, {}, 1

    def start(self, at=None):
        number, self.next = self.next, self.next + 1
        at = at or (f"127.0.1.{number % 250 + 1}", free_port())
        p = subprocess.Popen([sys.executable, HERE / "gw_crowd.py", "serve", at[0], str(at[1]), str(number)], stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "serving\n"
        self.processes[number] = (p, at)
        return number

    def end(self, number, sig):
        p, at = self.processes.pop(number)
        self.ended[number] = time.monotonic()
        p.send_signal(sig)
        p.wait(PATIENCE)
        return at

    def stop(self):
        for number in list(self.processes):
            self.end(number, signal.SIGKILL)


class Gateway:
    def __init__(self, directory):
        self.dir, self.socket, self.log = directory, str(directory / "gw.sock"), directory / "gateway.log"
        self.ports = {name: free_port() for name in ("tcp", "http", "tls")}
        self.cfg, self.listed, self.serial = directory / "haproxy.cfg", {}, 0
        self.renew()

    def renew(self):
        self.serial += 1
        key, crt = self.dir / "key", self.dir / "crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", f"/CN=crowd-{self.serial}", "-keyout", key, "-out", crt], check=True, capture_output=True)
        (self.dir / "site.new").write_text(crt.read_text() + key.read_text())
        os.replace(self.dir / "site.new", self.dir / "site.pem")

    def write(self, servers):
        """servers: number → words that follow its address."""
        lines = {True: [], False: []}
        for n, (address, more) in servers.items():
            for check in lines:
                lines[check].append(f"    server s{n} {address[0]}:{address[1]} {'check inter 300ms ' if check else ''}{more}\n")
        text = f"""
defaults
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    retries 3
    option redispatch
listen tcp
    mode tcp
    bind 127.0.0.1:{self.ports["tcp"]}
    balance leastconn
{"".join(lines[True])}
frontend web
    mode http
    bind 127.0.0.1:{self.ports["http"]}
    bind 127.0.0.1:{self.ports["tls"]} ssl crt {self.dir}/site.pem alpn h2,http/1.1
    use_backend unchecked if {{ path_beg /unchecked }}
    default_backend web
backend web
    mode http
    timeout tunnel 120s
{"".join(lines[True])}
backend unchecked
    mode http
{"".join(lines[False])}
"""
        self.cfg.with_suffix(".new").write_text(text)
        os.replace(self.cfg.with_suffix(".new"), self.cfg)

    def start(self):
        with open(self.log, "a") as log:
            self.first = subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", self.cfg, "--control-socket", self.socket, "--grace", f"{GRACE}s",
                                           "--loops", "2"], stderr=log, env={**os.environ, "SAMPAN_LOG": "json"})
        wait_until(lambda: self.count("gateway is ready") or self.first.poll() is not None, "the gateway")
        assert self.first.poll() is None, self.log.read_text()

    def count(self, message):
        return self.log.read_text(errors="replace").count(f'"{message}"')

    def pids(self):
        found = []
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    if self.socket.encode() in open(f"/proc/{p}/cmdline", "rb").read().split(b"\0"):
                        found.append(int(p))
                except OSError:
                    pass
        return found

    def current(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")

    def upgrade(self):
        before = self.count("gateway is ready")
        os.kill(self.current(), signal.SIGUSR2)
        wait_until(lambda: self.count("gateway is ready") > before, "the successor")

    def subject(self):
        """Of the certificate that new clients see."""
        with socket.create_connection(("127.0.0.1", self.ports["tls"]), PATIENCE) as s, \
                ssl._create_unverified_context().wrap_socket(s, server_hostname="crowd.test") as t:
            return t.getpeercert(True)

    def memory(self, pid):
        """(PSS in KiB, descriptors)."""
        rollup = open(f"/proc/{pid}/smaps_rollup").read()
        return int(rollup.split("Pss:")[1].split()[0]), len(os.listdir(f"/proc/{pid}/fd"))

    def stop(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.pids(), "the gateways' end")
        self.first.wait(PATIENCE)


class Clients:
    """Several processes, because one that has too much to do stands still; what they tell is put together."""

    def __init__(self, directory, ports, share):
        many = 4 if LONG else 1
        self.failures, self.counts, self.hanging, self.stalls, self.processes = [], {}, 0, [], []
        for i in range(many):
            spec = {**ports, "posts": 0.2, "ramp": 4 if LONG else 1, "mix": {kind: max(1, int(n * share / many)) for kind, n in MIX.items()}}
            (directory / f"spec{i}.json").write_text(json.dumps(spec))
            p = subprocess.Popen([sys.executable, HERE / "gw_crowd.py", "clients", directory / f"spec{i}.json"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            thread = threading.Thread(target=self.read, args=(p.stdout,))
            thread.start()
            self.processes.append((p, thread))

    def read(self, lines):
        for line in lines:
            document = json.loads(line)
            if "counts" not in document:
                self.failures.append(document)
                continue
            self.hanging += document["hanging"]
            self.stalls += document["stalls"]
            for kind, counts in document["counts"].items():
                all = self.counts.setdefault(kind, {})
                for what, n in counts.items():
                    all[what] = all.get(what, 0) + n

    def stop(self):
        for p, _ in self.processes:
            if not p.stdin.closed:
                p.stdin.close()
        for p, thread in self.processes:
            p.wait(PATIENCE)
            thread.join()


class Freezer(threading.Thread):
    """Stops the processes that pids() names, all of them at about the same time, for a while."""

    def __init__(self, pids):
        super().__init__()
        self.pids, self.over = pids, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(dice.uniform(2, 5)):
            frozen = self.pids()
            for sig in (signal.SIGSTOP, signal.SIGCONT):
                dice.shuffle(frozen)
                for pid in frozen:
                    try:
                        os.kill(pid, sig)
                    except ProcessLookupError:
                        pass
                if sig == signal.SIGSTOP:
                    self.over.wait(dice.uniform(0.5, 3))

    def stop(self):
        self.over.set()
        self.join()


def raise_limit():
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def outlived(f, replaced):
    """Its gateway was replaced, at some moment between asked and ready, and its time is over."""
    return any(f["begin"] - 1 < ready and asked + GRACE - 0.5 < f["end"] for asked, ready in replaced)


def excused(f, servers, replaced):
    """Whether the protocol leaves the gateway no way to avoid this failure."""
    kind, ended = f["kind"], servers.ended
    lately = any(f["begin"] - 1 < t <= f["end"] + 1 for t in ended.values())
    # It was unanswered between these two, and nobody may ask a second time.
    asked_then = any(f.get("asked", f["begin"]) - 1 < t <= f["end"] + 1 for t in ended.values())
    if kind in ("tcp_long", "websocket"):
        if "server" not in f:  # it never answered: TCP was spoken to a server that died
            return kind == "tcp_long" and lately
        if ended.get(f["server"], f["end"] + 1) <= f["end"] + 0.5:
            return True
        return outlived(f, replaced)
    if kind == "tcp_short":
        return lately
    # The same for one that was asked to leave long before and did not look: it stood still.
    if kind == "http2" and sum(length for _, length in f["stalls"]) > GRACE / 2 and outlived(f, replaced):
        return True
    return f.get("post", False) and asked_then


class Driver:
    """A change each second."""

    def __init__(self, gateway, servers):
        self.gateway, self.servers, self.replaced, self.done, self.events = gateway, servers, [], {}, []
        self.current = [servers.start() for _ in range(4)]
        self.leaving = []
        self.write()

    def note(self, what, *more):
        self.done[what] = self.done.get(what, 0) + 1
        self.happened(what, *more)

    def happened(self, *what):
        self.events.append((time.monotonic(), *what))

    def write(self, more=None):
        self.gateway.write({n: (self.servers.processes[n][1], (more or {}).get(n, "")) for n in self.current})

    def weights(self):
        """A server of weight 0 takes no newcomers, even when nobody else is left. So those that may be killed while this
        holds, also by a replaced gateway, are not all that there is: the next, the one after it, and one more."""
        return {n: dice.choice(("", "weight 3", "weight 0") if i >= 3 else ("", "weight 3")) for i, n in enumerate(self.current)}

    def retire(self):
        """Those who left the file a turn ago."""
        for n in self.leaving:
            self.servers.end(n, signal.SIGTERM)
        self.leaving = []

    def change(self):
        """Something about the servers; the file is written."""
        self.retire()
        act = dice.choice(("replace", "kill", "restart", "weights", "certificate", "nothing"))
        self.note(act)
        if act == "replace":
            self.leaving = [self.current.pop(0)]
            self.current.append(self.servers.start())
        elif act == "kill":
            self.servers.end(self.current.pop(0), signal.SIGKILL)
            self.current.append(self.servers.start())
        elif act == "restart":
            at = self.servers.end(self.current.pop(0), signal.SIGKILL)
            self.current.append(self.servers.start(at))
        elif act == "certificate":
            self.gateway.renew()
        self.write(self.weights() if act == "weights" else None)
        self.happened("written", *self.current)

    def hangup(self):
        os.kill(self.gateway.current(), signal.SIGHUP)
        self.note("SIGHUP")

    def upgrade(self):
        asked = time.monotonic()
        self.happened("upgrade")
        self.gateway.upgrade()
        self.replaced.append((asked, time.monotonic()))
        self.note("SIGUSR2")

    def run(self, seconds, upgrades):
        end, turn, seen = time.monotonic() + seconds, 0, []
        while time.monotonic() < end:
            begin = time.monotonic()
            turn += 1
            if upgrades and turn % 2:
                self.upgrade()
            else:
                self.change()
                self.hangup()
            time.sleep(max(0.1, begin + 1 - time.monotonic()))
            if not upgrades or turn % 2 == 0:
                seen.append(self.gateway.memory(self.gateway.current()))
        self.retire()
        return seen


def report(clients, driver, mixed, steady):
    print(f"\n{SECONDS} s; {driver.done}; the clients stood still {len(clients.stalls)} times, up to {max((b - a for a, b in clients.stalls), default=0):.1f} s")
    for kind, c in clients.counts.items():
        print(f"  {kind:10} {c}")
    for what, seen in (("replaced processes", mixed), ("one process", steady)):
        print(f"  {what}: PSS {[m for m, _ in seen][::max(1, len(seen) // 12)]} KiB, descriptors {[d for _, d in seen][::max(1, len(seen) // 12)]}")


def tell(f, driver, servers):
    """All that may explain a failure; times count from the beginning of its connection."""
    shown = {k: round(v - f["begin"], 3) if k in ("asked", "connected", "end") else v for k, v in f.items()}
    happened = driver.events + [(t, "ended", n) for n, t in servers.ended.items()]
    print(" ", shown, *sorted((round(t - f["begin"], 2), *what) for t, *what in happened if f["begin"] - 5 < t < f["end"] + 1), sep="\n      ")


def middle(numbers):
    return sorted(numbers)[len(numbers) // 2]


def test_a_crowd_notices_nothing(tmp_path):
    raise_limit()
    servers, gateway = Servers(), Gateway(tmp_path)
    driver = Driver(gateway, servers)
    gateway.start()
    clients = Clients(tmp_path, gateway.ports, SHARE)
    freezer = Freezer(lambda: gateway.pids() + [p.pid for p, _ in clients.processes]) if os.environ.get("SAMPAN_SOAK_FREEZE") else None
    try:
        time.sleep(6 if LONG else 2)
        first = gateway.subject()
        mixed = driver.run(SECONDS * 0.7, upgrades=True)
        steady = driver.run(SECONDS * 0.3, upgrades=False)
        if freezer:
            freezer.stop()
        gateway.renew()
        old = gateway.subject()
        driver.hangup()
        wait_until(lambda: gateway.subject() != old, "the new certificate")
        assert old != first or not driver.done.get("certificate")
        wait_until(lambda: len([p for p in gateway.pids() if lives(p)]) == 1, "one gateway is left", 2 * GRACE + 60)
        wait_until(lambda: not [p for p in os.listdir("/proc") if p.isdigit() and is_child_zombie(p, gateway)], "no zombie stays")
        clients.stop()
        report(clients, driver, mixed, steady)
        wrong = [f for f in clients.failures if not excused(f, servers, driver.replaced)]
        print(f"  {len(clients.failures)} broke, {len(wrong)} of them without an excuse")
        for row, n in collections.Counter((f["kind"], "POST" if f.get("post") else "", f["why"][:70]) for f in wrong).most_common(20):
            print("   ", n, *row)
        for f in wrong[:40]:
            tell(f, driver, servers)
        assert not wrong, "\n".join(str(f) for f in wrong[:10])
        assert clients.hanging == 0
        for kind in MIX:
            assert clients.counts[kind]["done"] > 2 * SECONDS * SHARE, kind
            assert clients.counts[kind].get("crossed", 0) <= 2 + clients.counts[kind]["connections"] // 200, f"{kind}: {clients.counts[kind]}"
        check_flat(mixed, steady)
    finally:
        if freezer:
            freezer.stop()
        clients.stop()
        servers.stop()
        gateway.stop()
        text = gateway.log.read_text(errors="replace")
        assert "Sanitizer" not in text and "assert" not in text, text[-4000:]


def is_accepted(client):
    """The server's end of a local connection belongs to a process: before that it has no inode."""
    here, there = (f"0100007F:{port:04X}" for port in (client.getpeername()[1], client.getsockname()[1]))
    rows = (line.split() for line in open("/proc/net/tcp"))
    return any(row[1:3] == [here, there] and row[9] != "0" for row in rows)


def test_a_client_in_its_handshake_is_told_to_leave(tmp_path):
    """It was accepted before the upgrade and speaks HTTP/2 only afterwards: GOAWAY reaches it, too."""
    servers, gateway = Servers(), Gateway(tmp_path)
    Driver(gateway, servers)
    gateway.start()
    try:
        old = gateway.current()
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", gateway.ports["tls"]), PATIENCE) as plain:
            wait_until(lambda: is_accepted(plain), "it is accepted")
            gateway.upgrade()
            with context.wrap_socket(plain, server_hostname="crowd.test") as client:
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
                data, kinds = b"", []
                while True:
                    while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                        kinds.append(data[3])
                        data = data[9 + int.from_bytes(data[:3], "big"):]
                    if not (more := client.recv(4096)):
                        break
                    data += more
                assert kinds.count(7) == 2, kinds  # the first asks, the second says goodbye; then a proper end
    finally:
        servers.stop()
        gateway.stop()


def test_a_client_that_did_not_read_may_still_write(tmp_path):
    """What it asks after the last GOAWAY, before it has read that, is no reason for a reset."""
    servers, gateway = Servers(), Gateway(tmp_path)
    Driver(gateway, servers)
    gateway.start()
    try:
        old = gateway.current()
        with socket.create_connection(("127.0.0.1", gateway.ports["http"]), PATIENCE) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            assert client.recv(1)
            gateway.upgrade()
            # The end of the connection, which it does not look at: CLOSE_WAIT.
            wait_until(lambda: client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1, "the gateway's end")
            for _ in range(5):
                client.sendall(b"\0\0\4\1\5\0\0\0\1\x82\x84\x86\x41")
                time.sleep(0.05)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        wait_until(lambda: old not in gateway.pids() or not lives(old), "the old one's end")
    finally:
        servers.stop()
        gateway.stop()


def lives(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def is_child_zombie(pid, gateway):
    try:
        words = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return words[0] == "Z" and int(words[1]) in gateway.pids()


def check_flat(mixed, steady):
    """Only where it ran for long enough: a sanitizer's memory is not the program's. The one process that remains gets
    its share of clients while its predecessors drain."""
    if SECONDS < 300:
        return
    for seen in (mixed, steady[min(2 * GRACE, len(steady) // 2):]):
        third = len(seen) // 3
        for what, early, late in (("PSS", [m for m, _ in seen[third // 2:third]], [m for m, _ in seen[-third // 2:]]),
                                  ("descriptors", [d for _, d in seen[third // 2:third]], [d for _, d in seen[-third // 2:]])):
            assert middle(late) <= middle(early) * 1.15 + 64, f"{what} grew from {middle(early)} to {middle(late)}"
