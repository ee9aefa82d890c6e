"""Three machines as network namespaces on a bridge, each with etcd, an API server, controllers and a gateway (and an
agent, in the long form); one virtual address in front of the API servers; and what can befall them.

Faults are declared: `World.active` says which hold now, and `World.settle` brings every process, link and filter to
what they together ask for. So faults may overlap and end in any order. The clients live where the tests run.
"""
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import time

from conftest import BINARY, wait_until

VIP, PORT = "10.78.0.16", 16443
API_PORT, ETCD_PORT, PEER_PORT = 6443, 2379, 2380
ROLES = ("etcd", "api", "controllers", "gateway", "agent")
# A role that may end by itself: a leader that lost its Lease, or has no API server to ask.
ENDS_ITSELF = {"controllers"}


def sh(line, check=True):
    return subprocess.run(line, shell=True, check=check, capture_output=True, text=True).stdout


def address(number):
    return f"10.78.0.1{number}"


@dataclasses.dataclass(frozen=True)
class Fault:
    what: str          # kill, freeze, power, cut, split, apart, blind, slow
    machine: int
    role: str = ""     # kill, freeze: of this role; "" = the whole machine
    other: int = 0     # apart: from this one

    def __str__(self):
        return f"{self.what}{' ' + self.role if self.role else ''} {self.machine}{f' from {self.other}' if self.other else ''}"


class Process:
    """One role on one machine; started again where it was killed."""

    def __init__(self, machine, role, argv):
        self.machine, self.role = machine, role
        # Not by `ip netns exec`: that hides the cgroups from an agent, as it mounts another /sys.
        self.argv = ["nsenter", f"--net=/run/netns/{machine.name}", *(str(a) for a in argv)]
        self.log = machine.world.dir / f"{role}-{machine.number}.log"
        self.process, self.frozen, self.starts, self.surprises = None, False, 0, []

    def start(self):
        out = open(self.log, "a")
        self.process = subprocess.Popen(self.argv, stdout=out, stderr=out, env={**os.environ, "SAMPAN_LOG": "json"})
        self.frozen = False
        self.starts += 1

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.alive():
            self.process.kill()
            self.process.wait()
        self.process = None

    def settle(self, dead, frozen):
        if dead:
            self.kill()
            return
        if self.process is not None and self.process.poll() is not None:
            if not (self.role in ENDS_ITSELF and self.process.returncode == 1):
                self.surprises.append(f"{self.role} {self.machine.number} ended with {self.process.returncode}: {self.log.read_text()[-3000:]}")
            self.process = None
        if self.process is None:
            self.start()
        if frozen != self.frozen:
            self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
            self.frozen = frozen

    def stop(self):
        """Its exit status; 0 where it is not there."""
        if not self.alive():
            self.process = None
            return 0
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "hangs"


class Machine:
    def __init__(self, world, number):
        self.world, self.number, self.address = world, number, address(number)
        self.name, self.port = f"{world.prefix}m{number}", f"{world.prefix}p{number}"
        self.dir = world.dir / str(number)
        self.dir.mkdir()
        self.processes, self.rules, self.away, self.up, self.slow = {}, None, False, True, False
        sh(f"ip netns add {self.name}; ip link add {self.port} type veth peer name eth0 netns {self.name};"
           f"ip link set {self.port} master {world.bridge} up; ip -n {self.name} link set lo up;"
           f"ip -n {self.name} link set eth0 up; ip -n {self.name} addr add {self.address}/24 dev eth0;"
           f"ip netns exec {self.name} sysctl -qw net.ipv4.ip_nonlocal_bind=1")
        self.make_certificate()

    def make_certificate(self):
        w, pem = self.world.dir, self.dir / "api"
        sh(f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=api-{self.number} -keyout {pem}.key -out {pem}.csr;"
           f"printf 'subjectAltName=IP:{self.address},IP:{VIP},IP:127.0.0.1\\n' > {pem}.ext;"
           f"openssl x509 -req -in {pem}.csr -CA {w}/ca.crt -CAkey {w}/ca.key -CAcreateserial -days 2 -extfile {pem}.ext -out {pem}.crt")

    def near(self, numbers=(1, 2, 3)):
        """The machines, this one first."""
        return sorted(numbers, key=lambda n: (n != self.number, n))

    def make_roles(self, roles):
        for role in roles:
            self.processes[role] = getattr(self, f"make_{role}")()

    def make_etcd(self):
        client, peer = f"http://{self.address}:{ETCD_PORT}", f"http://{self.address}:{PEER_PORT}"
        cluster = ",".join(f"m{n}=http://{address(n)}:{PEER_PORT}" for n in (1, 2, 3))
        return Process(self, "etcd", ["etcd", "--name", f"m{self.number}", "--data-dir", self.dir / "etcd", "--listen-client-urls", client,
                                      "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                                      "--initial-cluster", cluster, "--log-level", "warn", "--logger", "zap"])

    def make_api(self):
        return Process(self, "api", [BINARY, "apiserver", "--bind-address", "0.0.0.0", "--advertise-address", self.address, "--port", API_PORT,
                                     "--tls-cert-file", self.dir / "api.crt", "--tls-private-key-file", self.dir / "api.key",
                                     "--client-ca-file", self.world.dir / "ca.crt", "--token-auth-file", self.world.dir / "tokens",
                                     "--etcd-servers", ",".join(f"http://{address(n)}:{ETCD_PORT}" for n in self.near())])

    def kubeconfig(self):
        path = self.dir / "kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": ",".join(f"https://{address(n)}:{API_PORT}" for n in self.near()),
                                                   "certificate-authority": str(self.world.dir / "ca.crt")}}],
            "users": [{"name": "u", "user": {"token": "tok"}}]}))
        return path

    def make_controllers(self):
        return Process(self, "controllers", [BINARY, "controllers", "--kubeconfig", self.kubeconfig(), "--leader-elect", "--leader-elect-lease-duration",
                                             "4s", "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "500ms"])

    def make_gateway(self):
        """A proxy before the three API servers, which takes out those that are not ready, and the address."""
        servers = "".join(f"  server api-{n} {address(n)}:{API_PORT} check check-ssl verify none inter 500ms fall 2 rise 1\n" for n in (1, 2, 3))
        (self.dir / "haproxy.cfg").write_text(
            "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  timeout check 1s\n  retries 3\n  option redispatch\n"
            f"frontend api\n  bind *:{PORT}\n  default_backend servers\n"
            f"backend servers\n  balance roundrobin\n  option httpchk GET /readyz\n  default-server on-marked-down shutdown-sessions\n{servers}")
        (self.dir / "keepalived.conf").write_text(
            f"vrrp_instance api {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 61\n  version 3\n  advert_int 0.1\n"
            f"  priority {120 - 10 * self.number}\n  virtual_ipaddress {{\n    {VIP}/24\n  }}\n}}\n")
        return Process(self, "gateway", [BINARY, "gateway", "--haproxy-cfg", self.dir / "haproxy.cfg", "--keepalived-conf",
                                         self.dir / "keepalived.conf", "--grace", "1s"])

    def make_agent(self):
        """Its containers outlive it, as they do on a machine whose agent dies."""
        self.run_agent_command("image", "import", "--data-dir", self.dir / "agent", self.world.image)
        return Process(self, "agent", [BINARY, "agent", "--kubeconfig", self.kubeconfig(), "--node-name", f"m{self.number}", "--node-ip", self.address,
                                       "--data-dir", self.dir / "agent", "--pod-cidr", f"10.{140 + self.number}.0.0/16", "--bridge", "chaos0",
                                       "--tls-cert-file", self.dir / "api.crt", "--tls-private-key-file", self.dir / "api.key",
                                       "--client-ca-file", self.world.dir / "ca.crt"])

    def run_agent_command(self, *words, check=True):
        subprocess.run(["nsenter", f"--net=/run/netns/{self.name}", BINARY, *map(str, words)], check=check, capture_output=True)

    # --- what befalls it ---
    def set_link(self, up):
        if up != self.up:
            sh(f"ip link set {self.port} {'up' if up else 'down'}")
            self.up = up

    def set_away(self, away):
        if away != self.away:
            sh(f"ip link set {self.port} master {self.world.elsewhere if away else self.world.bridge}")
            self.away = away

    def filter(self, rules):
        """Packets that are lost; what is under way is lost with them."""
        if rules == self.rules:
            return
        text = "table inet chaos\ndelete table inet chaos\n"
        if rules:
            lines = {c: "".join(f"{r}\n" for chain, r in rules if chain == c) for c in ("input", "output")}
            text += "table inet chaos {\n" + "".join(
                f"chain {c} {{ type filter hook {c} priority 0;\n{lines[c]}}}\n" for c in lines) + "}\n"
        subprocess.run(["ip", "netns", "exec", self.name, "nft", "-f", "-"], input=text, text=True, check=True)
        self.rules = rules

    def set_slow(self, slow):
        """Late and lossy by netem where the kernel has it, else a thin line that loses packets."""
        if slow == self.slow:
            return
        tc = f"ip netns exec {self.name} tc qdisc"
        if not slow:
            sh(f"{tc} del dev eth0 root", check=False)
        elif subprocess.run(f"{tc} add dev eth0 root netem delay 60ms 30ms loss 3%", shell=True, capture_output=True).returncode:
            sh(f"{tc} add dev eth0 root tbf rate 2mbit burst 16k latency 400ms", check=False)
        self.slow = slow

    def settle(self, active):
        mine = [f for f in active if f.machine == self.number]
        what = {f.what for f in mine}
        self.set_link(not what & {"cut", "power"})
        self.set_away("split" in what)
        rules = [("input", f"ip saddr {address(f.other)} drop") for f in mine if f.what == "apart"]
        rules += [("input", f"ip saddr {address(f.machine)} drop") for f in active if f.what == "apart" and f.other == self.number]
        rules += [("output", f"tcp dport {ETCD_PORT} drop")] if "blind" in what else []
        rules += [("input", "numgen random mod 100 < 8 drop")] if "slow" in what else []
        self.filter(rules)
        self.set_slow("slow" in what)
        for role, p in self.processes.items():
            about = {f.what for f in mine if f.role in ("", role)}
            p.settle(bool(about & {"kill", "power"}), "freeze" in about)

    def has_address(self):
        return f" {VIP}/" in sh(f"ip -n {self.name} addr show dev eth0", check=False)

    def end(self):
        if "agent" in self.processes:
            self.run_agent_command("agent", "--cleanup", "--data-dir", self.dir / "agent", check=False)
        sh(f"ip link del {self.port}; ip netns del {self.name}", check=False)


class World:
    def __init__(self, directory, roles, image=None):
        self.image = image
        self.dir, self.prefix = pathlib.Path(directory), f"c{os.getpid() % 100000}"
        self.bridge, self.elsewhere = f"{self.prefix}b", f"{self.prefix}c"
        for b in (self.bridge, self.elsewhere):
            sh(f"ip link add {b} type bridge stp_state 0 forward_delay 0 mcast_snooping 0; ip link set {b} up")
        sh(f"ip addr add 10.78.0.100/24 dev {self.bridge};"
           f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=chaos-ca -keyout {self.dir}/ca.key -out {self.dir}/ca.crt")
        (self.dir / "tokens").write_text('tok,admin,1,"system:masters"\n')
        self.machines = [Machine(self, n) for n in (1, 2, 3)]
        self.active, self.marks, self.began = [], [], time.monotonic()
        for m in self.machines:
            m.make_roles(roles)

    def processes(self):
        return [p for m in self.machines for p in m.processes.values()]

    def settle(self):
        for m in self.machines:
            m.settle(self.active)

    def start(self):
        """etcd first: an API server waits ten seconds for it, and a slow machine may need them."""
        for m in self.machines:
            m.processes["etcd"].start()
        wait_until(lambda: "true" in sh(f"curl -s -m 1 http://{address(1)}:{ETCD_PORT}/health", check=False), "etcd")
        self.settle()

    def mark(self, text):
        self.marks.append((time.monotonic(), text))
        if os.environ.get("SAMPAN_CHAOS_LONG"):
            print(f"{time.monotonic() - self.began:7.2f} s  {text}", flush=True)

    def begin(self, fault):
        self.mark(f"{fault}")
        self.active.append(fault)
        self.settle()

    def over(self, fault):
        self.mark(f"{fault} is over")
        self.active.remove(fault)
        self.settle()

    def owners(self):
        return [m.number for m in self.machines if m.has_address()]

    def surprises(self):
        """Processes that ended by themselves, or were found wrong by a sanitizer."""
        found = [s for p in self.processes() for s in p.surprises]
        for p in self.processes():
            text = p.log.read_text(errors="replace") if p.log.exists() else ""
            for word in ("AddressSanitizer", "runtime error:", "LeakSanitizer"):
                if word in text:
                    found.append(f"{p.role} {p.machine.number}: {text[max(0, text.index(word) - 300):][:4000]}")
        return found

    def explain(self):
        """For the reader of a failure."""
        print("\n".join(f"{t - self.began:8.2f} s  {m}" for t, m in self.marks))
        for p in self.processes():
            text = p.log.read_text(errors="replace") if p.log.exists() else ""
            print(f"== end of {p.log.name} ({p.starts} starts)\n{text[-2500:]}")

    def stop(self):
        """What did not end well."""
        bad = []
        for role in reversed(ROLES):
            for m in self.machines:
                p = m.processes.get(role)
                code = p.stop() if p else 0
                if code and role != "etcd":
                    bad.append(f"{role} {m.number} ended with {code}: {p.log.read_text(errors='replace')[-3000:]}")
        return bad

    def end(self):
        for p in self.processes():
            p.kill()
        for m in self.machines:
            m.end()
        sh(f"ip link del {self.bridge}; ip link del {self.elsewhere}", check=False)


# --- the schedule ---

# Agents only in the long form, where they are.
AGENTS = [("kill", "agent"), ("freeze", "agent")]
DECK = [("kill", "etcd"), ("kill", "api"), ("kill", "gateway"), ("kill", "controllers"), ("freeze", "etcd"), ("freeze", "api"),
        ("freeze", "gateway"), ("freeze", "controllers"), ("freeze", ""), ("power", ""), ("cut", ""), ("split", ""), ("apart", ""),
        ("blind", ""), ("slow", "")]


def draw(dice, card):
    what, role = card
    machine = dice.randint(1, 3)
    other = dice.choice([n for n in (1, 2, 3) if n != machine]) if what == "apart" else 0
    return Fault(what, machine, role, other)


def schedule(dice, cards_of, count, last, gap, overlap):
    """(when it begins, when it ends, the fault), of so many cards of one shuffled deck after another; each lasts and is
    followed as long as the ranges say. overlap: the next may begin before it is over."""
    deck, now, list_ = [], 0.0, []
    for _ in range(count):
        if not deck:
            deck = dice.sample(cards_of, len(cards_of))
        fault, lasts = draw(dice, deck.pop()), dice.uniform(*last)
        list_.append((now, now + lasts, fault))
        now += (dice.uniform(0, lasts) if dice.random() < overlap else lasts) + dice.uniform(*gap)
    return list_


def play(world, list_):
    begun = time.monotonic()
    acts = sorted([(b, 0, n) for n, (b, _, _) in enumerate(list_)] + [(e, 1, n) for n, (_, e, _) in enumerate(list_)])
    for at, ends, n in acts:
        time.sleep(max(0, begun + at - time.monotonic()))
        (world.over if ends else world.begin)(list_[n][2])
