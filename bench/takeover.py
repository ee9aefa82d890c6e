#!/usr/bin/env python3
"""How long a virtual address does not answer when its node, link or proxy goes.

    unshare --net bench/takeover.py [--runs 3] [--only ours,keepalived,fast] [--events stop,kill,link,freeze]

Three nodes are namespaces on one bridge, each with a server on port 6443 and a proxy on port 16443 that balances
over the three servers. The client asks the virtual address every 10 ms (connect, one request, one answer; 0.9 s of
patience, less than TCP waits before it tries again). Three systems: `ours` is `sampan gateway` with the article's keepalived.conf and haproxy.cfg;
`keepalived` is haproxy beside keepalived with the same files; `fast` is ours with version 3 and 100 ms.

Needs root; keepalived and haproxy for the comparison. SAMPAN names the binary.
"""
import argparse
import concurrent.futures
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
BINARY = os.environ.get("SAMPAN") or str(TOP / "build" / "sampan")
VIP, PORT, PATIENCE = "10.77.0.16", 16443, 0.9
OURS = f"tk{os.getpid() % 10000}"  # names of namespaces and links: several may run at a time

SERVER = """
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 6443)); s.listen(256)
def serve(c):  # beside each other: a client that was lost on its way must not hold the others up
    try:
        if c.recv(100): c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nok")
    except OSError: pass
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
HAPROXY = """global
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend api
  bind *:16443
  default_backend apis
backend apis
  balance roundrobin
""" + "".join(f"  server s{n} 10.77.0.1{n}:6443 check inter 2000 fall 2 rise 2\n" for n in (1, 2, 3))


def keepalived_conf(number, fast, check):
    others = "".join(f"    10.77.0.1{n}\n" for n in (1, 2, 3) if n != number)
    speed = "  version 3\n  advert_int 0.1\n" if fast else "  advert_int 1\n  authentication {\n    auth_type PASS\n    auth_pass password\n  }\n"
    priority = {1: 100, 2: 90, 3: 89 if fast else 90}[number]
    return (f"global_defs {{\n  script_user root\n  enable_script_security\n}}\n"
            f"vrrp_script chk {{\n  script \"{check}\"\n  interval 2\n  weight 11\n}}\n"
            f"vrrp_instance VI_1 {{\n  state {'MASTER' if number == 1 else 'BACKUP'}\n  interface eth0\n  virtual_router_id 51\n"
            f"  priority {priority}\n{speed}  unicast_src_ip 10.77.0.1{number}\n  unicast_peer {{\n{others}  }}\n"
            f"  virtual_ipaddress {{\n    {VIP}/24\n  }}\n  track_script {{\n    chk\n  }}\n}}\n")


def sh(line, check=True):
    return subprocess.run(line, shell=True, check=check, capture_output=True, text=True).stdout


class Node:
    def __init__(self, number, directory):
        self.number, self.name, self.port, self.dir = number, f"{OURS}n{number}", f"{OURS}p{number}", directory
        sh(f"ip netns add {self.name}; ip link add {self.port} type veth peer name eth0 netns {self.name};"
           f"ip link set {self.port} master {OURS}b up; ip -n {self.name} link set lo up; ip -n {self.name} link set eth0 up;"
           f"ip -n {self.name} addr add 10.77.0.1{number}/24 dev eth0; ip netns exec {self.name} sysctl -qw net.ipv4.ip_nonlocal_bind=1")
        self.all = []
        self.spawn("python3", "-c", SERVER)

    def spawn(self, *argv):
        log = open(self.dir / f"{self.name}.log", "a")
        p = subprocess.Popen(["ip", "netns", "exec", self.name, *argv], stdout=log, stderr=log)
        self.all.append(p)
        return p

    def start(self, system):
        conf, proxy = self.dir / f"{self.name}.conf", self.dir / "haproxy.cfg"
        proxy.write_text(HAPROXY)
        check = f"/bin/bash -c 'if [[ $(ss -Hltn | grep :{PORT}) ]]; then exit 0; else exit 1; fi'"
        conf.write_text(keepalived_conf(self.number, system == "fast", check))
        if system != "keepalived":
            self.main = self.vrrp = self.spawn(BINARY, "gateway", "--haproxy-cfg", str(proxy), "--keepalived-conf", str(conf))
            return
        self.main = self.spawn("haproxy", "-db", "-f", str(proxy))
        self.vrrp = self.spawn("unshare", "-m", "sh", "-c", f"mount -t tmpfs none /run; exec keepalived -n -l -f {conf}")

    def has_vip(self):
        return f" {VIP}/" in sh(f"ip -n {self.name} addr show dev eth0", check=False)

    def end(self):
        for p in reversed(self.all):
            p.send_signal(signal.SIGCONT)
            p.terminate()
        for p in self.all:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        sh(f"ip link del {self.port}; ip netns del {self.name}", check=False)


def ask():
    """When it began and when it was answered (None: it was not)."""
    begin = time.monotonic()
    try:
        with socket.create_connection((VIP, PORT), timeout=PATIENCE) as c:
            c.settimeout(max(0.01, begin + PATIENCE - time.monotonic()))
            c.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return begin, time.monotonic() if c.recv(100).endswith(b"ok") else None
    except OSError:
        return begin, None


def probe(seconds):
    """Starts an asking every 10 ms; what each says."""
    with concurrent.futures.ThreadPoolExecutor(160) as pool:
        first, asked = time.monotonic(), []
        for i in range(int(seconds * 100)):
            time.sleep(max(0, first + i / 100 - time.monotonic()))
            asked.append(pool.submit(ask))
        return [a.result() for a in asked]


def happen(event, node):
    if event == "stop":
        node.vrrp.terminate()
    elif event == "kill":
        node.main.kill()
    elif event == "freeze":
        node.vrrp.send_signal(signal.SIGSTOP)
    elif event == "link":
        sh(f"ip link set {node.port} down")


def one_run(system, event, seconds):
    with tempfile.TemporaryDirectory() as directory:
        sh(f"ip link add {OURS}b type bridge stp_state 0 forward_delay 0; ip link set {OURS}b up; ip addr add 10.77.0.100/24 dev {OURS}b")
        nodes = [Node(n, pathlib.Path(directory)) for n in (1, 2, 3)]
        try:
            for n in nodes:
                n.start(system)
            end, well = time.monotonic() + 60, 0
            while well < 20:  # 4 s without a change: checks have answered, priorities are what they will be
                well = well + 1 if nodes[0].has_vip() and ask()[1] else 0
                if time.monotonic() > end:
                    raise SystemExit(f"{system}: not up\n" + "".join(p.read_text() for p in pathlib.Path(directory).glob("*.log")))
                time.sleep(0.2)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                answers = pool.submit(probe, seconds)
                time.sleep(1)
                at = time.monotonic()
                happen(event, nodes[0])
                answers = answers.result()
            kept = nodes[0].has_vip()
        finally:
            for n in nodes:
                n.end()
            sh(f"ip link del {OURS}b", check=False)
    lost = [begin - at for begin, done in answers if done is None]
    again = min((done - at for begin, done in answers if done and lost and begin - at > lost[0]), default=0.0)
    return again, len(lost), max(lost, default=0.0), kept


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--only", default="ours,fast,keepalived")
    p.add_argument("--events", default="stop,kill,link,freeze")
    p.add_argument("--seconds", type=float, default=11)
    a = p.parse_args()
    sh("ip link set lo up", check=False)
    print(f"{'system':12}{'event':8}{'answers again after, s':34}{'lost of ' + str(int(a.seconds * 100)):24}{'last loss, s':12} old owner keeps it", flush=True)
    for system in a.only.split(","):
        for event in a.events.split(","):
            runs = [one_run(system, event, a.seconds) for _ in range(a.runs)]
            times = [r[0] for r in runs]
            print(f"{system:12}{event:8}" + f"{' '.join(f'{t:.2f}' for t in times)}  median {statistics.median(times):.2f}".ljust(34)
                  + " ".join(str(r[1]) for r in runs).ljust(24) + f"{max(r[2] for r in runs):<12.2f} "
                  + ("yes" if any(r[3] for r in runs) else "no"), flush=True)


if __name__ == "__main__":
    main()
