"""A client asks through the virtual address without a pause while owners stop, die, freeze, lose their link or each other.

Counted: requests lost, the longest silence, how long two nodes owned the address after a split was healed. The
short form asserts what holds on any machine; SAMPAN_FAILOVER_LONG=1 also asserts the figures, runs ten random
schedules and prints a line for each (SAMPAN_FAILOVER_SEED repeats them).
"""
import datetime
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import IS_ROOT, wait_until
from test_gw_vip import VIP, conf, net, sh  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="namespaces need root")
needs_keepalived = pytest.mark.skipif(not shutil.which("keepalived"), reason="keepalived is not installed")
LONG = os.environ.get("SAMPAN_FAILOVER_LONG")
ADVERT = 0.1


class Client:
    """A request every 10 ms, each on a connection of its own. It is lost when the kernel that has the address does not
    take the connection at once, or when it ends without an answer, or after `patience`: where nothing may be lost, an answer
    that is late because the machine is busy is none that is lost."""

    def __init__(self, port, patience=0.25):
        self.port, self.patience, self.over, self.seen = port, patience, threading.Event(), []  # (begin, end, node or None)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            begin, node = time.time(), None
            try:
                with socket.create_connection((VIP, self.port), timeout=0.25) as c:
                    c.settimeout(self.patience)
                    node = int(c.recv(16)[4:] or 0) or None
            except (OSError, ValueError):
                pass
            self.seen.append((begin, time.time(), node))
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def since(self, begin):
        """(lost, the longest time without an answer, in seconds)."""
        lost = [s for s in self.seen if s[0] >= begin and s[2] is None]
        last, longest = begin, 0
        for b, e, node in self.seen:
            if e >= begin and node is not None:
                longest, last = max(longest, e - last), e
        return len(lost), max(longest, time.time() - last)


class Owners:
    """When which node held the address, as the kernel tells it."""

    def __init__(self, nodes):
        self.nodes, self.events = nodes, []  # (time, node number, holds)
        self.processes = [subprocess.Popen(["ip", "-n", n.name, "-ts", "-o", "monitor", "address"], stdout=subprocess.PIPE, text=True) for n in nodes]
        self.threads = [threading.Thread(target=self.read, args=(n.number, p)) for n, p in zip(nodes, self.processes)]
        for t in self.threads:
            t.start()

    def read(self, number, process):
        for line in process.stdout:
            if m := re.match(r"\[([0-9T:.\-]+)\] (.*)", line):
                if f" {VIP}/" in m[2]:
                    at = datetime.datetime.fromisoformat(m[1]).timestamp()
                    self.events.append((at, number, "Deleted" not in m[2]))

    def doubles(self, begin):
        """For how long in all more than one had it."""
        holds, last, total = set(), None, 0
        for at, number, has in sorted(self.events):
            if len(holds) > 1 and at > begin:
                total += at - max(last, begin)
            last = at
            holds.add(number) if has else holds.discard(number)
        return total

    def stop(self):
        for p in self.processes:
            p.terminate()
        for p, t in zip(self.processes, self.threads):
            p.wait()
            t.join()


def proxy(w, node):
    """A haproxy.cfg for that node: the proxy under the address."""
    cfg = w.dir / f"{node.name}.cfg"
    cfg.write_text("defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 9s\n  timeout server 9s\n"
                   "listen api\n  bind *:16443\n  server s1 127.0.0.1:6443\n")
    return ["--haproxy-cfg", str(cfg), "--control-socket", str(w.dir / f"{node.name}.sock")]


def start(w, node, text=None):
    node.ours(text, *proxy(w, node))


def ready(w, number, client):
    wait_until(lambda: client.seen and client.seen[-1][2] == number, f"node {number} answers")
    wait_until(lambda: w.owners() == [number], f"node {number} alone has the address, not {w.owners()}")


def arp_is_right(w, node):
    mac = json.loads(sh(f"ip -n {node.name} -j link show eth0"))[0]["address"]
    wait_until(lambda: mac in sh(f"ip neigh show {VIP} dev {w.bridge}"), "the client knows where the address is")


def tell(what, lost, silence, more=""):
    print(f"\n{what}: {lost} lost, longest silence {silence * 1000:.0f} ms {more}")


FAULTS = {
    # what is done to the owner, what mends it, the longest silence allowed in the long form
    "stop": (lambda n: n.daemon.terminate(), lambda w, n: (n.daemon.wait(60), start(w, n)), 0.1),
    "kill": (lambda n: n.kill(), lambda w, n: start(w, n), 0.7),
    "link": (lambda n: n.link(False), lambda w, n: n.link(True), 0.5),
    "freeze": (lambda n: n.kill(signal.SIGSTOP), lambda w, n: n.kill(signal.SIGCONT), 4),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_owner_fails_under_load(net, fault):
    """And comes back: preempted without a lost request, because both speak of it."""
    w = net(2)
    a, b = w.nodes
    for n, priority in zip(w.nodes, (110, 100)):
        start(w, n, conf(n.number, priority))
    do, mend, limit = FAULTS[fault]
    with Client(16443, 20 if fault == "stop" and not LONG else 0.25) as client:
        ready(w, 1, client)
        begin = time.time()
        do(a)
        ready(w, 2, client) if fault != "link" else wait_until(lambda: client.seen[-1][2] == 2, "the other answers")
        lost, silence = client.since(begin)
        tell(fault, lost, silence)
        arp_is_right(w, b)
        begin = time.time()
        mend(w, a)
        ready(w, 1, client)
        time.sleep(0.5)
        back, back_silence = client.since(begin)
        tell(f"back after {fault}", back, back_silence)
        arp_is_right(w, a)
    if fault == "stop":
        assert lost == 0
    if LONG:
        assert silence <= limit, silence
        assert back <= 2 and back_silence <= 0.5


def test_a_flapping_link_under_load(net):
    """It is up, down, up, … faster than anybody can follow; in the end one owner, and the client is there."""
    w = net(2)
    a, b = w.nodes
    for n, priority in zip(w.nodes, (110, 100)):
        start(w, n, conf(n.number, priority))
    dice = random.Random(3)
    with Client(16443) as client:
        ready(w, 1, client)
        begin = time.time()
        for _ in range(12):
            a.link(False)
            time.sleep(dice.random() * 0.3)
            a.link(True)
            time.sleep(dice.random() * 0.3)
        end = time.time()
        ready(w, 1, client)
        arp_is_right(w, a)
        tell("flapping for %.1f s" % (end - begin), *client.since(begin))
        assert client.since(end)[1] < 10


def test_a_split_is_healed_under_load(net):
    """The client stays on the side of the second node; afterwards there is one owner again within three advertisements."""
    w = net(3)
    owners = Owners(w.nodes)
    try:
        for n, priority in zip(w.nodes, (110, 100, 90)):
            start(w, n, conf(n.number, priority))
        with Client(16443) as client:
            ready(w, 1, client)
            begin = time.time()
            w.move([1], away=True)
            wait_until(lambda: client.seen[-1][2] == 2 and w.owners() == [1, 2], "each side has an owner")
            tell("split", *client.since(begin))
            begin = time.time()
            w.move([1], away=False)
            ready(w, 1, client)
            time.sleep(0.5)
            double = owners.doubles(begin)
            tell("healed", *client.since(begin), f"two owners for {double * 1000:.0f} ms")
            arp_is_right(w, w.nodes[0])
            if LONG:
                assert double <= 3 * ADVERT + 0.05, double
    finally:
        owners.stop()


def gateways(w, node):
    """Processes that serve on that node."""
    found = []
    for p in sh(f"ip netns pids {node.name}").split():
        try:
            if "--keepalived-conf" in open(f"/proc/{p}/cmdline").read() and open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(p))
        except OSError:
            pass
    return found


def current(w, node):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(w.dir / f"{node.name}.sock"))
        return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


def test_the_address_is_not_taken_before_the_proxy_serves(net):  # noqa: F811
    """The better node comes back: not one client is sent to a port where nobody listens yet."""
    w = net(2)
    a, b = w.nodes
    for n, priority in zip(w.nodes, (110, 100)):
        start(w, n, conf(n.number, priority))
    with Client(16443) as client:
        ready(w, 1, client)
    for _ in range(2):
        a.kill()
        wait_until(lambda: w.owners() == [2], "the other one")
        before = a.text().count('"state":"MASTER"')
        start(w, a)
        wait_until(lambda: a.text().count('"state":"MASTER"') > before, "it is back")
        log = a.text().splitlines()
        serves = max(i for i, line in enumerate(log) if '"gateway is ready"' in line)
        took = max(i for i, line in enumerate(log) if '"state":"MASTER"' in line)
        assert serves < took, log[-8:]


@pytest.fixture
def upgraded(net, request):  # noqa: F811
    """Two nodes, the first one owns from the beginning; successors end with the test."""
    w = net(2)
    a, b = w.nodes
    # Where nobody may take over, a busy machine must have the time to speak.
    advert = 1 if "upgrades_do_not_move" in request.node.name else ADVERT
    start(w, a, conf(1, 110, advert=advert))
    wait_until(lambda: '"state":"MASTER"' in a.text(), "the first one owns")
    start(w, b, conf(2, 100, advert=advert))
    wait_until(lambda: '"state":"BACKUP"' in b.text(), "the second one waits")
    yield w
    for n in w.nodes:
        for pid in gateways(w, n):
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(gateways(w, n) for n in w.nodes), "the gateways' end")


def test_upgrades_do_not_move_the_address(upgraded):
    """Three in a row under load: no request is lost, the kernel keeps the address, the other node never has it."""
    w, (a, b) = upgraded, upgraded.nodes
    owners = Owners(w.nodes)
    try:
        with Client(16443, 20) as client:
            ready(w, 1, client)
            begin = time.time()
            for i in range(3):
                seen = a.text().count("gateway is ready")
                os.kill(current(w, a), signal.SIGUSR2)
                wait_until(lambda: a.text().count("gateway is ready") > seen, "the successor")
                wait_until(lambda: len(gateways(w, a)) == 1, "the old one's end")
            time.sleep(0.5)
            assert w.owners() == [1]
            lost, silence = client.since(begin)
            tell("three upgrades of the owner", lost, silence)
            assert lost == 0
            assert not [e for e in owners.events if e[0] > begin and (e[1] == 2 or not e[2])], owners.events
            # And of the other one, which must not take it either.
            seen = b.text().count("gateway is ready")
            os.kill(current(w, b), signal.SIGUSR2)
            wait_until(lambda: b.text().count("gateway is ready") > seen and len(gateways(w, b)) == 1, "the successor")
            time.sleep(0.5)
            assert w.owners() == [1] and client.since(begin)[0] == 0
    finally:
        owners.stop()


@pytest.mark.parametrize("victim", ["old", "new"])
def test_killed_while_the_owner_is_upgraded(upgraded, victim):
    """One of the two dies in the middle; in the end the first node owns the address alone, and is asked.

    The successor's number is the one that its predecessor tells: beside the gateways there are short-lived processes
    with the same command line (a sanitizer's, at a gateway's end), and killing those says nothing about ours."""
    w, (a, _) = upgraded, upgraded.nodes
    with Client(16443) as client:
        ready(w, 1, client)
        begin = time.time()
        for wait_ms in (0, 20, 60):
            old, before = current(w, a), len(a.text())
            os.kill(old, signal.SIGUSR2)
            new = int(wait_until(lambda: re.search(r'"starting a new gateway".*"pid":(\d+)', a.text()[before:]), "a new one")[1])
            time.sleep(wait_ms / 1000)
            os.kill(old if victim == "old" else new, signal.SIGKILL)
            a.daemon.poll()
            if victim == "new":  # the old one says whether it was replaced already: then nobody is left who serves
                wait_until(lambda: "this one goes on" in a.text()[before:] or "was replaced" in a.text()[before:], "the old one's word")
                left = "was replaced" not in a.text()[before:]
            else:  # the new one has what it needs, or gives up
                wait_until(lambda: new not in gateways(w, a) or "gateway is ready" in a.text()[before:], "the new one's word")
                left = new in gateways(w, a)
            if not left:  # whoever supervises starts another, also while the old one drains
                before = len(a.text())
                start(w, a)
                wait_until(lambda: "gateway is ready" in a.text()[before:], "another one")
            ready(w, 1, client)
            arp_is_right(w, a)
        tell(f"{victim} process killed", *client.since(begin))


@needs_keepalived
@pytest.mark.skipif(not LONG, reason="SAMPAN_FAILOVER_LONG=1 runs it")
@pytest.mark.parametrize("owner", ["ours", "keepalived"])
@pytest.mark.parametrize("fault", ["stop", "kill", "link"])
def test_with_keepalived_under_load(net, owner, fault):
    """VRRP 3 at 100 ms: within the protocol's own bound, three intervals and the skew."""
    w = net(2)
    a, b = w.nodes
    texts = conf(1, 110), conf(2, 100)
    if owner == "ours":
        a.ours(texts[0])
        b.keepalived(texts[1])
    else:
        a.keepalived(texts[0])
        b.ours(texts[1])
    with Client(6443) as client:
        ready(w, 1, client)
        begin = time.time()
        if fault == "link":
            a.link(False)
        elif owner == "ours":
            a.daemon.terminate() if fault == "stop" else a.kill()
        else:
            os.kill(a.real_pid(), signal.SIGTERM if fault == "stop" else signal.SIGKILL)
            if fault == "kill":  # it leaves the address behind: nobody else is there to remove it
                sh(f"ip -n {a.name} addr del {VIP}/24 dev eth0", check=False)
        wait_until(lambda: client.seen[-1][2] == 2, "the other answers")
        lost, silence = client.since(begin)
        tell(f"{owner} owns, {fault}", lost, silence)
        assert silence <= 4 * ADVERT + 0.35


@pytest.mark.skipif(not LONG, reason="SAMPAN_FAILOVER_LONG=1 runs it")
@pytest.mark.parametrize("number", range(10))
def test_random_faults_on_three_nodes(net, number):
    """When they are over: one owner, the best one, and the client is there."""
    seed = int(os.environ.get("SAMPAN_FAILOVER_SEED", "100")) + number
    dice, w = random.Random(seed), net(3)
    owners = Owners(w.nodes)
    away = set()

    def act(n):
        what = dice.choice(("down", "up", "kill", "freeze", "thaw", "start", "stop", "split", "heal"))
        alive = n.daemon.poll() is None
        if what in ("down", "up"):
            n.link(what == "up")
        elif what in ("kill", "freeze", "thaw") and alive:
            n.kill({"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}[what])
        elif what == "stop" and alive:
            n.daemon.send_signal(signal.SIGCONT)
            n.daemon.terminate()
        elif what == "start" and not alive:
            start(w, n)
        elif what in ("split", "heal"):
            w.move([n.number], away=what == "split")
            away.add(n.number) if what == "split" else away.discard(n.number)
        return f"{what}{n.number}"
    try:
        for n, priority in zip(w.nodes, (110, 100, 90)):
            start(w, n, conf(n.number, priority))
        with Client(16443) as client:
            ready(w, 1, client)
            begin, done = time.time(), []
            for _ in range(25):
                done.append(act(dice.choice(w.nodes)))
                time.sleep(dice.random() * 0.6)
            w.move(away, away=False)
            for n in w.nodes:
                n.link(True)
                if n.daemon.poll() is None:
                    n.kill(signal.SIGCONT)
            time.sleep(0.3)
            for n in w.nodes:
                if n.daemon.poll() is not None:
                    start(w, n)
            healed = time.time()
            wait_until(lambda: all(n.daemon.poll() is None or start(w, n) for n in w.nodes) and client.seen[-1][2] == 1 and w.owners() == [1],
                       f"seed {seed} {done}: node 1 alone, not {w.owners()}, and the client asks {client.seen[-1][2]}", 30)
            took = time.time() - healed
            arp_is_right(w, w.nodes[0])
            lost, silence = client.since(begin)
            tell(f"seed {seed}, {healed - begin:.1f} s of faults", lost, silence, f"of {len(client.seen)}; well {took:.2f} s after")
            assert client.since(healed + took)[0] <= 1
    finally:
        owners.stop()
