"""Wrong things fail at the door, with words a beginner understands and nothing stored."""
import json

import pytest

BASE = "/api/v1/namespaces/default"


def config_map(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def test_broken_json_is_located(sampan):
    status, body = sampan.api("POST", f"{BASE}/configmaps", b'{"metadata": {"name": "x"},\n "data": {"a": }}')
    assert status == 400 and "line 2, column 16" in body["message"], body


def test_broken_yaml_is_located(sampan):
    status, body = sampan.api("POST", f"{BASE}/configmaps", b"metadata:\n  name: x\n data: [\n",
                              headers={"Content-Type": "application/yaml"})
    assert status == 400 and "line 3" in body["message"], body


def test_unknown_field_is_named(sampan):
    status, body = sampan.api("POST", f"{BASE}/pods?fieldValidation=Strict",
                              {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "imagee": "x"}]}})
    assert status == 400 and 'unknown field "spec.containers[0].imagee"' in body["message"], body


def test_unknown_field_warns(sampan):
    result = sampan.kubectl("create", "-f", "-", "--validate=warn", "--dry-run=server",
                            stdin=json.dumps(config_map("x", dataa={})), check=False)
    if 'invalid argument "warn" for "--validate"' in result.err:
        pytest.skip("kubectl before 1.25 asks for no warnings")
    assert "dataa" in result.err, result


def test_unknown_kind(sampan):
    result = sampan.kubectl("apply", "-f", "-", stdin="apiVersion: v1\nkind: Dream\nmetadata: {name: x}\n", check=False)
    assert result.code == 1 and "Dream" in result.err


def test_too_deep_and_too_long(sampan):
    deep = b'{"metadata":{"name":"x"},"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
    status, body = sampan.api("POST", f"{BASE}/configmaps", deep)
    assert status == 400 and "deep" in body["message"]
    status, body = sampan.api("POST", f"{BASE}/configmaps", config_map("x", data={"a": "x" * (4 << 20)}))
    assert status == 413, body
    assert sampan.api("GET", f"{BASE}/configmaps/x")[0] == 404


@pytest.mark.parametrize("obj, field", [
    ({"kind": "Pod", "metadata": {"name": "UPPER"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "metadata.name"),
    ({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}, "spec.containers"),
    ({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}, "spec.containers[0].image"),
    ({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]}},
     "spec.containers[0].ports[0].containerPort"),
    ({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "much"}}}]}}, "cpu"),
    ({"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port"),
])
def test_invalid_objects_name_the_field(sampan, obj, field):
    plural = obj["kind"].lower() + "s"
    status, body = sampan.api("POST", f"{BASE}/{plural}", {"apiVersion": "v1", **obj})
    assert status in (400, 422), body
    assert field in json.dumps(body), body


def test_deployment_selector_must_match(sampan):
    status, body = sampan.api("POST", "/apis/apps/v1/namespaces/default/deployments", {
        "metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "1"}}, "template": {
            "metadata": {"labels": {"a": "2"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    assert status == 422 and "spec.template.metadata.labels" in json.dumps(body), body


def test_conflicts(sampan, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    status, made = sampan.api("POST", path, config_map("c"))
    assert status == 201
    assert sampan.api("POST", path, config_map("c"))[1]["reason"] == "AlreadyExists"
    first = {**made, "data": {"a": "1"}}
    assert sampan.api("PUT", f"{path}/c", first)[0] == 200
    status, body = sampan.api("PUT", f"{path}/c", {**made, "data": {"a": "2"}})
    assert status == 409 and body["reason"] == "Conflict" and "modified" in body["message"]
    status, body = sampan.api("PUT", f"{path}/other", first)
    assert status == 400 and "name of the object (c) does not match the name on the URL (other)" in body["message"]
    status, body = sampan.api("DELETE", f"{path}/c", {"preconditions": {"uid": "not-this"}})
    assert status == 409


def test_missing_namespace(sampan):
    status, body = sampan.api("POST", "/api/v1/namespaces/nowhere/configmaps", config_map("c"))
    assert status == 404 and 'namespaces "nowhere" not found' in body["message"]


def test_status_codes_of_the_protocol(sampan):
    assert sampan.api("GET", "/apis/nothing.example/v1/things")[0] == 404
    assert sampan.api("GET", f"{BASE}/configmaps?labelSelector=a%3D%3D%3Db")[0] == 400
    assert sampan.api("GET", f"{BASE}/configmaps?continue=nonsense")[0] == 400
    assert sampan.api("POST", f"{BASE}/configmaps", b"x", headers={"Content-Type": "text/html"})[0] == 415
    assert sampan.api("PATCH", f"{BASE}/configmaps/kube-root", b"{}", headers={"Content-Type": "application/json"})[0] == 415
    assert sampan.api("POST", "/api/v1/nodes/x/status", {})[0] == 405
    status, body = sampan.api("GET", f"{BASE}/configmaps?resourceVersion=999999999")
    assert status == 504, body


def test_watch_too_old_is_410(sampan):
    events = sampan.watch("/api/v1/configmaps?watch=true&resourceVersion=1&timeoutSeconds=5")
    status, listing = sampan.api("GET", "/api/v1/configmaps?limit=1")
    for event in events:  # either the window still holds revision 1, or it says so
        assert event["type"] in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or event["object"]["code"] == 410
        break


@pytest.mark.parametrize("options", [
    [1], "x", {"gracePeriodSeconds": "x"}, {"gracePeriodSeconds": -5}, {"preconditions": "x"},
    {"preconditions": {"uid": 5}}, {"preconditions": {"resourceVersion": 5}}, {"propagationPolicy": 1},
    {"propagationPolicy": "Nope"}, {"dryRun": "All"},
])
def test_wrong_delete_options_delete_nothing(sampan, ns, options):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    assert sampan.api("POST", path, config_map("kept"))[0] == 201
    status, body = sampan.api("DELETE", f"{path}/kept", options)
    assert status == 400 and body["reason"] == "BadRequest", body
    assert sampan.api("GET", f"{path}/kept")[0] == 200


def test_a_name_that_is_a_number(sampan):
    status, body = sampan.api("POST", f"{BASE}/configmaps", b"metadata: {name: 12}\n", headers={"Content-Type": "application/yaml"})
    assert status == 422 and "metadata.name" in body["message"] and "quotes" in body["message"], body


def test_kubectl_tells_why_a_patch_does_not_apply(sampan, ns):
    sampan.apply(config_map("p"), namespace=ns)
    result = sampan.kubectl("patch", "cm", "p", "-n", ns, "--type=json", "-p",
                            '[{"op": "replace", "path": "/nope/x", "value": 1}]', check=False)
    assert result.code == 1 and "/nope/x" in result.err and "missing" in result.err, result
