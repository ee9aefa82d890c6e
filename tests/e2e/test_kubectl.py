"""What people type, with every kubectl that this machine has."""
import json
import subprocess

import pytest

from conftest import kubectls, wait_until

VERSIONS = kubectls()
pytestmark = pytest.mark.skipif(not VERSIONS, reason="no kubectl on the PATH")

DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
             "template": {"metadata": {"labels": {"app": "web"}},
                          "spec": {"containers": [{"name": "main", "image": "busybox:test"}]}}},
}


@pytest.fixture(params=sorted(VERSIONS))
def k(request, sampan, ns):
    """kubectl of one version in a namespace of its own."""
    def run(*args, **options):
        return sampan.kubectl(*args, "-n", ns, binary=VERSIONS[request.param], **options)
    return run


def test_create_and_look(k):
    """Imperative create: from 1.32 on its bodies are protobuf."""
    k("create", "configmap", "settings", "--from-literal=a=1", "--from-literal=b=two")
    assert json.loads(k("get", "cm", "settings", "-o", "json").out)["data"] == {"a": "1", "b": "two"}
    k("create", "secret", "generic", "keys", "--from-literal=password=hunter2")
    assert json.loads(k("get", "secret", "keys", "-o", "json").out)["data"] == {"password": "aHVudGVyMg=="}
    k("create", "serviceaccount", "robot")
    k("create", "deployment", "shop", "--image=busybox:test")
    k("create", "service", "clusterip", "shop", "--tcp=80:8080")
    spec = json.loads(k("get", "service", "shop", "-o", "json").out)["spec"]
    assert spec["ports"][0]["targetPort"] == 8080 and spec["clusterIP"].startswith("10.96.")
    assert k("get", "deployment", "shop", "-o", "jsonpath={.spec.template.spec.containers[0].image}").out == "busybox:test"
    assert k("get", "deployment", "shop", "-o", "name").out.strip() == "deployment.apps/shop"
    header = k("get", "deployments", "-o", "wide").out.splitlines()[0].split()
    assert header[:5] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"] and "IMAGES" in header
    assert "kind: Deployment" in k("get", "deploy", "shop", "-o", "yaml").out
    assert "shop" in k("describe", "deployment", "shop").out


def test_apply_edit_patch_delete(k, tmp_path):
    file = tmp_path / "web.json"
    file.write_text(json.dumps(DEPLOYMENT))
    assert "created" in k("apply", "-f", str(file)).out
    assert "unchanged" in k("apply", "-f", str(file)).out
    changed = json.loads(json.dumps(DEPLOYMENT))
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    file.write_text(json.dumps(changed))
    assert "configured" in k("apply", "-f", str(file)).out
    k("label", "deployment", "web", "tier=front")
    k("annotate", "deployment", "web", "note=hello")
    k("patch", "deployment", "web", "--type=strategic", "-p",
      '{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"B","value":"2"}]}]}}}}')
    k("patch", "deployment", "web", "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/x","value":"y"}]')
    k("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"x":null}}}')
    o = json.loads(k("get", "deployment", "web", "-o", "json").out)
    assert o["metadata"]["labels"] == {"tier": "front"} and o["metadata"]["annotations"]["note"] == "hello"
    env = o["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {e["name"]: e["value"] for e in env} == {"A": "1", "B": "2"}
    k("scale", "deployment", "web", "--replicas=0")
    assert "replicas" in k("explain", "deployment.spec").out
    subprocess_env = tmp_path / "editor"
    subprocess_env.write_text("#!/bin/sh\nsed -i 's/note: hello/note: edited/' \"$1\"\n")
    subprocess_env.chmod(0o755)
    import os
    os.environ["KUBE_EDITOR"] = str(subprocess_env)
    try:
        k("edit", "deployment", "web")
    finally:
        del os.environ["KUBE_EDITOR"]
    assert k("get", "deployment", "web", "-o", "jsonpath={.metadata.annotations.note}").out == "edited"
    assert "deleted" in k("delete", "deployment", "web").out
    missing = k("get", "deployment", "web", check=False)
    assert missing.code == 1 and 'deployments.apps "web" not found' in missing.err


def test_lists_select_and_page(k):
    k("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{i}", "labels": {"half": str(i % 2)}}} for i in range(7)]}))
    assert len(k("get", "cm", "-l", "half=1", "-o", "name").out.split()) == 3
    assert len(k("get", "cm", "-l", "half in (0,1)", "--chunk-size=2", "-o", "name").out.split()) == 7
    assert k("get", "cm", "--field-selector", "metadata.name=c3", "-o", "name").out.split() == ["configmap/c3"]
    k("delete", "cm", "-l", "half=0")
    assert k("get", "cm", "-o", "name").out.split() == ["configmap/c1", "configmap/c3", "configmap/c5"]


def test_api_resources_and_versions(k):
    text = k("api-resources").out
    for word in ("pods", "deployments", "applicationconfigurations", "customresourcedefinitions", "httproutes"):
        assert word in text
    assert "apps/v1" in k("api-versions").out
    assert k("version").code == 0


def test_watch_sees_what_happens(k, sampan, ns):
    binary = VERSIONS[sorted(VERSIONS)[-1]]
    watcher = subprocess.Popen([binary, "get", "cm", "-n", ns, "-w", "-o", "name"], env=sampan.env(),
                               stdout=subprocess.PIPE, text=True)
    try:
        k("create", "configmap", "seen")
        assert watcher.stdout.readline().strip() == "configmap/seen"
        k("label", "configmap", "seen", "a=b")
        assert watcher.stdout.readline().strip() == "configmap/seen"
        k("delete", "configmap", "seen")
        assert watcher.stdout.readline().strip() == "configmap/seen"
    finally:
        watcher.kill()
        watcher.wait()


def test_dry_run_stores_nothing(k):
    k("create", "-f", "-", "--dry-run=server", stdin=json.dumps(DEPLOYMENT))
    assert k("get", "deployment", "web", check=False).code == 1


def test_wait_and_rollout(k):
    k("create", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=60s").out
    k("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")


def test_namespace_goes_with_everything_in_it(sampan):
    sampan.kubectl("create", "namespace", "doomed")
    sampan.kubectl("create", "configmap", "inside", "-n", "doomed")
    sampan.kubectl("delete", "namespace", "doomed", "--timeout=60s")
    wait_until(lambda: sampan.api("GET", "/api/v1/namespaces/doomed")[0] == 404, "the namespace is gone")
    assert sampan.api("GET", "/api/v1/namespaces/doomed/configmaps/inside")[0] == 404
