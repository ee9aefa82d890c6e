"""Real containers: started, probed, restarted, logged, limited, stopped."""
import contextlib
import json
import os
import pathlib
import signal
import time

from conftest import needs_root, wait_until

pytestmark = needs_root


def pod(name, command, image="busybox:test", labels=None, **container):
    spec = {"containers": [{"name": "main", "image": image, "command": ["sh", "-c", command], **container}],
            "terminationGracePeriodSeconds": 2}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {"app": name}}, "spec": spec}


def status(sampan, ns, name):
    return sampan.get("pod", name, namespace=ns).get("status", {})


def container(sampan, ns, name):
    found = status(sampan, ns, name).get("containerStatuses", [])
    return found[0] if found else {}


def wait_running(sampan, ns, name):
    wait_until(lambda: "running" in container(sampan, ns, name).get("state", {}), f"{name} runs")


def processes(uid):
    """Pids whose cgroup names the pod."""
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if uid in (p / "cgroup").read_text():
                found.append(int(p.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def test_runs_logs_and_goes(sampan, ns, busybox):
    sampan.apply(pod("hello", "echo out; echo err >&2; id -u; exec sleep 1000", securityContext={"runAsUser": 65534}), namespace=ns)
    wait_running(sampan, ns, "hello")
    wait_until(lambda: sorted(sampan.kubectl("logs", "hello", "-n", ns).out.split()) == ["65534", "err", "out"], "the log")
    assert len(sampan.kubectl("logs", "hello", "-n", ns, "--tail=1").out.split()) == 1
    found = sampan.get("pod", "hello", namespace=ns)
    assert found["status"]["phase"] == "Running" and found["status"]["podIP"] and found["spec"]["nodeName"] == "node-1"
    uid = found["metadata"]["uid"]
    assert processes(uid)
    line = sampan.kubectl("get", "pods", "-n", ns).out.splitlines()[1].split()
    assert line[:4] == ["hello", "1/1", "Running", "0"]
    sampan.kubectl("delete", "pod", "hello", "-n", ns, "--timeout=60s")
    wait_until(lambda: not processes(uid), "its processes are gone")


def test_logs_follow(sampan, ns, busybox):
    import subprocess
    sampan.apply(pod("ticker", "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.2; done"), namespace=ns)
    wait_running(sampan, ns, "ticker")
    follower = subprocess.Popen(["kubectl", "logs", "-f", "ticker", "-n", ns], env=sampan.env(), stdout=subprocess.PIPE, text=True)
    try:
        lines = [follower.stdout.readline().strip() for _ in range(8)]
        assert lines == [f"tick {i}" for i in range(8)]
    finally:
        follower.kill()
        follower.wait()


def test_crash_loop_tells_why(sampan, ns, busybox):
    sampan.apply(pod("broken", "echo the database is not there; exit 3"), namespace=ns)
    state = wait_until(lambda: (lambda c: c if c.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff" else None)(
        container(sampan, ns, "broken")), "the back-off")
    assert state["lastState"]["terminated"]["exitCode"] == 3 and state["restartCount"] >= 1
    # It goes on to start and to end: each of the others may look while it runs.
    wait_until(lambda: "CrashLoopBackOff" in sampan.kubectl("get", "pods", "-n", ns).out, "the list says so")
    wait_until(lambda: all(words in sampan.kubectl("describe", "pod", "broken", "-n", ns).out
                           for words in ("CrashLoopBackOff", "BackOff", "the database is not there")), "its description and events say so")
    assert "the database" in sampan.kubectl("logs", "broken", "--previous", "-n", ns).out


def test_missing_image_is_said(sampan, ns, busybox):
    o = pod("nowhere", "true", image="127.0.0.1:1/nothing:here")
    sampan.apply(o, namespace=ns)
    waiting = lambda: container(sampan, ns, "nowhere").get("state", {}).get("waiting", {}).get("reason")
    wait_until(lambda: waiting() in ("ErrImagePull", "ImagePullBackOff"), "a reason")
    wait_until(lambda: "127.0.0.1:1/nothing:here" in sampan.kubectl("describe", "pod", "nowhere", "-n", ns).out.split("Events:")[1], "the event")
    never = pod("never", "true", image="not-imported:1", imagePullPolicy="Never")
    sampan.apply(never, namespace=ns)
    wait_until(lambda: container(sampan, ns, "never").get("state", {}).get("waiting", {}).get("reason") == "ErrImageNeverPull", "ErrImageNeverPull")


def test_oom_and_signal(sampan, ns, busybox):
    o = pod("greedy", "x=a; while true; do x=$x$x; done", resources={"limits": {"memory": "16Mi"}})
    o["spec"]["restartPolicy"] = "Never"
    sampan.apply(o, namespace=ns)
    ended = wait_until(lambda: container(sampan, ns, "greedy").get("state", {}).get("terminated"), "the end")
    assert ended["reason"] == "OOMKilled" and ended["exitCode"] == 137
    wait_until(lambda: status(sampan, ns, "greedy")["phase"] == "Failed", "Failed")


def test_completes(sampan, ns, busybox):
    o = pod("job", "echo done")
    o["spec"]["restartPolicy"] = "Never"
    o["spec"]["initContainers"] = [{"name": "first", "image": busybox, "command": ["true"]}]
    sampan.apply(o, namespace=ns)
    wait_until(lambda: status(sampan, ns, "job").get("phase") == "Succeeded", "Succeeded")
    assert "Completed" in sampan.kubectl("get", "pods", "-n", ns).out


def test_environment_and_volumes(sampan, ns, busybox):
    sampan.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"colour": "red", "app.conf": "x=1\n"}},
                 {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec"}, "stringData": {"key": "hush"}}, namespace=ns)
    o = pod("vol", "echo $COLOUR $KEY $POD; cat /conf/app.conf /sec/key; echo kept > /data/f; cat /data/f; exec sleep 1000",
            env=[{"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "colour"}}},
                 {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "key"}}},
                 {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            volumeMounts=[{"name": "c", "mountPath": "/conf"}, {"name": "s", "mountPath": "/sec", "readOnly": True}, {"name": "d", "mountPath": "/data"}])
    o["spec"]["volumes"] = [{"name": "c", "configMap": {"name": "conf"}}, {"name": "s", "secret": {"secretName": "sec"}}, {"name": "d", "emptyDir": {}}]
    sampan.apply(o, namespace=ns)
    wait_until(lambda: sampan.kubectl("logs", "vol", "-n", ns, check=False).out == "red hush vol\nx=1\nhushkept\n", "the log")


def test_readiness_and_liveness(sampan, ns, busybox):
    probe = {"periodSeconds": 1, "timeoutSeconds": 30}  # a slow machine alone fails no probe
    o = pod("probed", "sleep 1; touch /tmp/ready; exec sleep 1000",
            readinessProbe={"exec": {"command": ["cat", "/tmp/ready"]}, "failureThreshold": 1, **probe},
            livenessProbe={"exec": {"command": ["sh", "-c", "test ! -e /tmp/ill"]}, "failureThreshold": 2, **probe})
    sampan.apply(o, namespace=ns)
    wait_running(sampan, ns, "probed")
    wait_until(lambda: container(sampan, ns, "probed").get("ready"), "ready")
    sampan.kubectl("exec", "probed", "-n", ns, "--", "rm", "/tmp/ready")
    wait_until(lambda: not container(sampan, ns, "probed").get("ready"), "not ready")
    assert container(sampan, ns, "probed")["restartCount"] == 0
    sampan.kubectl("exec", "probed", "-n", ns, "--", "touch", "/tmp/ill")
    wait_until(lambda: container(sampan, ns, "probed").get("restartCount", 0) >= 1, "restarted by its liveness probe")
    wait_until(lambda: "Unhealthy" in sampan.kubectl("describe", "pod", "probed", "-n", ns).out, "the event")


def test_containers_outlive_the_agent(sampan, ns, busybox):
    sampan.apply(pod("lasting", "echo started; exec sleep 1000"), namespace=ns)
    wait_running(sampan, ns, "lasting")
    uid = sampan.get("pod", "lasting", namespace=ns)["metadata"]["uid"]
    before = container(sampan, ns, "lasting")
    pids = set(processes(uid))
    agent = sampan.role_pids()["agent"]
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: sampan.role_pids().get("agent", agent) != agent, "the agent starts again")
    time.sleep(1)  # long enough for a careless agent to do harm
    assert set(processes(uid)) & pids, "the container was touched"
    after = container(sampan, ns, "lasting")
    assert after["containerID"] == before["containerID"] and after["restartCount"] == before["restartCount"]
    wait_until(lambda: sampan.kubectl("logs", "lasting", "-n", ns, check=False).out == "started\n", "logs through the new agent")
    # and it is still watched over
    for pid in processes(uid):
        with contextlib.suppress(ProcessLookupError):  # one takes others along
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: container(sampan, ns, "lasting").get("restartCount", 0) == before["restartCount"] + 1, "a restart")


def test_graceful_stop(sampan, ns, busybox):
    o = pod("polite", "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done")
    o["spec"]["terminationGracePeriodSeconds"] = 30
    sampan.apply(o, namespace=ns)
    wait_until(lambda: "up" in sampan.kubectl("logs", "polite", "-n", ns, check=False).out, "it listens for signals")
    began = time.monotonic()
    sampan.kubectl("delete", "pod", "polite", "-n", ns, "--timeout=60s")
    assert time.monotonic() - began < 25, "it had to be killed"


def test_node_is_described(sampan):
    node = sampan.get("node", "node-1")
    assert any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    assert node["status"]["capacity"]["cpu"] == str(os.cpu_count())
    line = sampan.kubectl("get", "nodes").out.splitlines()[1].split()
    assert line[:2] == ["node-1", "Ready"]
    lease = sampan.get("lease", "node-1", namespace="kube-node-lease")
    assert lease["spec"]["holderIdentity"] == "node-1"


def test_rollout_and_undo(sampan, ns, busybox):
    def deployment(text):
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "roll"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "roll"}}, "template": {
                "metadata": {"labels": {"app": "roll"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                    {"name": "main", "image": busybox, "command": ["sh", "-c", f"echo {text}; exec sleep 1000"]}]}}}}
    sampan.apply(deployment("one"), namespace=ns)
    sampan.kubectl("rollout", "status", "deployment/roll", "-n", ns, "--timeout=60s")
    sampan.apply(deployment("two"), namespace=ns)
    sampan.kubectl("rollout", "status", "deployment/roll", "-n", ns, "--timeout=60s")
    pods = wait_until(lambda: sampan.pods_ready("app=roll", 2, ns), "two new pods")
    assert all("echo two" in p["spec"]["containers"][0]["command"][2] for p in pods)
    assert "2" in sampan.kubectl("rollout", "history", "deployment/roll", "-n", ns).out
    sampan.kubectl("rollout", "undo", "deployment/roll", "-n", ns)
    wait_until(lambda: (lambda p: p and all("echo one" in q["spec"]["containers"][0]["command"][2] for q in p))(
        sampan.pods_ready("app=roll", 2, ns)), "back to one")
    sampan.kubectl("scale", "deployment/roll", "--replicas=3", "-n", ns)
    victim = wait_until(lambda: sampan.pods_ready("app=roll", 3, ns), "three pods")[0]["metadata"]["name"]
    sampan.kubectl("delete", "pod", victim, "-n", ns)
    wait_until(lambda: sampan.pods_ready("app=roll", 3, ns), "the deleted pod is replaced")
