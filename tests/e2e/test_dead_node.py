"""A machine that cannot be reached: its pods move when there is another place, and are called gone only when they are."""
import json
import signal
import subprocess
import time

import pytest

from conftest import BINARY, Sampan, busybox_image, needs_root, wait_until
from test_tunnel import FAR, NEAR, Far

pytestmark = needs_root

UNREACHABLE = "node.kubernetes.io/unreachable"


class Near(Far):
    """A second node: this namespace."""

    def __init__(self, s, workdir):
        self.s, self.dir, self.log, self.agent = s, workdir / "near-agent", workdir / "near-agent.log", None

    def start(self):
        pki = self.s.dir / "pki"
        self.agent = subprocess.Popen(
            [BINARY, "agent", "--kubeconfig", self.s.dir / "conf" / "agent.kubeconfig", "--node-name", "near", "--node-ip", NEAR,
             "--data-dir", self.dir, "--pod-cidr", "10.98.0.0/16", "--bridge", "near0", "--port", "0",
             "--tls-cert-file", pki / "agent.crt", "--tls-private-key-file", pki / "agent.key",
             "--client-ca-file", pki / "ca.crt", "--stop-containers"], stdout=open(self.log, "a"), stderr=subprocess.STDOUT)

    def tear_down(self):
        self.stop()
        subprocess.run([BINARY, "agent", "--cleanup", "--data-dir", self.dir], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def world(tmp_path):
    s = Sampan(tmp_path / "dead", roles="apiserver", extra=["--bind-address", NEAR, "--node-name", "far", "--node-ip", FAR])
    far, near, controllers = Far(s, tmp_path), Near(s, tmp_path), None
    try:
        far.set_up()
        s.start()
        controllers = subprocess.Popen([BINARY, "controllers", "--kubeconfig", s.dir / "conf" / "controllers.kubeconfig", "--node-monitor-grace-period", "15s"],
                                       stdout=open(tmp_path / "controllers.log", "w"), stderr=subprocess.STDOUT)
        for node in (far, near):
            subprocess.run([BINARY, "image", "import", "--data-dir", node.dir, busybox_image(tmp_path)], check=True, stdout=subprocess.DEVNULL)
        far.start()
        yield s, far, near
    finally:
        near.tear_down()
        far.tear_down()
        if controllers:
            controllers.send_signal(signal.SIGTERM)
            controllers.wait(30)
        s.stop()


def deployment(replicas):
    toleration = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}},
                                  "spec": {"terminationGracePeriodSeconds": 1, "tolerations": [toleration],
                                           "containers": [{"name": "main", "image": "busybox:test", "command": ["sleep", "3600"]}]}}}}


def pods(s):
    return json.loads(s.kubectl("get", "pods", "-o", "json").out)["items"]


def running_on(s, node):
    return {p["metadata"]["name"] for p in pods(s)
            if p["spec"].get("nodeName") == node and p.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]}


def going(s):
    return {p["metadata"]["name"] for p in pods(s) if "deletionTimestamp" in p["metadata"]}


def taints(s, node):
    return {(t["key"], t["effect"]) for t in s.get("node", node)["spec"].get("taints", [])}


def test_pods_move_when_there_is_a_place(world):
    s, far, near = world
    s.apply(deployment(2))
    wait_until(lambda: len(running_on(s, "far")) == 2, "both run on the only node")
    before = running_on(s, "far")
    far.cut()
    wait_until(lambda: taints(s, "far") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}, "it is tainted", 90)
    time.sleep(4)  # longer than the pods tolerate it
    assert not going(s), "no node is ready: nothing would be better elsewhere"

    near.start()
    wait_until(lambda: len(running_on(s, "near")) == 2, "two others run there", 90)
    assert going(s) == before, "nobody has said that these have ended"
    assert s.kubectl("get", "events").out.count("TaintManagerEviction") >= 2

    after = running_on(s, "near")
    far.heal()
    wait_until(lambda: {p["metadata"]["name"] for p in pods(s)} == after, "the old ones have ended", 90)
    wait_until(lambda: not taints(s, "far"), "the node is as before", 90)
    assert running_on(s, "near") == after
