"""Controllers against the real API server. The agent's part (a Node, pods that run and stop) is played
by a thread of this file, so that no container is needed and pods can be made to fail on purpose."""
import datetime
import http.client
import os
import signal
import threading
import time

import pytest

from conftest import Sampan, wait_until

MERGE = {"Content-Type": "application/merge-patch+json"}.items()


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Agent(threading.Thread):
    """Pods of an image whose name holds "bad" never become ready."""

    def __init__(self, sampan):
        super().__init__(daemon=True)
        self.sampan, self.ending, self.count = sampan, threading.Event(), 0

    def register(self):
        room = {"cpu": "64", "memory": "64Gi", "pods": "500"}
        self.sampan.api("POST", "/api/v1/nodes", {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
            "status": {"allocatable": room, "capacity": room}})
        self.renew()

    def renew(self):
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {"holderIdentity": "node-1", "leaseDurationSeconds": 40, "renewTime": now()[:-1] + ".%06dZ" % self.count}
        code, _ = self.sampan.api("PATCH", leases + "/node-1", {"spec": spec}, MERGE)
        if code == 404:
            self.sampan.api("POST", leases, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                                             "metadata": {"name": "node-1"}, "spec": spec})
        ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()}]
        self.sampan.api("PATCH", "/api/v1/nodes/node-1/status", {"status": {"conditions": ready}}, MERGE)

    def look(self):
        _, pods = self.sampan.api("GET", "/api/v1/pods?fieldSelector=spec.nodeName=node-1")
        for pod in pods["items"]:
            meta = pod["metadata"]
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
            if "deletionTimestamp" in meta:
                self.sampan.api("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
            elif pod["status"].get("phase") != "Running" and "bad" not in pod["spec"]["containers"][0]["image"]:
                self.count += 1
                status = dict(pod["status"], phase="Running", podIP=f"10.8.{self.count // 250}.{self.count % 250 + 1}")
                status["conditions"] = status.get("conditions", []) + [
                    {"type": "Ready", "status": "True", "lastTransitionTime": now()}]
                self.sampan.api("PATCH", path + "/status", {"status": status}, MERGE)

    def run(self):
        beat = 0
        while not self.ending.wait(0.1):
            try:
                if time.monotonic() - beat > 10:
                    self.renew()
                    beat = time.monotonic()
                self.look()
            except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
                continue  # the API server is being restarted by a test, may be in the middle of its answer


@pytest.fixture(scope="module")
def plane(workdir):
    s = Sampan(workdir / "plane", roles="apiserver,controllers").start()
    agent = Agent(s)
    agent.register()
    agent.start()
    yield s
    agent.ending.set()
    agent.join()
    assert s.stop() == 0, s.output.read_text() + s.logs()


@pytest.fixture
def space(plane, request):
    name = request.node.name.replace("_", "-")[:50].strip("-")
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.fixture
def k(plane, space):
    return lambda *args, **options: plane.kubectl(*args, "-n", space, **options)


def deploy(image="x:1", replicas=3, name="web", **spec):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, **spec,
                     "template": {"metadata": {"labels": {"app": name}},
                                  "spec": {"containers": [{"name": "c", "image": image}]}}}}


def rolled(k, name="web"):
    assert "successfully rolled out" in k("rollout", "status", "deployment/" + name, "--timeout=170s", timeout=180).out


def sizes(plane, space):
    return {s["spec"]["template"]["spec"]["containers"][0]["image"]: s["spec"]["replicas"]
            for s in plane.get("replicasets", namespace=space)["items"]}


def test_rolling_update_rollback_and_history(plane, space, k):
    plane.apply(deploy(revisionHistoryLimit=2), namespace=space)
    rolled(k)
    for image in ("x:2", "x:3"):
        k("set", "image", "deployment/web", "c=" + image)
        rolled(k)
    assert sizes(plane, space) == {"x:1": 0, "x:2": 0, "x:3": 3}
    k("rollout", "undo", "deployment/web", "--to-revision=1")
    rolled(k)
    assert sizes(plane, space) == {"x:1": 3, "x:2": 0, "x:3": 0}
    web = plane.get("deployment", "web", namespace=space)
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "4"
    assert web["status"]["availableReplicas"] == 3 and "unavailableReplicas" not in web["status"]
    k("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
    k("set", "image", "deployment/web", "c=x:4")
    rolled(k)
    wait_until(lambda: sizes(plane, space) == {"x:1": 0, "x:3": 0, "x:4": 3}, "only two old sets are kept")


def test_a_bad_version_never_takes_the_good_one_down(plane, space, k):
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    deadline = lambda seconds: k("patch", "deployment", "web", "-p", f'{{"spec":{{"progressDeadlineSeconds":{seconds}}}}}')  # noqa: E731
    plane.apply(deploy(strategy=strategy), namespace=space)
    rolled(k)
    deadline(2)  # for the bad one only: a slow machine needs more for good ones
    k("set", "image", "deployment/web", "c=bad:1")
    refused = k("rollout", "status", "deployment/web", "--timeout=50s", check=False)
    assert refused.code != 0 and "exceeded its progress deadline" in refused.err
    assert sizes(plane, space) == {"x:1": 3, "bad:1": 1}
    deadline(600)
    k("rollout", "undo", "deployment/web")
    rolled(k)
    assert sizes(plane, space) == {"x:1": 3, "bad:1": 0}


def test_recreate_never_mixes_versions(plane, space, k):
    plane.apply(deploy(strategy={"type": "Recreate"}), namespace=space)
    rolled(k)
    seen, over = set(), threading.Event()

    def look():
        while not over.is_set():
            images = {p["spec"]["containers"][0]["image"] for p in plane.get("pods", namespace=space)["items"]}
            seen.add(frozenset(images))
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    k("set", "image", "deployment/web", "c=x:2")
    rolled(k)
    over.set()
    watcher.join()
    assert frozenset({"x:1", "x:2"}) not in seen


def test_paused_scaled_resumed(plane, space, k):
    plane.apply(deploy(), namespace=space)
    rolled(k)
    k("rollout", "pause", "deployment/web")
    k("set", "image", "deployment/web", "c=x:2")
    k("scale", "deployment/web", "--replicas=5")
    wait_until(lambda: sizes(plane, space) == {"x:1": 5}, "scaled while paused")
    k("rollout", "resume", "deployment/web")
    rolled(k)
    assert sizes(plane, space) == {"x:1": 0, "x:2": 5}


def test_pods_come_back_and_are_adopted(plane, space, k):
    plane.apply(deploy(replicas=2), namespace=space)
    rolled(k)
    first = plane.get("pods", namespace=space)["items"]
    k("delete", "pod", first[0]["metadata"]["name"])
    wait_until(lambda: plane.pods_ready("app=web", 2, space), "a new pod")
    stray = plane.pods_ready("app=web", 2, space)[0]["metadata"]["name"]
    k("label", "pod", stray, "app=other", "--overwrite")
    wait_until(lambda: plane.pods_ready("app=web", 2, space), "another one in its place")
    wait_until(lambda: "ownerReferences" not in plane.get("pod", stray, namespace=space)["metadata"], "it is nobody's any more")


def test_endpoints_follow_pods(plane, space, k):
    plane.apply(deploy(replicas=3), deploy(image="bad", replicas=1, name="ill"),
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                 "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}, namespace=space)

    def addresses():
        found = [o for o in plane.get("endpoints", namespace=space)["items"] if o["metadata"]["name"] == "web"]
        subsets = found and found[0].get("subsets") or [{}]
        return {a["ip"] for a in subsets[0].get("addresses", [])}
    rolled(k)
    wait_until(lambda: len(addresses()) == 3, "three addresses")

    def sliced():
        slices = plane.get("endpointslices", namespace=space)["items"]
        return [len(s["endpoints"]) for s in slices if s["metadata"]["labels"]["kubernetes.io/service-name"] == "web"]
    wait_until(lambda: sliced() == [3], "and one slice of three")
    k("scale", "deployment/web", "--replicas=1")
    wait_until(lambda: len(addresses()) == 1, "one address")
    k("delete", "service", "web")
    wait_until(lambda: not plane.get("endpoints", namespace=space)["items"]
               and not plane.get("endpointslices", namespace=space)["items"], "both are gone")


def test_deleting_in_three_ways(plane, space, k):
    for name in ("back", "fore", "orphan"):
        plane.apply(deploy(replicas=1, name=name), namespace=space)
        rolled(k, name)
    k("delete", "deployment", "back")
    wait_until(lambda: k("get", "rs,pods", "-l", "app=back", "-o", "name").out == "", "everything below is gone")
    k("delete", "deployment", "fore", "--cascade=foreground", "--timeout=60s")
    assert k("get", "rs,pods", "-l", "app=fore", "-o", "name").out == ""
    k("delete", "deployment", "orphan", "--cascade=orphan", "--timeout=60s")
    left = plane.get("replicasets", namespace=space)["items"]
    assert len(left) == 1 and "ownerReferences" not in left[0]["metadata"]


def test_owners_are_told_apart_by_uid(plane, space, k):
    def child(name, *owners):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid} for uid in owners]}}
    plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}, namespace=space)
    uid = plane.get("configmap", "owner", namespace=space)["metadata"]["uid"]
    other = "00000000-0000-0000-0000-000000000000"
    plane.apply(child("mine", uid), child("stale", other), child("both", uid, other), namespace=space)
    wait_until(lambda: "stale" not in k("get", "cm", "-o", "name").out, "an owner of another UID is none")
    wait_until(lambda: len(plane.get("cm", "both", namespace=space)["metadata"]["ownerReferences"]) == 1, "tidied")
    assert "mine" in k("get", "cm", "-o", "name").out
    k("delete", "cm", "owner")
    wait_until(lambda: k("get", "cm", "-o", "name").out == "", "the rest follows its owner")


def test_an_autoscaler_keeps_its_limits(plane, space, k):
    plane.apply(deploy(replicas=1), {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"minReplicas": 2, "maxReplicas": 3,
                 "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}, namespace=space)
    wait_until(lambda: sizes(plane, space) == {"x:1": 2}, "raised to the minimum")
    k("scale", "deployment/web", "--replicas=9")
    wait_until(lambda: sizes(plane, space) == {"x:1": 3}, "lowered to the maximum")


def test_a_pod_that_fits_nowhere_says_why(plane, space, k):
    d = deploy(replicas=1)
    d["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"memory": "999Gi"}}
    plane.apply(d, namespace=space)
    wait_until(lambda: "0/1 nodes are available: 1 Insufficient memory." in k("describe", "pods").out, "the reason")
    k("patch", "deployment", "web", "--type=json", "-p",
      '[{"op":"remove","path":"/spec/template/spec/containers/0/resources"}]')
    rolled(k)


def test_a_rollout_survives_the_api_server(plane, space, k):
    """kill -9 of the API server in the middle of a rollout, three times."""
    plane.apply(deploy(replicas=20), namespace=space)
    rolled(k)
    for image in ("x:2", "x:3", "x:4"):
        k("set", "image", "deployment/web", "c=" + image)
        pid = plane.role_pids()["apiserver"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: plane.role_pids().get("apiserver", pid) != pid, "a new API server")
        wait_until(lambda: plane.kubectl("get", "--raw", "/readyz", check=False).code == 0, "ready again")
        rolled(k)
    assert sizes(plane, space)["x:4"] == 20


def test_a_rollout_survives_the_controllers(plane, space, k):
    plane.apply(deploy(replicas=20), namespace=space)
    k("set", "image", "deployment/web", "c=x:2")
    pid = plane.role_pids()["controllers"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: plane.role_pids().get("controllers", pid) != pid, "new controllers")
    rolled(k)
    wait_until(lambda: len(plane.get("pods", namespace=space)["items"]) == 20, "no pod too many")
