"""Watches, pages, CRDs, finalizers, owners: the API as client libraries use it."""
import json
import threading

import pytest

from conftest import wait_until


def config_map(name, **meta):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}}


def test_list_then_watch_misses_nothing(sampan, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    sampan.api("POST", path, config_map("a"))
    _, listing = sampan.api("GET", path)
    rv = listing["metadata"]["resourceVersion"]
    writer = threading.Thread(target=lambda: [sampan.api("POST", path, config_map(f"w{i}")) for i in range(10)])
    writer.start()
    seen = []
    for event in sampan.watch(f"{path}?watch=true&resourceVersion={rv}&timeoutSeconds=60"):
        seen.append((event["type"], event["object"]["metadata"]["name"]))
        if len(seen) == 10:
            break
    writer.join()
    assert seen == [("ADDED", f"w{i}") for i in range(10)]


def test_watch_with_selector_turns_leaving_into_deleted(sampan, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    sampan.api("POST", path, config_map("x", labels={"in": "yes"}))
    events = sampan.watch(f"{path}?watch=true&labelSelector=in%3Dyes&timeoutSeconds=60")
    assert next(events)["type"] == "ADDED"
    sampan.api("PATCH", f"{path}/x", {"metadata": {"labels": {"in": "no"}}}, headers={"Content-Type": "application/merge-patch+json"})
    assert next(events)["type"] == "DELETED"


def test_pages_share_one_revision(sampan, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    for i in range(5):
        sampan.api("POST", path, config_map(f"c{i}"))
    _, first = sampan.api("GET", f"{path}?limit=2")
    sampan.api("DELETE", f"{path}/c4")
    sampan.api("POST", path, config_map("c9"))
    names, page = [i["metadata"]["name"] for i in first["items"]], first
    assert page["metadata"]["remainingItemCount"] == 3
    while page["metadata"].get("continue"):
        _, page = sampan.api("GET", f"{path}?limit=2&continue={page['metadata']['continue']}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [i["metadata"]["name"] for i in page["items"]]
    assert names == ["c0", "c1", "c2", "c3", "c4"]


def test_finalizers_hold(sampan, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    sampan.api("POST", path, config_map("f", finalizers=["example.com/hold"]))
    status, body = sampan.api("DELETE", f"{path}/f")
    assert status == 200 and body["metadata"]["deletionTimestamp"]
    assert sampan.api("GET", f"{path}/f")[0] == 200
    sampan.api("PATCH", f"{path}/f", {"metadata": {"finalizers": None}}, headers={"Content-Type": "application/merge-patch+json"})
    assert sampan.api("GET", f"{path}/f")[0] == 404


def test_owned_objects_go_with_their_owner(sampan, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    _, owner = sampan.api("POST", path, config_map("owner"))
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    sampan.api("POST", path, config_map("child", ownerReferences=[ref]))
    sampan.api("POST", path, config_map("stranger", ownerReferences=[{**ref, "uid": "00000000-0000-4000-8000-000000000000", "name": "nobody"}]))
    sampan.api("DELETE", f"{path}/owner")
    wait_until(lambda: sampan.api("GET", f"{path}/child")[0] == 404, "the child is collected")
    wait_until(lambda: sampan.api("GET", f"{path}/stranger")[0] == 404, "an object whose owner never was is collected")


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"]},
             "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                           "additionalPrinterColumns": [{"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"}],
                           "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                               "spec": {"type": "object", "required": ["sails"], "properties": {
                                   "sails": {"type": "integer", "minimum": 1, "maximum": 9},
                                   "colour": {"type": "string", "default": "red", "enum": ["red", "blue"]}}},
                               "status": {"type": "object", "properties": {"afloat": {"type": "boolean"}}}}}}}]},
}


def test_custom_resources(sampan, ns):
    sampan.apply(CRD)
    sampan.kubectl("wait", "--for=condition=Established", "crd/boats.example.com", "--timeout=60s")
    path = f"/apis/example.com/v1/namespaces/{ns}/boats"
    boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "junk"}, "spec": {"sails": 3, "anchor": "x"}, "status": {"afloat": True}}
    status, made = sampan.api("POST", path, boat)
    assert status == 201, made
    assert made["spec"] == {"sails": 3, "colour": "red"} and "status" not in made  # defaulted, pruned
    status, body = sampan.api("POST", path, {**boat, "metadata": {"name": "bad"}, "spec": {"sails": "three", "colour": "green"}})
    assert status == 422 and {c["field"] for c in body["details"]["causes"]} == {"spec.sails", "spec.colour"}, body
    assert "unknown field" in sampan.api("POST", f"{path}?fieldValidation=Strict", {**boat, "metadata": {"name": "bad"}})[1]["message"]
    sampan.api("PATCH", f"{path}/junk/status", {"status": {"afloat": False}}, headers={"Content-Type": "application/merge-patch+json"})
    assert sampan.api("GET", f"{path}/junk")[1]["status"] == {"afloat": False}
    sampan.kubectl("get", "boats", "-n", ns)  # old kubectl look for new kinds again, for new short names not
    table = sampan.kubectl("get", "bt", "-n", ns).out.split()
    assert table[:3] == ["NAME", "SAILS"] + table[2:3] and "junk" in table
    sampan.kubectl("delete", "crd", "boats.example.com", "--timeout=60s")
    wait_until(lambda: sampan.api("GET", path)[0] == 404, "its paths go with it")


def test_python_client(sampan, ns):
    client = pytest.importorskip("kubernetes.client")
    config = pytest.importorskip("kubernetes.config")
    watch = pytest.importorskip("kubernetes.watch")
    config.load_kube_config(sampan.kubeconfig)
    core = client.CoreV1Api()
    core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py"), data={"k": "v"}))
    assert core.read_namespaced_config_map("py", ns).data == {"k": "v"}
    core.patch_namespaced_config_map("py", ns, {"data": {"k": "w"}})
    w = watch.Watch()
    for event in w.stream(core.list_namespaced_config_map, ns, timeout_seconds=20):
        assert event["object"].data == {"k": "w"}
        w.stop()
    with pytest.raises(client.exceptions.ApiException) as e:
        core.read_namespaced_config_map("none", ns)
    assert e.value.status == 404
    core.delete_namespaced_config_map("py", ns)
    assert client.VersionApi().get_code().minor


def test_metrics_and_health(sampan):
    for path in ("/healthz", "/livez", "/readyz"):
        assert sampan.api("GET", path, anonymous=True) == (200, "ok")
    assert "[+]" in sampan.api("GET", "/readyz?verbose")[1]
    text = sampan.api("GET", "/metrics")[1]
    for name in ("apiserver_request_total", "apiserver_request_duration_seconds_bucket", "process_resident_memory_bytes"):
        assert name in text
