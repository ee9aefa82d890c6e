"""Several API servers, controllers, agents and gateways on one etcd: nothing is done twice, and nobody misses one that goes."""
import shutil
import threading

import pytest

from conftest import wait_until
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
            # All of them want the same one: it is given once.
            wish = {"metadata": {"name": f"w{who}-{n}"}, "spec": {"clusterIP": f"10.96.7.{n + 1}", "ports": [{"port": 80}]}}
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
