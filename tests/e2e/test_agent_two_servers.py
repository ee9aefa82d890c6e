"""A node that nobody can connect to and two API servers on one etcd: its agent outlives either of them, and both reach its pods."""
import shutil
import subprocess
import threading

import pytest

from conftest import BINARY, Sampan, busybox_image, needs_root, wait_until
from test_etcd import Etcd
from test_tunnel import FAR, NEAR, Far

pytestmark = [needs_root, pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")]


def pod(name):
    script = f"i=0; while true; do echo {name} $i; i=$((i+1)); sleep 0.1; done"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 0, "nodeName": "far", "containers": [{"name": "main", "image": "busybox:test", "command": ["sh", "-c", script]}]}}


def runs(s, name):
    return s.get("pod", name).get("status", {}).get("phase") == "Running"


def says(s, name):
    """exec by this API server."""
    done = s.kubectl("exec", name, "--", "echo", "from", name, check=False)
    return done.code == 0 and done.out == f"from {name}\n"


def kill(s):
    """As a power cut would; the agent, which has its files, is on another machine."""
    s.process.kill()
    s.process.wait()
    s.process = None
    wait_until(lambda: "apiserver" not in s.role_pids(), "the API server is gone")


class Follower:
    """kubectl logs -f."""

    def __init__(self, s, name):
        self.lines = []
        self.process = subprocess.Popen([shutil.which("kubectl") or BINARY, "logs", "-f", name], env=s.env(), stdout=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True).start()


@pytest.fixture
def world(tmp_path):
    etcd = Etcd(tmp_path)
    one, two = [Sampan(tmp_path / n, "apiserver,controllers", ["--bind-address", NEAR, "--node-name", "far", "--node-ip", FAR]) for n in ("one", "two")]
    store = ["--store", f"etcd://127.0.0.1:{etcd.port}/far"]
    one.extra += store + ["--api-servers", f"https://{NEAR}:{two.api_port}"]
    two.extra += store + ["--api-servers", f"https://{NEAR}:{one.api_port}", "--ca-dir", str(one.dir / "pki")]
    far, follower = Far(one, tmp_path), []
    try:
        far.set_up()
        one.start()
        two.start()
        subprocess.run([BINARY, "image", "import", "--data-dir", far.dir, busybox_image(tmp_path)], check=True, stdout=subprocess.DEVNULL)
        far.start()
        yield one, two, far, follower
    finally:
        for f in follower:
            f.process.kill()
        far.tear_down()
        one.stop()
        two.stop()
        etcd.stop()


def test_either_of_two_api_servers_may_go(world):
    one, two, far, follower = world
    wait_until(lambda: far.log.read_text().count("tunnel to the API server is open") == 2, "a tunnel to each")
    wait_until(lambda: two.kubectl("get", "node", "far", check=False).code == 0, "the node")
    one.apply(pod("first"))
    wait_until(lambda: runs(two, "first"), "it runs")
    for s in (one, two):
        assert says(s, "first") and "first 0" in s.kubectl("logs", "first").out
    follower.append(Follower(two, "first"))
    wait_until(lambda: follower[0].lines, "it is followed by the second one")
    kill(one)  # the first of the agent's list: the one that it talks to
    two.apply(pod("second"))
    wait_until(lambda: runs(two, "second"), "the agent gets it from the other one and says that it runs")
    assert says(two, "first") and says(two, "second") and "second 0" in two.kubectl("logs", "second").out
    n = len(follower[0].lines)
    wait_until(lambda: len(follower[0].lines) > n + 5, "what was followed goes on")
    numbers = [int(line.split()[1]) for line in follower[0].lines]
    assert numbers == list(range(len(numbers)))
    two.kubectl("delete", "pod", "first", "--wait=false")
    wait_until(lambda: two.kubectl("get", "pod", "first", check=False).code, "it ends")
    one.start()
    wait_until(lambda: says(one, "second"), "the first one reaches the node again")
    kill(two)
    one.apply(pod("third"))
    wait_until(lambda: runs(one, "third") and says(one, "third"), "and the other way round")
