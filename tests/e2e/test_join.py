"""sampan up --cluster-init and --join: three machines (network namespaces on a bridge) whose etcd Sampan runs."""
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest
import yaml

from conftest import BINARY, IS_ROOT, PATIENCE, wait_until
from test_gw_vip import sh

pytestmark = [pytest.mark.skipif(not IS_ROOT, reason="namespaces need root"), pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")]
CONFIGS = "/api/v1/namespaces/default/configmaps"


class Machine:
    def __init__(self, net, number):
        self.net, self.number, self.ip = net, number, f"10.79.0.{number}"
        self.ns, self.port, self.name = f"{net.prefix}m{number}", f"{net.prefix}p{number}", f"m{number}"
        self.dir, self.process, self.outputs = net.dir / self.name, None, 0
        sh(f"ip netns add {self.ns}; ip link add {self.port} type veth peer name eth0 netns {self.ns};"
           f"ip link set {self.port} master {net.bridge} up; ip -n {self.ns} link set lo up; ip -n {self.ns} link set eth0 up;"
           f"ip -n {self.ns} addr add {self.ip}/24 dev eth0")

    def args(self, *flags, directory=None, name=None, ip=None):
        return ["ip", "netns", "exec", self.ns, BINARY, "up", "--data-dir", str(directory or self.dir), "--node-name", name or self.name,
                "--node-ip", ip or self.ip, "--roles", "apiserver,controllers", *flags]

    def start(self, *flags, bare=False):
        """bare: with nothing but the data directory."""
        args = self.args(*flags)
        if bare:
            args = args[:8] + ["--roles", "apiserver,controllers"]
        self.outputs += 1
        self.output = self.net.dir / f"{self.name}-{self.outputs}.out"
        self.process = subprocess.Popen(args, stdout=open(self.output, "w"), stderr=subprocess.STDOUT)
        return self

    def says(self, text):
        return text in self.output.read_text()

    def is_ready(self):
        assert self.process.poll() is None, self.output.read_text() + self.log()[-2000:]
        return self.says("sampan is ready")

    def refused(self, *flags, **more):
        """What it says when it does not start."""
        with tempfile.TemporaryDirectory(dir=self.net.dir) as d:
            done = subprocess.run(self.args(*flags, directory=more.pop("directory", pathlib.Path(d) / "data"), **more), capture_output=True, text=True,
                                  timeout=PATIENCE)
            assert done.returncode == 1, done.stdout + done.stderr
            return done.stderr

    def pids(self):
        return [int(p) for p in sh(f"ip netns pids {self.ns}", check=False).split()]

    def etcd_pid(self):
        for p in self.pids():
            try:
                if pathlib.Path(f"/proc/{p}/comm").read_text().strip() == "etcd":
                    return p
            except OSError:  # it has ended meanwhile
                pass
        return None

    def crash(self):
        """kill -9, everything at once, as a power cut would."""
        for p in self.pids():
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(PATIENCE)
        wait_until(lambda: not self.pids(), "nothing runs there")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)

    def log(self, role="etcd"):
        path = self.dir / "logs" / f"{role}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def sampan(self, *args):
        done = subprocess.run([BINARY, *args], env={**os.environ, "KUBECONFIG": str(self.dir / "kubeconfig")}, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def members(self):
        code, out, err = self.sampan("cluster", "members", "-o", "json")
        assert code == 0, err
        return {m["name"] or m["id"]: m for m in json.loads(out)["members"]}

    def tls(self):
        config = yaml.safe_load((self.dir / "kubeconfig").read_text())
        user, ca = config["users"][0]["user"], base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=ca)
        with tempfile.NamedTemporaryFile("wb") as f:
            f.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            f.flush()
            context.load_cert_chain(f.name)
        return context

    def call(self, method, path, body=None, timeout=20):
        request = urllib.request.Request(f"https://{self.ip}:6443{path}", method=method, data=body and json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            answer = urllib.request.urlopen(request, context=self.tls(), timeout=timeout)
        except urllib.error.HTTPError as e:
            answer = e
        return answer.status, json.loads(answer.read())

    def write(self, name):
        return self.call("POST", CONFIGS, {"metadata": {"name": name}})[0]

    def names(self):
        return {o["metadata"]["name"] for o in self.call("GET", CONFIGS)[1]["items"]}

    def end(self):
        if self.process:
            self.crash()
        sh(f"ip link del {self.port}; ip netns del {self.ns}", check=False)


class Net:
    def __init__(self, directory):
        self.dir, self.prefix = directory, f"j{os.getpid() % 10000}"
        self.bridge = f"{self.prefix}b"
        sh(f"ip link add {self.bridge} type bridge stp_state 0 forward_delay 0; ip link set {self.bridge} up; ip addr add 10.79.0.254/24 dev {self.bridge}")
        self.machines = [Machine(self, n) for n in (1, 2, 3)]
        self.spare = Machine(self, 4)

    def end(self):
        for m in [*self.machines, self.spare]:
            m.end()
        sh(f"ip link del {self.bridge}", check=False)


def join_flags(machine):
    """As `sampan cluster token` prints them."""
    code, out, err = machine.sampan("cluster", "token")
    assert code == 0, err
    return re.search(r"sampan up (--join https://\S+ --token \S+)", out)[1].split()


def all_well(machine):
    """False also while its API server finds nobody who can answer."""
    code, out, _ = machine.sampan("cluster", "members", "-o", "json")
    members = {m["id"]: m for m in json.loads(out)["members"]} if code == 0 else {}
    return len(members) == 3 and all(m["healthy"] and not m["learner"] for m in members.values()) and sum(m["leader"] for m in members.values()) == 1


def degraded(machine):
    """What `sampan status` says of the whole, which is not well."""
    code, out, err = machine.sampan("status")
    assert code == 1 and out.startswith("DEGRADED"), out + err
    return out


def is_whole(machine):
    code, out, err = machine.sampan("status", "-o", "json")
    if not out:  # nobody answers there yet
        return None
    doc = json.loads(out)
    assert code == (0 if doc["healthy"] else 1) and doc["healthy"] == (not doc["troubles"]), out + err
    return doc if doc["healthy"] else None


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    net = Net(tmp_path_factory.mktemp("join"))
    try:
        one, two, three_ = net.machines
        one.start("--cluster-init")
        wait_until(one.is_ready, "the first machine")
        wait_until(lambda: one.says("sampan up --join"), "the command for the others")
        flags = re.search(r"sampan up (--join \S+ --token \S+)", one.output.read_text())[1].split()
        two.start(*flags)
        three_.start(*flags)  # at the same time: one waits for the other
        wait_until(lambda: two.is_ready() and three_.is_ready(), "the other two")
        yield net.machines
    finally:
        net.end()


@pytest.fixture
def machines(three, request):
    yield three
    if request.session.testsfailed:
        for m in three:
            request.node.add_report_section("call", f"etcd's log of {m.name}", m.log()[-3000:])


def test_they_came_as_learners_and_vote_now(machines):
    one, two, three = machines
    wait_until(lambda: all_well(three), "three members that vote")
    for m in (two, three):
        wait_until(lambda: "promoted: this member votes now" in m.log(), "it says that it votes")
        log = m.log()
        assert 0 < log.index("this member is a learner") < log.index("promoted: this member votes now")
    assert "this member is a learner" not in one.log()
    for n, m in enumerate(machines):
        assert m.write(f"first-{n}") == 201
        assert all(f"first-{n}" in other.names() for other in machines)
    wait_until(lambda: len(two.call("GET", "/api/v1/namespaces/default/endpoints/kubernetes")[1]["subsets"][0]["addresses"]) == 3, "three API servers")
    code, out, _ = two.sampan("cluster", "members")
    assert code == 0 and out.splitlines()[0].split()[:3] == ["NAME", "ID", "HEALTHY"] and len(out.splitlines()) == 4 and "leader" in out


def test_keys_are_kept_close(machines):
    one, two, _ = machines
    for m in machines:
        assert {p.name: oct(p.stat().st_mode & 0o777) for p in (m.dir / "pki").glob("*.key") if p.stat().st_mode & 0o077} == {}
        assert (m.dir / "pki").stat().st_mode & 0o077 == 0 and (m.dir / "etcd").stat().st_mode & 0o077 == 0
    assert (one.dir / "pki/ca.key").read_bytes() == (two.dir / "pki/ca.key").read_bytes()

    def etcd_takes(cert):
        """Whether etcd's port for clients talks to one with this certificate."""
        context = ssl.create_default_context(cafile=one.dir / "pki/etcd-ca.crt")
        context.set_alpn_protocols(["http/1.1"])
        if cert:
            context.load_cert_chain(one.dir / f"pki/{cert}.crt", one.dir / f"pki/{cert}.key")
        try:
            with context.wrap_socket(socket.create_connection((one.ip, 2379), timeout=10), server_hostname=one.ip) as s:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b"200 OK" in s.recv(4096)
        except (ssl.SSLError, ConnectionError):
            return False

    assert etcd_takes("etcd-client") and not etcd_takes(None)
    assert not etcd_takes("admin")  # a user of the API is nobody to etcd
    # The Secret of a token does not hold the token.
    token = join_flags(one)[3].split(".")
    status, secret = one.call("GET", f"/api/v1/namespaces/kube-system/secrets/join-token-{token[0]}")
    assert status == 200 and token[1] not in json.dumps([base64.b64decode(v).decode() for v in secret["data"].values()])


def test_who_may_not_join_is_told_why(machines):
    one, new = machines[0], machines[0].net.spare
    _, url, _, token = join_flags(one)
    name, secret, ca_hash = token.split(".")
    said = new.refused("--join", url, "--token", f"{name}.{'x' * len(secret)}.{ca_hash}")
    assert "the token is not known to this cluster" in said and "sampan cluster token" in said
    said = new.refused("--join", url, "--token", f"{name}.{secret}.{'0' * 64}")
    assert "0" * 64 in said and ca_hash in said and "Nothing was told to it" in said
    said = new.refused("--join", f"https://{one.ip}:6444", "--token", token)
    assert f"cannot join at https://{one.ip}:6444" in said and "cannot be reached" in said
    said = new.refused("--join", f"https://{one.ip}:2379", "--token", token)
    assert f"cannot join at https://{one.ip}:2379" in said
    said = new.refused("--join", url, "--token", "abc")
    assert "--token" in said and "sampan cluster token" in said
    said = new.refused("--join", "http://10.79.0.1:6443", "--token", token)
    assert "https://ADDRESS:PORT" in said
    assert "--token-file: one of them" in new.refused("--join", url, "--token", token, "--token-file", "x")
    assert "--token-file" in new.refused("--join", url, "--token-file", "/nowhere")
    assert "go together" in new.refused("--join", url)
    assert "--cluster-init is for the first machine" in new.refused("--join", url, "--token", token, "--cluster-init")
    assert "--node-ip" in new.refused("--join", url, "--token", token, ip="127.0.0.1")
    # Expired, and taken back.
    code, out, _ = one.sampan("cluster", "token", "-q", "--ttl", "1ms")
    assert code == 0 and "has expired" in new.refused("--join", url, "--token", out.strip())
    one.call("DELETE", f"/api/v1/namespaces/kube-system/secrets/join-token-{name}")
    assert "not known" in new.refused("--join", url, "--token", token)
    assert len(one.members()) == 3
    # Guesses: one line of the log in ten seconds.
    lines, began = one.log("apiserver").count("may not join"), time.monotonic()
    for n in range(30):
        wish = {"token": f"{name}.{n:028}", "name": "guess", "peerURL": "https://10.79.0.9:2380"}
        assert one.call("POST", "/sampan/v1/join", wish)[0] == 401
    assert one.log("apiserver").count("may not join") - lines <= 1 + (time.monotonic() - began) / 10


def test_a_name_is_given_once(machines):
    one, new = machines[0], machines[0].net.spare
    said = new.refused(*join_flags(one), name="m2")
    assert 'there is a member "m2" already' in said and "sampan cluster remove m2" in said
    said = new.refused(*join_flags(one), name="a/b")
    assert '"a/b" cannot be the name of a member' in said
    used = one.net.dir / "used"
    (used / "apiserver").mkdir(parents=True)
    (used / "apiserver/state.db").write_text("")
    assert "holds the objects of one machine" in new.refused(*join_flags(one), directory=used)
    shutil.rmtree(used)
    (used / "etcd/data").mkdir(parents=True)
    assert "holds another installation (etcd/data)" in new.refused(*join_flags(one), directory=used)
    assert set(one.members()) == {"m1", "m2", "m3"}


def test_etcd_alone_is_killed(machines):
    two = machines[1]
    before = two.etcd_pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: two.etcd_pid() not in (None, before), "etcd is started again")
    wait_until(lambda: two.says("etcd         ready again"), "it is ready again")
    assert two.says("etcd         ended")
    wait_until(lambda: all_well(two), "all is well")


def test_a_machine_is_lost_and_comes_back(machines):
    one, two, three = machines
    three.crash()
    assert [one.write(f"without-three-{n}") for n in range(10)] == [201] * 10
    assert two.write("without-three") == 201
    members = one.members()
    assert not members["m3"]["healthy"] and members["m1"]["healthy"] and members["m2"]["healthy"]
    said = degraded(one)
    assert "etcd member m3 is not well" in said and "may lose 0 more" in said
    # Of two that are left neither may go.
    code, _, err = one.sampan("cluster", "remove", "m2")
    assert code == 1 and "etcd would lose its quorum" in err and "of the 2 members" in err, err
    three.start(bare=True)
    wait_until(three.is_ready, "it comes back by itself")
    doc = wait_until(lambda: is_whole(three), "all is well")
    assert len(doc["apiServers"]) == 3 and doc["store"]["mayLose"] == 1 and doc["store"]["managed"] and doc["controllers"]["acting"]
    assert {f"without-three-{n}" for n in range(10)} <= three.names()


def test_a_machine_is_lost_and_replaced(machines):
    one, two, three = machines
    three.crash()
    assert one.sampan("cluster", "remove", "nobody")[0] == 1
    code, out, err = one.sampan("cluster", "remove", "m3")
    assert code == 0 and 'member "m3" removed' in out, err
    assert set(one.members()) == {"m1", "m2"}
    # The old one does not get back in by itself.
    three.start(bare=True)
    wait_until(lambda: three.process.poll() is not None, "it gives up")
    assert three.process.returncode == 1 and "was removed from the cluster" in three.output.read_text(), three.output.read_text()
    shutil.rmtree(three.dir)
    flags = join_flags(two)
    (three.net.dir / "token").write_text(flags[3] + "\n")
    three.start(*flags[:2], "--token-file", str(three.net.dir / "token"))
    wait_until(three.is_ready, "the new one")
    wait_until(lambda: all_well(three), "three again")
    assert "without-three" in three.names()


def certificate_ends(machine, name):
    out = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", machine.dir / f"pki/{name}.crt"], capture_output=True, text=True, check=True).stdout
    return ssl.cert_time_to_seconds(out.strip().split("=")[1])


def shorten(machine, name, days):
    """The same certificate, made to end soon."""
    pki = machine.dir / "pki"
    subprocess.run(f"cd {pki} && openssl x509 -x509toreq -in {name}.crt -signkey {name}.key -copy_extensions copyall -out /dev/stdout 2>/dev/null |"
                   f"openssl x509 -req -copy_extensions copyall -CA etcd-ca.crt -CAkey etcd-ca.key -days {days} -set_serial 7 -out short.crt && mv short.crt {name}.crt",
                   shell=True, check=True, capture_output=True)


def test_a_whole_start_and_stop(machines):
    """All at once, with new certificates for two of them."""
    one, two, three = machines
    # By now the first one knows the others, and so do its roles.
    wait_until(lambda: all(f"{m.ip}:6443" in (one.dir / "conf/controllers.kubeconfig").read_text() for m in machines), "the first one knows the others")
    wait_until(lambda: one.says("the cluster has grown") and one.says("controllers  ready again"), "and its roles know them, too")
    for m in machines:
        m.process.terminate()
    for m in machines:
        assert m.stop() == 0, m.output.read_text()
        assert not m.pids()
        assert "etcd ended" not in m.log().split("stopping")[-1]
    for name in ("etcd-server", "etcd-peer", "etcd-client"):
        shorten(two, name, 20)
    before = {p.name: p.read_bytes() for p in (three.dir / "pki").glob("*.crt")}
    # One alone has no quorum: it waits, and says so.
    one.start(bare=True)
    wait_until(lambda: one.says("etcd         waits for other members"), "it waits")
    assert one.process.poll() is None
    two.start(bare=True)
    three.start("--renew-certs")
    wait_until(lambda: all(m.is_ready() for m in machines), "all of them")
    assert all(certificate_ends(two, name) > time.time() + 300 * 86400 for name in ("etcd-server", "etcd-peer", "etcd-client"))
    changed = {p.name for p in (three.dir / "pki").glob("*.crt") if p.read_bytes() != before[p.name]}
    assert changed == set(before) - {"ca.crt", "etcd-ca.crt"}
    wait_until(lambda: all_well(machines[0]), "all is well")
    assert "without-three" in machines[1].names()


def test_one_machine_becomes_a_cluster(machines):
    """What it has in its file goes into etcd."""
    m = machines[0].net.spare
    m.start("--bind-address", m.ip)
    wait_until(m.is_ready, "one machine")
    status, said = m.call("GET", "/sampan/v1/ca")
    assert status == 404 and "--cluster-init" in said["message"]
    status, said = m.call("POST", "/sampan/v1/join", {"token": "x"})
    assert status == 404 and "--cluster-init" in said["message"]
    assert [m.write(f"before-{n}") for n in range(20)] == [201] * 20
    assert m.sampan("cluster", "members")[0] == 1 and not m.etcd_pid()
    objects = {o["metadata"]["name"]: o["metadata"]["uid"] for o in m.call("GET", CONFIGS)[1]["items"]}
    assert m.stop() == 0
    m.start("--cluster-init")
    wait_until(m.is_ready, "the cluster")
    assert m.says("etcd         holds now what was in")
    assert {o["metadata"]["name"]: o["metadata"]["uid"] for o in m.call("GET", CONFIGS)[1]["items"]} == objects
    assert not (m.dir / "apiserver/state.db").exists() and (m.dir / "apiserver/state.db.before-cluster").exists()
    assert m.write("after") == 201 and list(m.members()) == ["m4"]
    assert m.sampan("cluster", "remove", "m4")[0] == 1
    assert m.stop() == 0
    m.start(bare=True)
    wait_until(m.is_ready, "again")
    assert "after" in m.names() and not m.says("holds now")
    assert m.stop() == 0


def test_the_program_is_missing(tmp_path):
    done = subprocess.run([BINARY, "up", "--cluster-init", "--data-dir", str(tmp_path / "d"), "--node-ip", "192.0.2.7", "--roles", "apiserver"],
                          env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "the program etcd" in done.stderr and "apt-get install etcd-server" in done.stderr


def test_one_machine_has_no_members(sampan):
    done = sampan.sampan("cluster", "members", check=False)
    assert done.code == 1 and "--cluster-init" in done.err
    wait_until(lambda: sampan.sampan("status", check=False).code == 0, "all is well on one machine")
    done = sampan.sampan("status")
    assert done.out.startswith("All is well") and "state.db" in done.out and "NODE" in done.out, done
    doc = json.loads(sampan.sampan("status", "-o", "json").out)
    assert doc["healthy"] and doc["store"]["store"] == "sqlite" and doc["nodes"][0]["healthy"]
    done = sampan.sampan("cluster", "token", check=False)
    assert done.code == 1 and "--cluster-init" in done.err
