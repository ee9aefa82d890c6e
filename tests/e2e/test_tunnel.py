"""A node that nobody can connect to: its agent's own connection carries logs, exec and port-forward."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BINARY, Sampan, busybox_image, free_port, needs_root, wait_until

pytestmark = needs_root

NEAR, FAR = "10.99.7.1", "10.99.7.2"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Far:
    """A network namespace that lets nothing in, and an agent in it."""

    def __init__(self, s, workdir):
        self.s, self.dir, self.name = s, workdir / "far-agent", f"far{os.getpid()}"
        self.agent = None
        self.log = workdir / "far-agent.log"

    def set_up(self):
        ip("netns", "add", self.name)
        ip("link", "add", "tofar", "type", "veth", "peer", "name", "tonear", "netns", self.name)
        ip("address", "add", f"{NEAR}/24", "dev", "tofar")
        ip("link", "set", "tofar", "up")
        for words in (("address", "add", f"{FAR}/24", "dev", "tonear"), ("link", "set", "tonear", "up"),
                      ("link", "set", "lo", "up")):
            ip("-n", self.name, *words)
        self.nft("table inet nat_like { chain input { type filter hook input priority 0; "
                 "iifname \"tonear\" ct state new drop; }; chain cut { type filter hook output priority 0; }; }")

    def inside(self, *words, **options):
        return subprocess.run(["ip", "netns", "exec", self.name, *words], check=True, **options)

    def nft(self, rules):
        self.inside("nft", "-f", "-", input=rules, text=True)

    def cut(self, how="drop"):
        """Everything that leaves or comes, connections that exist included."""
        self.nft(f"add rule inet nat_like cut oifname \"tonear\" {how}")

    def heal(self):
        self.nft("flush chain inet nat_like cut")

    def start(self, *more):
        pki = self.s.dir / "pki"
        # Not by `ip netns exec`: that hides the cgroups, as it mounts another /sys.
        self.agent = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", BINARY, "agent", "--kubeconfig", self.s.dir / "conf" / "agent.kubeconfig",
             "--node-name", "far", "--node-ip", FAR, "--data-dir", self.dir, "--pod-cidr", "10.97.0.0/16", "--bridge", "far0",
             "--tls-cert-file", pki / "agent.crt", "--tls-private-key-file", pki / "agent.key",
             "--client-ca-file", pki / "ca.crt", "--stop-containers", *more],
            stdout=open(self.log, "a"), stderr=subprocess.STDOUT)

    def stop(self):
        if self.agent:
            self.agent.send_signal(signal.SIGTERM)
            self.agent.wait(60)
            self.agent = None

    def tear_down(self):
        try:
            self.stop()
        finally:
            subprocess.run(["nsenter", f"--net=/run/netns/{self.name}", BINARY, "agent", "--cleanup", "--data-dir", self.dir],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "link", "del", "tofar"])
            subprocess.run(["ip", "netns", "del", self.name])


@pytest.fixture(scope="module")
def far(workdir):
    s = Sampan(workdir / "tunnel", roles="apiserver,controllers",
               extra=["--bind-address", NEAR, "--node-name", "far", "--node-ip", FAR])
    # node-1 is what the harness says; the last one counts
    f = Far(s, workdir)
    try:
        f.set_up()
        s.start()
        subprocess.run([BINARY, "image", "import", "--data-dir", f.dir, busybox_image(workdir)], check=True,
                       stdout=subprocess.DEVNULL)
        f.start()
        wait_until(lambda: "tunnel to the API server is open" in f.log.read_text(), "the tunnel")
        script = "mkdir -p /www; echo far away > /www/index.html; httpd -p 8000 -h /www; i=0; " \
                 "while true; do echo line $i; i=$((i+1)); sleep 0.1; done"
        wait_until(lambda: s.kubectl("get", "node", "far", check=False).code == 0, "the node")
        s.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box"},
                 "spec": {"terminationGracePeriodSeconds": 0,
                          "containers": [{"name": "main", "image": "busybox:test", "command": ["sh", "-c", script]}]}})
        wait_until(lambda: s.get("pod", "box").get("status", {}).get("phase") == "Running", "box runs")
        yield f
    finally:
        f.tear_down()
        s.stop()


def test_nobody_can_connect(far):
    port = far.s.get("node", "far")["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    with pytest.raises(OSError):
        socket.create_connection((FAR, port), timeout=1)


def test_logs(far):
    s = far.s
    wait_until(lambda: "line 1\n" in s.kubectl("logs", "box").out, "logs")
    p = subprocess.Popen([shutil.which("kubectl") or BINARY, "logs", "-f", "box", "--tail=1"], env=s.env(),
                         stdout=subprocess.PIPE, text=True)
    first = int(p.stdout.readline().split()[1])
    for i in range(1, 10):
        assert p.stdout.readline() == f"line {first + i}\n"
    p.kill()
    p.wait()


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on the PATH")
def test_exec_and_port_forward(far, tmp_path):
    s = far.s
    text = "".join(f"{i}\n" for i in range(100000))
    for _ in range(4):  # both directions full at once: windows must open again whatever the order
        assert s.kubectl("exec", "-i", "box", "--", "cat", stdin=text).out == text
    assert s.kubectl("exec", "box", "--", "sh", "-c", "exit 4", check=False).code == 4
    port = free_port()
    p = subprocess.Popen([shutil.which("kubectl"), "port-forward", "pod/box", f"{port}:8000"], env=s.env(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert "Forwarding" in p.stdout.readline()
        assert s.http("/", port=port) == (200, "far away\n")
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def test_cut_and_back(far):
    """Bytes vanish without a word: both sides notice by their pings, and it comes back."""
    s = far.s
    assert s.kubectl("exec", "box", "--", "echo", "here").out == "here\n"
    before = far.log.read_text().count("tunnel to the API server is open")
    far.cut()
    wait_until(lambda: "does not answer" in (s.dir / "logs" / "apiserver.log").read_text(), "the API server notices")
    done = s.kubectl("exec", "box", "--", "echo", "gone", check=False)
    assert done.code != 0
    far.heal()
    wait_until(lambda: far.log.read_text().count("tunnel to the API server is open") > before, "the tunnel comes back")
    wait_until(lambda: s.kubectl("exec", "box", "--", "echo", "again", check=False).out == "again\n", "exec works again")


def test_others_may_not_pose_as_a_node(far):
    """The administrator's certificate opens no tunnel, and a node none for another."""
    s = far.s
    import ssl
    context = ssl.create_default_context(cafile=str(s.dir / "pki" / "ca.crt"))
    context.set_alpn_protocols(["http/1.1"])
    for cert, node in (("admin", "far"), ("agent", "near")):
        context.load_cert_chain(s.dir / "pki" / f"{cert}.crt", s.dir / "pki" / f"{cert}.key")
        with context.wrap_socket(socket.create_connection((NEAR, s.api_port), timeout=60), server_hostname=NEAR) as c:
            c.sendall(f"GET /sampan/v1/tunnel/{node} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                      "Upgrade: sampan-tunnel\r\n\r\n".encode())
            assert c.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_reachable_nodes_are_asked_directly(far):
    far.stop()
    far.nft("flush chain inet nat_like input")
    far.start("--tunnel", "auto")
    log = far.s.dir / "logs" / "apiserver.log"
    wait_until(lambda: "node is reachable directly" in log.read_text(), "the probe")
    far.stop()
