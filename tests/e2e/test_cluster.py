"""Several API servers, controllers, agents and gateways on one etcd: nothing is done twice, and nobody misses one that goes."""
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest

from conftest import BINARY, Sampan, wait_until
from test_etcd import CONFIGS, Api, Etcd, config

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")

SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture
def etcd(tmp_path):
    e = Etcd(tmp_path)
    yield e
    e.stop()


@pytest.fixture
def servers(tmp_path, etcd):
    three = [Api(tmp_path, etcd, str(i)).start() for i in range(3)]
    wait_until(lambda: all(s.ready() for s in three), "three API servers")
    yield three
    for s in three:
        s.stop()


def at_once(*functions):
    threads = [threading.Thread(target=f) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive()


def test_addresses_and_node_ports_are_given_once(servers):
    failed, fixed = [], []

    def create(server, who):
        for n in range(15):
            body = {"metadata": {"name": f"s{who}-{n}"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
            status, said = server.call("POST", SERVICES, body)
            if status != 201:
                failed.append(said)
            # All of them want the same one: it is given once. (The first 256 are given to nobody who does not ask.)
            wish = {"metadata": {"name": f"w{who}-{n}"}, "spec": {"clusterIP": f"10.96.0.{n + 20}", "ports": [{"port": 80}]}}
            status, said = server.call("POST", SERVICES, wish)
            fixed.append(status)
            if status not in (201, 422):
                failed.append(said)

    at_once(*[lambda s=s, w=f"{i}{j}": create(s, w) for i, s in enumerate(servers) for j in range(2)])
    assert not failed, failed[0]
    assert fixed.count(201) == 15 and fixed.count(422) == 75
    items = [s for s in servers[0].call("GET", SERVICES)[1]["items"] if s["metadata"]["name"][0] in "sw" and s["metadata"]["name"] != "kubernetes"]
    assert len({s["spec"]["clusterIP"] for s in items}) == len(items) == 105
    ports = [s["spec"]["ports"][0]["nodePort"] for s in items if s["metadata"]["name"][0] == "s"]
    assert len(set(ports)) == len(ports) == 90


def test_nothing_is_made_in_a_namespace_that_went_elsewhere(servers):
    """The namespace is emptied by hand at one server while others fill it."""
    a, b, c = servers
    for n in range(6):
        ns = f"/api/v1/namespaces/gone{n}"
        a.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"gone{n}"}})
        made = []

        def fill(server, who):
            for i in range(40):
                status, said = server.call("POST", f"{ns}/configmaps", config(f"{who}{i}"))
                made.append(status)
                if status != 201:
                    assert status in (403, 404), said
                    return

        def end():
            wait_until(lambda: len(made) > 3, "some are made")
            a.call("DELETE", ns)
            status, obj = a.call("GET", ns)
            assert obj["status"]["phase"] == "Terminating"
            a.call("DELETE", f"{ns}/configmaps")
            obj["spec"]["finalizers"] = []
            assert a.call("PUT", f"{ns}/finalize", obj)[0] == 200
            assert a.call("GET", ns)[0] == 404

        at_once(lambda: fill(b, "b"), lambda: fill(c, "c"), end)
        assert b.call("GET", f"{ns}/configmaps")[1]["items"] == []


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd(plural, kind):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
    return {"metadata": {"name": f"{plural}.example.org"},
            "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}}


def test_a_kind_made_at_one_server_is_served_by_all_at_once(servers):
    for n in range(12):
        a, b, c = servers[n % 3], servers[(n + 1) % 3], servers[(n + 2) % 3]
        assert a.call("POST", CRDS, crd(f"things{n}", f"Thing{n}"))[0] == 201
        status, said = b.call("POST", f"/apis/example.org/v1/namespaces/default/things{n}", {"metadata": {"name": "x"}, "spec": {"n": n}})
        assert status == 201, said
        names = [r["name"] for r in c.call("GET", "/apis/example.org/v1")[1]["resources"]]
        assert f"things{n}" in names
        assert c.call("DELETE", f"{CRDS}/things{n}.example.org")[0] == 200
        wait_until(lambda: a.call("GET", f"{CRDS}/things{n}.example.org")[0] == 404, "the kind is gone")
        for s in servers:
            assert s.call("GET", f"/apis/example.org/v1/namespaces/default/things{n}")[0] == 404
    assert {s.call("GET", CONFIGS)[0] for s in servers} == {200}


def test_one_kind_is_given_to_one_of_two(servers):
    for n in range(8):
        at_once(*[lambda i=i: servers[i].call("POST", CRDS, crd(f"p{n}x{i}", f"Same{n}")) for i in range(3)])
        items = [o for o in servers[0].call("GET", CRDS)[1]["items"] if o["spec"]["names"]["kind"] == f"Same{n}"]
        established = [o for o in items if any(c["type"] == "Established" and c["status"] == "True" for c in o["status"]["conditions"])]
        assert len(items) == 3 and len(established) == 1


def test_a_fence_holds_for_as_long_as_its_lease(servers):
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    a, b, c = servers

    def fenced(server, holder, name):
        return server.call("POST", CONFIGS, config(name), headers={"x-sampan-lease": f"kube-system/who/{holder}"})

    assert a.call("POST", leases, {"metadata": {"name": "who"}, "spec": {"holderIdentity": "one"}})[0] == 201
    assert fenced(b, "one", "f1")[0] == 201
    status, said = fenced(c, "two", "f2")
    assert status == 409 and 'held by "one", not by "two"' in said["message"]
    assert c.call("PATCH", f"{leases}/who", {"spec": {"holderIdentity": "two"}})[0] == 200
    assert fenced(b, "one", "f3")[0] == 409 and fenced(a, "two", "f3")[0] == 201
    # However they meet, what the old holder makes is there before the new one holds it.
    for n in range(10):
        made = []

        def write():
            for i in range(100):
                if fenced(b, "two", f"r{n}-{i}")[0] != 201:
                    return
                made.append(f"r{n}-{i}")

        def take():
            wait_until(lambda: len(made) > 2, "some are made")
            c.call("PATCH", f"{leases}/who", {"spec": {"holderIdentity": "three"}})
            seen = {o["metadata"]["name"] for o in c.call("GET", CONFIGS)[1]["items"] if o["metadata"]["name"].startswith(f"r{n}-")}
            wait_until(lambda: fenced(b, "two", "never")[0] == 409, "the old one is refused")
            left.append(seen)

        left = []
        at_once(write, take)
        now = {o["metadata"]["name"] for o in a.call("GET", CONFIGS)[1]["items"] if o["metadata"]["name"].startswith(f"r{n}-")}
        assert now == left[0]
        a.call("PATCH", f"{leases}/who", {"spec": {"holderIdentity": "two"}})


# --- one of many acts ---

LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/sampan-controllers"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"


def kubeconfig(path, servers):
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": ",".join(s.url("") for s in servers), "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": "tok"}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
    return str(path)


class Controllers:
    def __init__(self, directory, servers, name, *timing):
        self.log = directory / f"controllers-{name}.log"
        lease, deadline, retry = timing or ("3s", "2s", "300ms")
        self.args = [BINARY, "controllers", "--kubeconfig", kubeconfig(directory / f"kubeconfig-{name}", servers), "--leader-elect",
                     "--leader-elect-lease-duration", lease, "--leader-elect-renew-deadline", deadline, "--leader-elect-retry-period", retry]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=open(self.log, "a"), stderr=subprocess.STDOUT)

    def says(self, text):
        return text in self.log.read_text()

    def end(self, signum=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signum)
        return self.process.wait(30)


@pytest.fixture
def candidates(tmp_path):
    list_ = []

    def start(servers, name, *timing):
        list_.append(Controllers(tmp_path, servers, name, *timing))
        return list_[-1]

    yield start
    for c in list_:
        c.end(signal.SIGKILL)


class Pods:
    """Every pod that ever was, by a watch."""

    def __init__(self, server):
        self.names, self.now = set(), set()
        rev = server.call("GET", PODS)[1]["metadata"]["resourceVersion"]
        url = server.url(f"{PODS}?watch=1&resourceVersion={rev}")
        self.stream = urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": "Bearer tok"}), timeout=120)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        try:
            for line in self.stream:
                e = json.loads(line)
                name = e["object"]["metadata"]["name"]
                self.names.add(name)
                (self.now.discard if e["type"] == "DELETED" else self.now.add)(name)
        except (OSError, ValueError):
            pass


def deployment(name, replicas):
    labels = {"app": name}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
        "metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "x"}]}}}}


def holder(server):
    status, lease = server.call("GET", LEASE)
    return lease["spec"].get("holderIdentity") if status == 200 else None


def test_one_acts_and_the_next_follows(servers, candidates):
    server = servers[0]
    pods = Pods(server)
    one = candidates(servers[:1], "one", "40s", "20s", "2s")
    wait_until(lambda: holder(server), "the first one leads")
    two, three = candidates(servers[1:2], "two", "40s", "20s", "2s"), candidates(servers[2:], "three", "40s", "20s", "2s")
    wait_until(lambda: two.says("standing by") and three.says("standing by"), "the others wait")
    server.call("POST", DEPLOYMENTS, deployment("web", 5))
    wait_until(lambda: len(pods.now) == 5, "five pods")
    # A clean stop hands over at once, not after forty seconds.
    before, began = holder(server), time.monotonic()
    assert one.end() == 0
    wait_until(lambda: holder(server) not in (None, "", before), "the next one leads")
    assert time.monotonic() - began < 35
    server.call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 9}})
    wait_until(lambda: len(pods.now) == 9, "nine pods")
    assert two.says("leading") != three.says("leading")
    assert len(pods.names) == 9
    assert server.call("GET", LEASE)[1]["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_leader_that_falls_silent_is_followed_once(servers, candidates, how):
    server = servers[0]
    pods = Pods(server)
    times = ("6s", "4s", "500ms")  # long enough that a busy machine alone ends no leader
    one = candidates(servers[:1], "one", *times)
    wait_until(lambda: holder(server), "the first one leads")
    two = candidates(servers[1:2], "two", *times)
    wait_until(lambda: two.says("standing by"), "the second one waits")
    server.call("POST", DEPLOYMENTS, deployment("web", 5))
    wait_until(lambda: len(pods.now) == 5, "five pods")
    before = holder(server)
    # In the middle of its work.
    server.call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 12}})
    one.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    server.call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 15}})
    wait_until(lambda: holder(server) not in (None, "", before), "the second one leads")
    wait_until(lambda: len(pods.now) == 15, "fifteen pods")
    one.process.send_signal(signal.SIGCONT)
    server.call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 20}})
    if how == "freeze":
        assert one.process.wait(30) == 1 and one.says("no longer the leader")
    wait_until(lambda: len(pods.now) == 20, "twenty pods")
    time.sleep(0.5)  # for what must not come
    assert len(pods.names) == len(pods.now) == 20
    one.start()
    wait_until(lambda: one.log.read_text().count("standing by") == 1, "it is back, and waits")


def test_without_an_api_server_a_leader_ends(servers, candidates):
    one = candidates(servers[:1], "one")
    wait_until(lambda: one.says("controllers are running"), "it leads")
    servers[0].process.send_signal(signal.SIGSTOP)
    try:
        assert one.process.wait(30) == 1 and one.says("could not be renewed in time"), one.log.read_text()
    finally:
        servers[0].process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("flags,words", [
    (["--leader-elect-lease-duration", "soon"], "must be a duration"),
    (["--leader-elect-lease-duration", "5s"], "must be more than --leader-elect-renew-deadline"),
    (["--leader-elect-retry-period", "9s"], "1.2 times"),
])
def test_times_that_cannot_be(tmp_path, servers, flags, words):
    done = subprocess.run([BINARY, "controllers", "--kubeconfig", kubeconfig(tmp_path / "k", servers[:1]), "--leader-elect", *flags],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and words in done.stdout + done.stderr


# --- any of them will do ---

def test_the_loss_of_one_server_after_another_is_not_noticed(tmp_path, etcd, servers, candidates):
    one, two = candidates(servers, "one", "15s", "10s", "500ms"), candidates(servers, "two", "15s", "10s", "500ms")
    wait_until(lambda: one.says("controllers are running") or two.says("controllers are running"), "one leads")
    leader = holder(servers[2])
    servers[2].call("POST", DEPLOYMENTS, deployment("web", 1))
    ports = [s.port for s in servers]
    for n, how in enumerate([signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]):
        there, wanted = 2 * n + 1, 2 * n + 3
        wait_until(lambda: len(names(servers[(n + 1) % 3])) == there, f"{there} pods")
        pods = Pods(servers[(n + 1) % 3])
        servers[n].process.send_signal(how)
        assert servers[(n + 1) % 3].call("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": wanted}})[0] == 200
        wait_until(lambda: len(names(servers[(n + 1) % 3])) == wanted, f"{wanted} pods without server {n}")
        servers[n].process.wait(30)
        servers[n].start()
        assert servers[n].port == ports[n]
        wait_until(servers[n].ready, "it is back")
        wait_until(lambda: len(pods.names) >= 2, "the watch tells both")
        time.sleep(0.3)  # for what must not come
        assert len(pods.names) == 2, "made twice"
    assert holder(servers[0]) == leader  # the lease was renewed throughout


class TlsApi(Api):
    """The same with TLS, so that clients speak HTTP/2."""

    def __init__(self, directory, *args):
        super().__init__(directory, *args)
        pem = [str(directory / "api.crt"), str(directory / "api.key")]
        if not os.path.exists(pem[0]):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=x",
                            "-addext", "subjectAltName=IP:127.0.0.1", "-out", pem[0], "-keyout", pem[1]], check=True, capture_output=True)
        self.args[2:3] = ["--tls-cert-file", pem[0], "--tls-private-key-file", pem[1]]

    def url(self, path):
        return super().url(path).replace("http:", "https:")


def endpoints(server):
    _, obj = server.call("GET", "/api/v1/namespaces/default/endpoints/kubernetes")
    return sorted(f"{a['ip']}:{p['port']}" for s in obj.get("subsets", []) for a in s.get("addresses", []) for p in s["ports"])


def addresses(*servers):
    return sorted(f"192.0.2.{10 + int(s.log.stem[-1])}:{s.port}" for s in servers)


def test_a_server_that_stops_leaves_the_endpoints_at_once(tmp_path, etcd):
    three = [Api(tmp_path, etcd, str(i), "--advertise-address", f"192.0.2.{10 + i}").start() for i in range(3)]
    try:
        wait_until(lambda: all(s.ready() for s in three), "three API servers")
        wait_until(lambda: endpoints(three[0]) == addresses(*three), "all of them are endpoints")
        three[1].stop()
        assert endpoints(three[0]) == addresses(three[0], three[2])
        three[1].start()
        wait_until(lambda: endpoints(three[2]) == addresses(*three), "it is back")
    finally:
        for s in three:
            s.stop()


def test_a_server_that_hangs_is_left(tmp_path, etcd, candidates, monkeypatch):
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
    three = [TlsApi(tmp_path, etcd, str(i), "--advertise-address", f"192.0.2.{10 + i}").start() for i in range(3)]
    try:
        wait_until(lambda: all(s.ready() for s in three), "three API servers")
        one = candidates(three, "one", "60s", "40s", "2s")
        wait_until(lambda: one.says("controllers are running"), "it leads")
        three[0].process.send_signal(signal.SIGSTOP)
        assert three[1].call("POST", DEPLOYMENTS, deployment("web", 3))[0] == 201
        wait_until(lambda: len(names(three[1])) == 3, "three pods without the frozen server")
        wait_until(lambda: endpoints(three[2]) == addresses(*three[1:]), "it is no endpoint any more")
    finally:
        three[0].process.send_signal(signal.SIGCONT)
        for s in three:
            s.stop()


def names(server):
    return {o["metadata"]["name"] for o in server.call("GET", PODS)[1]["items"]}


def test_two_installations_on_one_etcd(tmp_path, etcd):
    roles = "apiserver,controllers"
    one = Sampan(tmp_path / "one", roles)
    two = Sampan(tmp_path / "two", roles)
    store = ["--store", f"etcd://127.0.0.1:{etcd.port}/shared"]
    one.extra += store + ["--api-servers", f"https://127.0.0.1:{two.api_port}"]
    two.extra += store + ["--api-servers", f"https://127.0.0.1:{one.api_port}", "--ca-dir", str(one.dir / "pki")]
    done = subprocess.run(two.up_args(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "--ca-dir (it needs ca.crt" in done.stderr, done.stderr
    try:
        one.start()
        two.start()
        assert two.kubectl("create", "deployment", "web", "--image=x", "--replicas=2").code == 0
        wait_until(lambda: one.kubectl("get", "pods", "-o", "name").out.count("pod/") == 2, "the first one's controllers see it")
        one.stop()
        two.kubectl("scale", "deployment", "web", "--replicas=3")
        wait_until(lambda: two.kubectl("get", "pods", "-o", "name").out.count("pod/") == 3, "the second one's controllers take over")
        # Its own certificates are of the common CA: the first one's administrator is its own, too.
        assert two.kubectl("--kubeconfig", one.kubeconfig, "--server", f"https://127.0.0.1:{two.api_port}", "get", "pods").code == 0
    finally:
        one.stop()
        two.stop()
    three = Sampan(tmp_path / "three", roles)
    three.start()
    three.stop()
    done = subprocess.run(three.up_args() + ["--ca-dir", str(one.dir / "pki")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "has another CA than --ca-dir" in done.stderr, done.stderr
