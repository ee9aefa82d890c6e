"""Virtual addresses between nodes that are network namespaces on one bridge: ours, and real keepalived.

A node is a namespace with an interface eth0 in the bridge. The client lives where the tests run, with an
address on the bridge. VIP_LONG=1 adds longer random schedules.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import BINARY, IS_ROOT, PATIENCE, wait_until

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="namespaces need root")
needs_keepalived = pytest.mark.skipif(not shutil.which("keepalived"), reason="keepalived is not installed")

VIP = "10.77.0.16"
PATH = "/apis/sampan.dev/v1alpha1/virtualaddresses"
BACKEND = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 6443)); s.listen(64)
while True:
    c, _ = s.accept()
    c.sendall(sys.argv[1].encode()); c.close()
"""


def sh(line, check=True):
    return subprocess.run(line, shell=True, check=check, capture_output=True, text=True).stdout


def conf(number, priority=100, version=3, advert=0.1, state="BACKUP", more="", script=None, peers=(), head=""):
    """A keepalived.conf that ours and the real one both read."""
    password = "authentication {\nauth_type PASS\nauth_pass password\n}\n" if version == 2 else ""
    unicast = ""
    if peers:
        unicast = f"unicast_src_ip 10.77.0.1{number}\nunicast_peer {{\n" + "".join(f"10.77.0.1{p}\n" for p in peers) + "}\n"
    check = f'vrrp_script chk {{\nscript "{script}"\ninterval 1\nweight 11\n}}\n' if script else ""
    tracks = "track_script {\nchk\n}\n" if script else ""
    return (f"global_defs {{\nscript_user root\n{head}}}\n{check}"
            f"vrrp_instance VI_1 {{\nstate {state}\ninterface eth0\nvirtual_router_id 51\npriority {priority}\n"
            f"version {version}\nadvert_int {advert}\n{password}{unicast}{tracks}{more}"
            f"virtual_ipaddress {{\n{VIP}/24\n}}\n}}\n")


class Node:
    def __init__(self, net, number):
        self.net, self.number, self.name = net, number, f"{net.prefix}n{number}"
        self.port = f"{net.prefix}p{number}"
        self.processes, self.daemon, self.log = [], None, net.dir / f"{self.name}.log"
        sh(f"ip netns add {self.name}; ip link add {self.port} type veth peer name eth0 netns {self.name};"
           f"ip link set {self.port} master {net.bridge} up; ip -n {self.name} link set lo up;"
           f"ip -n {self.name} link set eth0 up; ip -n {self.name} addr add 10.77.0.1{number}/24 dev eth0;"
           f"ip -n {self.name} -6 addr add fe80::1{number}/64 dev eth0 nodad;"
           f"ip netns exec {self.name} sysctl -qw net.ipv4.ip_nonlocal_bind=1")
        self.backend = self.spawn(["python3", "-c", BACKEND, f"node{number}"])

    def spawn(self, argv, **more):
        p = subprocess.Popen(["ip", "netns", "exec", self.name, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        self.processes.append(p)
        return p

    def write(self, text):
        self.file = self.net.dir / f"{self.name}.conf"
        self.file.write_text(text)

    def ours(self, text=None, *flags):
        if text:
            self.write(text)
        out = open(self.log, "a")
        self.daemon = subprocess.Popen(["ip", "netns", "exec", self.name, BINARY, "gateway", "--keepalived-conf", str(self.file), *flags],
                                       stdout=out, stderr=out, env={**os.environ, "SAMPAN_LOG": "json"})
        self.processes.append(self.daemon)

    def keepalived(self, text=None):
        """In namespaces of its own for processes and for its pid file."""
        if text:
            self.write(text)
        out = open(self.log, "a")
        inside = f"mount -t tmpfs none /run; exec keepalived -n -l -D -f {self.file}"
        self.daemon = subprocess.Popen(["ip", "netns", "exec", self.name, "unshare", "-pfm", "--kill-child", "--mount-proc", "sh", "-c", inside],
                                       stdout=out, stderr=out)
        self.processes.append(self.daemon)

    def has_vip(self, vip=VIP):
        return f" {vip}/" in sh(f"ip -n {self.name} addr show", check=False)

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def link(self, up):
        sh(f"ip link set {self.port} {'up' if up else 'down'}")

    def gateways(self):
        """Those of ours that run there, also the successors of the one that was started."""
        found = []
        for p in sh(f"ip netns pids {self.name}").split():
            try:
                if "--keepalived-conf" in pathlib.Path(f"/proc/{p}/cmdline").read_text() and \
                        pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append(int(p))
            except OSError:
                pass
        return found

    def real_pid(self):
        """Of keepalived, behind unshare."""
        wait_until(lambda: pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text(), "a child")
        return int(pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split()[0])

    def stop(self):
        self.daemon.terminate()
        return self.daemon.wait(PATIENCE)

    def kill(self, sig=signal.SIGKILL):
        self.daemon.send_signal(sig)
        if sig == signal.SIGKILL:
            self.daemon.wait()

    def end(self):
        for p in self.processes:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.terminate()
        for p in self.processes:
            try:
                p.wait(3)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        sh(f"ip link del {self.port}; ip netns del {self.name}", check=False)


class Net:
    count = 0

    def __init__(self, directory, nodes):
        Net.count += 1
        self.dir, self.prefix = pathlib.Path(directory), f"v{os.getpid() % 10000}x{Net.count}"
        self.bridge = f"{self.prefix}b"
        sh(f"ip link add {self.bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0; ip link set {self.bridge} up;"
           f"ip addr add 10.77.0.100/24 dev {self.bridge}")
        self.nodes = [Node(self, n + 1) for n in range(nodes)]

    def owners(self, vip=VIP):
        return [n.number for n in self.nodes if n.has_vip(vip)]

    def ask(self, vip=VIP, timeout=0.3):
        """Which node answers at the address; None when nobody does."""
        try:
            with socket.create_connection((vip, 6443), timeout=timeout) as c:
                c.settimeout(timeout)
                said = c.recv(16)
                return int(said[4:]) if said else None
        except OSError:
            return None

    def answers(self, number, seconds=PATIENCE):
        wait_until(lambda: self.ask() == number, f"node {number} answers", seconds)
        wait_until(lambda: self.owners() == [number], f"only node {number} has the address, not {self.owners()}", seconds)

    def move(self, numbers, away):
        """These nodes go to a bridge of their own, or come back."""
        other = f"{self.prefix}c"
        sh(f"ip link add {other} type bridge stp_state 0 forward_delay 0 mcast_snooping 0; ip link set {other} up", check=False)
        for n in self.nodes:
            if n.number in numbers:
                sh(f"ip link set {n.port} master {other if away else self.bridge}")

    def end(self):
        for n in self.nodes:
            n.end()
        sh(f"ip link del {self.bridge}; ip link del {self.prefix}c", check=False)


@pytest.fixture
def net(tmp_path, request):
    made = []

    def make(nodes=2):
        made.append(Net(tmp_path, nodes))
        return made[-1]
    yield make
    for m in made:
        for n in m.nodes:
            request.node.add_report_section("call", f"log of node {n.number}", n.text()[-3000:])
        m.end()


def test_two_of_ours(net):
    """The higher priority owns; killed, cut off, stopped, frozen: the other one does, and back again."""
    w = net(2)
    a, b = w.nodes
    a.ours(conf(1, 110))
    b.ours(conf(2, 100))
    w.answers(1)
    a.kill()  # nobody says goodbye, but the last will
    w.answers(2)
    assert not a.has_vip()
    a.ours()
    w.answers(1)  # preempted
    a.link(False)
    w.answers(2)
    a.link(True)
    w.answers(1)
    assert a.stop() == 0
    w.answers(2)
    a.ours()
    w.answers(1)


def test_frozen_owner_loses_its_lease(net):
    w = net(2)
    a, b = w.nodes
    a.ours(conf(1, 110, version=2, advert=1))
    b.ours(conf(2, 100, version=2, advert=1))
    w.answers(1)
    a.kill(signal.SIGSTOP)
    begin = time.monotonic()
    wait_until(lambda: not a.has_vip(), "the frozen owner loses the address")
    assert time.monotonic() - begin > 1.5, "it was a lease, nobody removed it"
    w.answers(2)
    a.kill(signal.SIGCONT)
    w.answers(1)
    assert "was not running for too long" in a.text()


def test_flapping_link(net):
    w = net(2)
    a, b = w.nodes
    a.ours(conf(1, 110))
    b.ours(conf(2, 100))
    w.answers(1)
    for _ in range(6):
        a.link(False)
        time.sleep(random.random() * 0.4)
        a.link(True)
        time.sleep(random.random() * 0.4)
    w.answers(1)


def test_split_and_healed(net):
    """Both own while they cannot hear each other; afterwards one, and the client's entry is right."""
    w = net(3)
    for n, priority in zip(w.nodes, (110, 100, 90)):
        n.ours(conf(n.number, priority))
    w.answers(1)
    w.move([1], away=True)
    wait_until(lambda: w.ask() == 2 and w.owners() == [1, 2], "each side has an owner")
    w.move([1], away=False)
    w.answers(1)
    mac = json.loads(sh(f"ip -n {w.nodes[0].name} -j link show eth0"))[0]["address"]
    wait_until(lambda: mac in sh(f"ip neigh show {VIP} dev {w.bridge}"), "the client knows where")


def neighbour(w):
    found = re.search("lladdr ([0-9a-f:]+)", sh(f"ip neigh show {VIP} dev {w.bridge}"))
    return found and found[1]


VMAC = "00:00:5e:00:01:33"  # RFC 5798 section 7.3: the last byte is the router's id, 51


def holds_vmac(node):
    return VMAC in sh(f"ip -n {node.name} link show dev vrrp.51 2>/dev/null", check=False)


def client_learns(w):
    """From scratch, by ARP, and it stays: nobody answers with another MAC."""
    sh(f"ip neigh flush dev {w.bridge}")
    assert wait_until(lambda: w.ask() and neighbour(w), "an entry") == VMAC


def test_virtual_mac(net):
    """The client's neighbour entry is the same whoever owns; the interface is there on the owner only."""
    w = net(2)
    a, b = w.nodes
    for n, priority in zip(w.nodes, (110, 100)):
        n.ours(conf(n.number, priority, more="use_vmac\n"))
    w.answers(1)
    wait_until(lambda: '"state":"MASTER"' in a.text(), "it has taken all, the last will is written")
    wait_until(lambda: holds_vmac(a) and not holds_vmac(b), "the interface is on the owner only")
    client_learns(w)
    a.kill()
    w.answers(2)
    assert neighbour(w) == VMAC and holds_vmac(b)
    wait_until(lambda: not holds_vmac(a), "the last will takes the interface away")
    client_learns(w)
    a.ours()
    w.answers(1)
    w.move([1], away=True)
    wait_until(lambda: w.ask() == 2 and w.owners() == [1, 2], "each side has an owner")
    w.move([1], away=False)
    w.answers(1)
    client_learns(w)
    a.kill(signal.SIGUSR2)  # another process, the same interface
    wait_until(lambda: "others of this node were master before" in a.text() and a.daemon.poll() is not None, "a successor")
    try:
        assert w.owners() == [1] and holds_vmac(a)
        wait_until(lambda: w.ask() == 1, "it answers")
        assert neighbour(w) == VMAC
    finally:
        for pid in a.gateways():
            os.kill(pid, signal.SIGTERM)
    w.answers(2)
    wait_until(lambda: not holds_vmac(a), "away with the gateway")


def test_killed_as_soon_as_the_virtual_mac_is_there(net):
    """The last will is written before."""
    a, = net(1).nodes
    with subprocess.Popen(["ip", "-n", a.name, "monitor", "link"], stdout=subprocess.PIPE, text=True) as monitor:
        try:
            for _ in range(4):
                a.ours(conf(1, 110, more="use_vmac\n"))
                while "vrrp.51" not in (line := monitor.stdout.readline()):
                    assert line, "the monitor ended"
                a.kill()
                wait_until(lambda: not holds_vmac(a), "nothing is left")
                while "Deleted" not in monitor.stdout.readline():
                    pass
        finally:
            monitor.kill()


@needs_keepalived
def test_virtual_mac_with_real_keepalived(net):
    """Both roles. keepalived keeps its interface while it is backup, ours makes it when it becomes master."""
    w = net(2)
    a, b = w.nodes
    a.ours(conf(1, 110, more="use_vmac\n"))
    w.answers(1)
    b.keepalived(conf(2, 100, more="use_vmac\n"))
    wait_until(lambda: "Entering BACKUP STATE" in b.text(), "keepalived hears ours")
    client_learns(w)
    a.kill()
    w.answers(2)
    client_learns(w)
    a.ours()
    w.answers(1)
    client_learns(w)
    assert "refused" not in a.text(), a.text()


def test_notify_and_weights_as_in_the_article(net, tmp_path):
    """100, 90, 90 become 111, 101, 101; the check fails on the master, the address moves."""
    w = net(3)
    told = tmp_path / "told"
    script = tmp_path / "notify.sh"
    script.write_text(f'#!/bin/sh\necho "$@" >> {told}.$2.$(cat /sys/class/net/eth0/address | tr -d :)\n')
    script.chmod(0o755)
    for n, priority in zip(w.nodes, (100, 90, 90)):
        alive = tmp_path / f"alive{n.number}"
        alive.touch()
        n.ours(conf(n.number, priority, version=2, advert=1, state="MASTER" if n.number == 1 else "BACKUP",
                    script=f"/bin/sh -c 'test -e {alive}'", more=f'notify "{script}"\n'))
    w.answers(1)
    for n, to in zip(w.nodes, (111, 101, 101)):
        wait_until(lambda: re.search(rf'"from":{to - 11},"to":{to}\b', n.text()), f"{to} in the log of node {n.number}")
    (tmp_path / "alive1").unlink()
    wait_until(lambda: w.ask() in (2, 3), "another node answers")
    wait_until(lambda: w.owners() in ([2], [3]), "one of them")
    wait_until(lambda: '"from":111,"to":100' in w.nodes[0].text(), "the fall in the log")
    wait_until(lambda: "handed over" in w.nodes[0].text(), "and that it was handed over")

    def lines():
        return [line for p in tmp_path.glob("told.*") for line in p.read_text().splitlines()]
    wait_until(lambda: "INSTANCE VI_1 MASTER 111" in lines() and any(re.match("INSTANCE VI_1 MASTER 101", line) for line in lines()),
               "the notify program was told")


def test_sync_group_and_ipv6(net):
    """Two routers, one of IPv6, move together."""
    w = net(2)

    def both(number, priority):
        second = (f"vrrp_instance VI_6 {{\ninterface eth0\nstate BACKUP\nvirtual_router_id 52\npriority {priority}\nversion 3\nadvert_int 0.1\n"
                  f"virtual_ipaddress {{\nfe80::16/64\n}}\n}}\nvrrp_sync_group G {{\ngroup {{\nVI_1\nVI_6\n}}\n}}\n")
        return conf(number, priority) + second
    for n, priority in zip(w.nodes, (110, 100)):
        n.ours(both(n.number, priority))
    w.answers(1)
    wait_until(lambda: w.owners("fe80::16") == [1], "the IPv6 address too")
    w.nodes[0].link(False)
    w.answers(2)
    wait_until(lambda: w.owners("fe80::16") in ([2], [1, 2]), "the IPv6 address too")
    w.nodes[0].link(True)
    w.answers(1)
    wait_until(lambda: w.owners("fe80::16") == [1], "the IPv6 address too")


@needs_keepalived
@pytest.mark.parametrize("version,advert,unicast", [(2, 1, False), (3, 0.1, True)])
def test_with_real_keepalived(net, version, advert, unicast):
    """Ours as master and keepalived as backup, and the other way round."""
    w = net(2)
    a, b = w.nodes
    peers = ((2,), (1,)) if unicast else ((), ())
    a.ours(conf(1, 110, version, advert, peers=peers[0]))
    b.keepalived(conf(2, 100, version, advert, peers=peers[1]))
    w.answers(1)
    assert a.stop() == 0
    w.answers(2)
    a.ours()
    w.answers(1)  # keepalived yields
    a.kill()
    w.answers(2)
    before = len(a.text())
    a.ours(conf(1, 90, version, advert, peers=peers[0]))
    wait_until(lambda: '"state":"BACKUP"' in a.text()[before:], "ours is backup")
    time.sleep(4.2 * advert)
    wait_until(lambda: w.owners() == [2], "and stays it")  # but for moments when a busy machine keeps the other one from speaking
    os.kill(b.real_pid(), signal.SIGTERM)
    w.answers(1)
    assert "refused" not in a.text(), a.text()


@needs_keepalived
@pytest.mark.parametrize("version,advert,unicast", [(2, 1, False), (3, 0.2, True)])
def test_frozen_and_split_beside_keepalived(net, version, advert, unicast):
    """Ours owns, keepalived waits: frozen, ours loses the address by itself; split and healed, one owner is left,
    and the client's neighbour entry is right."""
    w = net(2)
    a, b = w.nodes
    peers = ((2,), (1,)) if unicast else ((), ())
    a.ours(conf(1, 110, version, advert, peers=peers[0]))
    b.keepalived(conf(2, 100, version, advert, peers=peers[1]))
    w.answers(1)
    a.kill(signal.SIGSTOP)
    w.answers(2)
    a.kill(signal.SIGCONT)
    w.answers(1)
    w.move([1], away=True)
    wait_until(lambda: w.ask() == 2 and w.owners() == [1, 2], "each side has an owner")
    w.move([1], away=False)
    w.answers(1)
    mac = json.loads(sh(f"ip -n {a.name} -j link show eth0"))[0]["address"]
    wait_until(lambda: mac in sh(f"ip neigh show {VIP} dev {w.bridge}"), "the client knows where")


@pytest.mark.parametrize("what,version,advert", [("gateway", 2, 1), ("addresses alone", 3, 1)])
def test_upgrade_keeps_the_address(net, tmp_path, what, version, advert):
    """A successor process on the same node goes on holding it; the other node never takes over, though the
    priority depends on a check that the successor has not made yet."""
    w = net(2)
    a, b = w.nodes
    proxy, control = tmp_path / "haproxy.cfg", tmp_path / "control.sock"
    proxy.write_text("defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 9s\n  timeout server 9s\n"
                     "listen api\n  bind *:16443\n  server s1 127.0.0.1:6443\n")
    a.ours(conf(1, 100, version, advert, script="/bin/sh -c 'sleep 0.5'"),
           *(("--haproxy-cfg", str(proxy), "--control-socket", str(control)) if what == "gateway" else ()))
    w.answers(1)
    wait_until(lambda: '"state":"MASTER"' in a.text(), "it is said after it is done")
    b.ours(conf(2, 105, version, advert))  # second: never master before, however the two started
    wait_until(lambda: '"state":"BACKUP"' in b.text(), "the other node has started")
    before, changes = len(b.text()), a.text().count('"state":"MASTER"')
    a.kill(signal.SIGUSR2)
    wait_until(lambda: "others of this node were master before" in a.text(), "the successor is master from its start")
    wait_until(lambda: a.text().count('"state":"MASTER"') > changes, "it says so")
    assert a.text().count('"state":"MASTER"') == changes + 1
    wait_until(lambda: a.daemon.poll() is not None, "the predecessor has ended")
    successors = a.gateways()
    try:
        wait_until(lambda: w.ask() == 1, "it answers")
        time.sleep(4)  # longer than the other one's patience, and than the lease
        assert w.owners() == [1] and "MASTER" not in b.text()[before:], b.text()[before:]
    finally:
        for p in successors:
            os.kill(p, signal.SIGTERM)
        wait_until(lambda: not a.gateways(), "the end")
    assert '"state":"BACKUP"' not in a.text().split("others of this node were master before")[1]


def test_bad_file_is_told(tmp_path):
    bad = tmp_path / "k.conf"
    bad.write_text("vrrp_instance A {\ninterface eth0\nfrobnicate 1\n}\n")
    done = subprocess.run([BINARY, "gateway", "--keepalived-conf", str(bad)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{bad}:3: error: frobnicate in vrrp_instance is not supported" in done.stderr


def test_objects(fresh):
    """A VirtualAddress is held by the one gateway there is, says so, and goes with its object."""
    sh("ip link add vipa type veth peer name vipb; ip link set vipa up; ip link set vipb up; ip addr add 10.78.0.1/24 dev vipa")
    try:
        fresh.roles = "apiserver,controllers,gateway"
        s = fresh.start()
        doc = {"apiVersion": "sampan.dev/v1alpha1", "kind": "VirtualAddress", "metadata": {"name": "entry"},
               "spec": {"addresses": ["10.78.0.16/24"], "interface": "vipa", "virtualRouterID": 7,
                        "nodes": [{"name": "node-1", "priority": 150}, {"name": "node-2", "priority": 150}]}}
        assert s.api("POST", PATH, doc)[0] == 201
        wait_until(lambda: "10.78.0.16/24" in sh("ip addr show vipa"), "the address is held")
        obj = wait_until(lambda: (lambda o: o.get("status", {}).get("owner") and o["status"].get("conditions") and o)(s.api("GET", PATH + "/entry")[1]),
                         "the owner is told")
        assert obj["status"]["owner"] == "node-1"
        assert obj["status"]["nodes"]["node-1"]["state"] == "MASTER"
        assert "same priority 150" in obj["status"]["conditions"][0]["message"]
        s.api("POST", "/api/v1/namespaces/default/services", {"apiVersion": "v1", "kind": "Service",
              "metadata": {"name": "web", "annotations": {"sampan.dev/virtual-address": "entry"}},
              "spec": {"type": "LoadBalancer", "ports": [{"port": 8123}], "selector": {"app": "none"}}})
        wait_until(lambda: s.get("service", "web").get("status", {}).get("loadBalancer", {}).get("ingress", [{}])[0].get("ip") == "10.78.0.16",
                   "the service tells the virtual address")
        sh("ip link set vipb down")
        wait_until(lambda: s.api("GET", PATH + "/entry")[1]["status"]["nodes"]["node-1"]["state"] == "FAULT", "the fault is told")
        wait_until(lambda: "10.78.0.16/24" not in sh("ip addr show vipa"), "the address is gone")
        sh("ip link set vipb up")
        wait_until(lambda: "10.78.0.16/24" in sh("ip addr show vipa"), "the address is back")
        assert s.api("DELETE", PATH + "/entry")[0] == 200
        wait_until(lambda: "10.78.0.16/24" not in sh("ip addr show vipa"), "the address goes with its object")
    finally:
        sh("ip link del vipa")


def test_one_gateway_writes_for_all(fresh, tmp_path):
    """Three gateways tell one status with the addresses of all that live, and do not overwrite each other."""
    fresh.roles = "apiserver,controllers"
    s = fresh.start()
    running, names = {}, {n: f"192.0.2.{n}" for n in (1, 2, 3)}

    def start(n):
        out = open(tmp_path / f"gateway{n}.log", "a")
        running[n] = subprocess.Popen([BINARY, "gateway", "--kubeconfig", s.kubeconfig, "--http-port", "0", "--https-port", "0", "--bind", f"127.0.0.{n + 1}",
                                       "--node-address", names[n], "--node-name", f"node-{n}", "--cluster-ips", "off", "--grace", "0s"], stdout=out, stderr=out)
    s.api("POST", "/api/v1/namespaces/default/services", {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
          "spec": {"type": "LoadBalancer", "ports": [{"port": 8124}], "selector": {"app": "none"}}})

    def told():
        return [i["ip"] for i in s.get("service", "web").get("status", {}).get("loadBalancer", {}).get("ingress", [])]
    try:
        for n in (2, 3, 1):  # the last one to come is the one that writes
            start(n)
            wait_until(lambda: set(told()) == {names[i] for i in running}, f"gateway {n} is told, not {told()}")
        wait_until(lambda: told() == [names[1], names[2], names[3]], "in one order")
        before = s.get("service", "web")["metadata"]["resourceVersion"]
        time.sleep(6)  # longer than they renew what they hold
        assert s.get("service", "web")["metadata"]["resourceVersion"] == before, "nothing is written when nothing changes"
        running.pop(1).kill()  # the writer: another one notices, and writes
        wait_until(lambda: told() == [names[2], names[3]], f"the dead one is gone from {told()}", 60)
    finally:
        for p in running.values():
            p.terminate()
        for p in running.values():
            p.wait(PATIENCE)


@pytest.mark.skipif(not os.environ.get("VIP_LONG"), reason="VIP_LONG=1 runs it")
def test_random_schedule(net):
    """Faults at random on three real nodes; when they are over, one owner, and the client asks that one."""
    seed = int(os.environ.get("VIP_SEED", time.time()))
    dice = random.Random(seed)
    w = net(3)
    for n, priority in zip(w.nodes, (110, 100, 90)):
        n.ours(conf(n.number, priority))
    w.answers(1)
    for _ in range(40):
        n = dice.choice(w.nodes)
        act = dice.randrange(4)
        if act == 0:
            n.link(False)
        elif act == 1:
            n.link(True)
        elif act == 2 and n.daemon.poll() is None:
            n.kill(dice.choice((signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)))
        elif n.daemon.poll() is not None:
            n.ours()
        time.sleep(dice.random())
    for n in w.nodes:
        n.link(True)
        if n.daemon.poll() is not None:
            n.ours()
        n.kill(signal.SIGCONT)
    w.answers(1), seed
