"""What test_gw_vip.py leaves: who may take the address back and when, a script that takes away, what is announced on the wire,
IPv6 beside real keepalived."""
import collections
import os
import signal
import socket
import threading
import time

import pytest

from conftest import IS_ROOT, PATIENCE, wait_until
from test_gw_vip import VIP, conf, needs_keepalived, net, sh  # noqa: F401

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="namespaces need root")
V6 = "fe80::16"


def conf6(number, priority):
    return (f"vrrp_instance VI_6 {{\nstate BACKUP\ninterface eth0\nvirtual_router_id 52\npriority {priority}\nversion 3\nadvert_int 0.1\n"
            f"virtual_ipaddress {{\n{V6}/64\n}}\n}}\n")


class Wire:
    """Everything on the bridge: adverts by who sent them, announcements of the address by the hardware address they tell."""

    def __init__(self, bridge):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((bridge, 0))
        self.adverts, self.arps, self.neighbours = collections.Counter(), collections.Counter(), collections.Counter()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        vip, v6 = socket.inet_aton(VIP), socket.inet_pton(socket.AF_INET6, V6)
        while True:
            try:
                frame = self.socket.recv(2048)
            except OSError:
                return
            kind, source = frame[12:14], frame[6:12].hex(":")
            if kind == b"\x08\x00" and frame[23] == 112:
                self.adverts[socket.inet_ntoa(frame[26:30])] += 1
            elif kind == b"\x08\x06" and frame[28:32] == vip and frame[38:42] == vip:
                self.arps[source] += 1
            elif kind == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136 and frame[62:78] == v6:
                self.neighbours[source] += 1


def hardware(node):
    return sh(f"ip netns exec {node.name} cat /sys/class/net/eth0/address").strip()


CALM = 0.5  # seconds between adverts where nobody may be taken for dead because the machine is busy


def stays(w, wire, number, adverts=6):
    """It owns the address while it sends so many adverts more: three would be enough for who preempts."""
    begin = wire.adverts[f"10.77.0.1{number}"]
    while wire.adverts[f"10.77.0.1{number}"] < begin + adverts:
        assert w.owners() == [number]
        time.sleep(0.05)


def test_who_comes_back_does_not_preempt(net):
    w = net(2)
    wire = Wire(w.bridge)
    a, b = w.nodes
    a.ours(conf(1, 110, advert=CALM, more="nopreempt\n"))
    b.ours(conf(2, 100, advert=CALM))
    w.answers(1)
    a.kill()
    w.answers(2)
    a.ours()
    wait_until(lambda: a.text().count('"state":"BACKUP"') >= 2, "it is there again")
    stays(w, wire, 2)
    b.stop()
    w.answers(1)


def test_who_comes_back_waits(net):
    """preempt_delay counts from the start; until then the lower priority keeps the address."""
    w = net(2)
    a, b = w.nodes
    b.ours(conf(2, 100))
    w.answers(2)
    begin = time.monotonic()
    a.ours(conf(1, 110, more="preempt_delay 3\n"))
    w.answers(1)
    assert time.monotonic() - begin >= 2.9


def stop_keepalived(node):
    """Behind unshare."""
    os.kill(node.real_pid(), signal.SIGTERM)
    node.daemon.wait(PATIENCE)


def test_a_script_that_is_not_there_does_not_count(net):
    """As with keepalived, which disables it: else nobody would hold the address where all nodes have the same file."""
    w = net(1)
    w.nodes[0].ours(conf(1, 110, script="killallx -0 haproxy"))
    w.answers(1)
    assert "a check script is not there and does not count" in w.nodes[0].text()


@needs_keepalived
def test_a_strict_file_has_no_password(net):
    """The sample that keepalived comes with says both; keepalived ignores the password, and so must who stands beside it."""
    w = net(2)
    a, b = w.nodes
    a.ours(conf(1, 110, version=2, advert=1, head="vrrp_strict\n"))
    w.answers(1)
    b.keepalived(conf(2, 100, version=2, advert=1, head="vrrp_strict\n"))
    wait_until(lambda: "Entering BACKUP STATE" in b.text(), "keepalived hears ours")
    time.sleep(5)  # longer than it would wait for a master
    assert w.owners() == [1] and "Entering MASTER STATE" not in b.text()
    assert "vrrp_strict knows no authentication" in a.text()


@needs_keepalived
def test_neither_preempts_beside_keepalived(net):
    w = net(2)
    wire = Wire(w.bridge)
    a, b = w.nodes
    b.keepalived(conf(2, 100, advert=CALM))
    w.answers(2)
    a.ours(conf(1, 110, advert=CALM, more="nopreempt\n"))
    stays(w, wire, 2)
    stop_keepalived(b)
    w.answers(1)
    b.keepalived(conf(2, 120, advert=CALM, more="nopreempt\n"))
    wait_until(lambda: b.text().count("Entering BACKUP STATE") >= 2, "keepalived waits")
    stays(w, wire, 1)


def test_a_script_takes_away(net, tmp_path):
    """A negative weight counts while the script fails, after fall failures; it comes back after rise passes."""
    w = net(2)
    well = tmp_path / "well"
    well.touch()
    text = conf(1, 110, more="track_script {\nchk\n}\n")
    script = f'vrrp_script chk {{\nscript "/bin/sh -c \'test -e {well}\'"\ninterval 0.2\nweight -20\nfall 2\nrise 2\n}}\n'
    a, b = w.nodes
    a.ours(text.replace("vrrp_instance", script + "vrrp_instance", 1))
    b.ours(conf(2, 100))
    w.answers(1)
    well.unlink()
    w.answers(2)
    assert '"from":110,"to":90' in a.text()
    well.touch()
    w.answers(1)


def test_the_address_is_announced(net):
    """At once, a few times, and again and again; by the owner only."""
    w = net(2)
    wire = Wire(w.bridge)
    both = lambda number, priority: conf(number, priority, head="vrrp_garp_master_refresh 1\n") + conf6(number, priority)
    a, b = w.nodes
    a.ours(both(1, 110))
    b.ours(both(2, 100))
    w.answers(1)
    first, second = hardware(a), hardware(b)
    wait_until(lambda: wire.arps[first] >= 8 and wire.neighbours[first] >= 8, "announcements, and the refresh")
    quiet = wire.arps[second], wire.neighbours[second]
    a.kill()
    w.answers(2)
    wait_until(lambda: wire.arps[second] > quiet[0] + 2 and wire.neighbours[second] > quiet[1] + 2, "those of the next one")


@needs_keepalived
def test_ipv6_beside_keepalived(net):
    w = net(2)
    a, b = w.nodes
    owners = lambda want: wait_until(lambda: w.owners(V6) == want, f"{want} owns it")
    a.ours(conf6(1, 110))
    b.keepalived(conf6(2, 100))
    owners([1])
    wait_until(lambda: "Entering BACKUP STATE" in b.text(), "keepalived hears ours")
    assert a.stop() == 0
    owners([2])
    a.ours()
    owners([1])
    stop_keepalived(b)
    b.keepalived(conf6(2, 120))
    owners([2])
    wait_until(lambda: '"state":"BACKUP"' in a.text().rsplit('"state":"MASTER"', 1)[1], "ours hears keepalived")
    stop_keepalived(b)
    owners([1])


class Second:
    """A second interface, eth1, for the nodes, with a bridge of its own."""

    def __init__(self, w):
        self.bridge, self.ports = f"{w.prefix}d", {}
        sh(f"ip link add {self.bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0; ip link set {self.bridge} up")
        for n in w.nodes:
            port = self.ports[n.number] = f"{w.prefix}q{n.number}"
            sh(f"ip link add {port} type veth peer name eth1 netns {n.name}; ip link set {port} master {self.bridge} up;"
               f"ip -n {n.name} link set eth1 up; ip -n {n.name} addr add 10.78.0.1{n.number}/24 dev eth1")

    def link(self, number, up):
        sh(f"ip link set {self.ports[number]} {'up' if up else 'down'}")

    def end(self):
        sh(f"ip link del {self.bridge}", check=False)


SECOND_VIP = "10.78.0.16"


def grouped(number, priority, script, advert):
    """Two routers on two interfaces, one group; every notify word tells its name and what it is given."""
    words = "".join(f'{w} "{script} {{}} {w}"\n' for w in ("notify_master", "notify_backup", "notify_fault", "notify_stop", "notify"))
    second = (f"vrrp_instance VI_2 {{\nstate BACKUP\ninterface eth1\nvirtual_router_id 52\npriority {priority}\nversion 3\nadvert_int {advert}\n"
              f"{words.replace('{}', 'VI_2')}virtual_ipaddress {{\n{SECOND_VIP}/24\n}}\n}}\n"
              f"vrrp_sync_group G {{\ngroup {{\nVI_1\nVI_2\n}}\n{words.replace('{}', 'G')}}}\n")
    return conf(number, priority, advert=advert, more=words.replace("{}", "VI_1")) + second


@needs_keepalived
def test_a_group_moves_as_one_and_tells_it_as_keepalived_does(net, tmp_path):
    """One link of two goes: both addresses move. Ours and keepalived call the same programs with the same words."""
    told = {}
    for kind in ("ours", "keepalived"):
        w = net(2)
        second = Second(w)
        a, b = w.nodes
        seen = tmp_path / kind
        script = tmp_path / f"{kind}.sh"
        script.write_text(f'#!/bin/sh\necho "$@" >> {seen}\n')
        script.chmod(0o755)
        seen.touch()
        try:
            getattr(a, kind)(grouped(1, 110, script, 0.2))
            b.ours(grouped(2, 100, "/bin/true", 0.2))

            def stop():
                os.kill(a.daemon.pid if kind == "ours" else a.real_pid(), signal.SIGTERM)
            for number, act in [(1, None), (2, lambda: second.link(1, False)), (1, lambda: second.link(1, True)), (2, stop)]:
                if act:
                    act()
                w.answers(number)
                wait_until(lambda: w.owners(SECOND_VIP) == [number], f"{kind}: the second address is at {number}")
            wait_until(lambda: all(seen.read_text().count(w) >= 3 for w in ("notify_stop", "STOP")), f"{kind}: the end")
            told[kind] = set(seen.read_text().splitlines())
        finally:
            second.end()
            w.end()
    assert {"G notify GROUP G MASTER 0", "VI_2 notify INSTANCE VI_2 FAULT 110", "VI_1 notify_stop"} <= told["ours"]
    assert told["ours"] == told["keepalived"]


def test_a_wrong_password_is_not_heard(net):
    """Both are master, as if the other were not there; with the right one the lower gives way."""
    w = net(2)
    a, b = w.nodes
    a.ours(conf(1, 110, version=2, advert=1))
    w.answers(1)
    b.ours(conf(2, 100, version=2, advert=1).replace("auth_pass password", "auth_pass otherone"))
    wait_until(lambda: w.owners() == [1, 2], "neither hears the other")
    wait_until(lambda: "another password" in b.text() or "authentication" in b.text(), "it is told")
    b.write(conf(2, 100, version=2, advert=1))
    b.daemon.send_signal(signal.SIGHUP)
    w.answers(1)
