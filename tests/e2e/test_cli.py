"""Our own client commands: kubectl's words and output, on a machine without kubectl."""
import json
import re

import pytest

from conftest import needs_root, wait_until


@pytest.fixture
def s(sampan, ns):
    def run(*args, **options):
        return sampan.sampan(args[0], "-n", ns, *args[1:], **options)
    return run


def deployment(name="web", env="1"):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "main", "image": "busybox:test", "env": [{"name": "A", "value": env}]}]}}}}


def test_apply_says_what_kubectl_says(s, sampan, ns):
    text = json.dumps(deployment())
    assert s("apply", "-f", "-", stdin=text).out == "deployment.apps/web created\n"
    assert s("apply", "-f", "-", stdin=text).out == "deployment.apps/web unchanged\n"
    assert sampan.kubectl("apply", "-n", ns, "-f", "-", stdin=text).out == "deployment.apps/web unchanged\n"
    assert s("apply", "-f", "-", "--dry-run", "server", stdin=json.dumps(deployment(env="2"))).out == "deployment.apps/web configured (server dry run)\n"
    assert s("apply", "-f", "-", stdin=json.dumps(deployment(env="2"))).out == "deployment.apps/web configured\n"
    assert s("get", "deploy/web", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}").out == "2"


def test_apply_takes_away_what_it_once_gave(s):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"x": "1"}}, "data": {"a": "1", "b": "2"}}
    s("apply", "-f", "-", stdin=json.dumps(config))
    del config["data"]["b"], config["metadata"]["labels"]
    s("apply", "-f", "-", stdin=json.dumps(config))
    found = json.loads(s("get", "cm", "c", "-o", "json").out)
    assert found["data"] == {"a": "1"} and not found["metadata"].get("labels")


def test_output_equals_kubectl(s, sampan, ns):
    s("apply", "-f", "-", stdin=json.dumps(deployment()))
    # Until its controller has said all: between two looks nothing may change.
    wait_until(lambda: (lambda a, b: a == b and '"Available"' in a and '"NewReplicaSetAvailable"' in a)(*(s("get", "deploy", "web", "-o", "json").out for _ in "ab")), "its status")
    for words in (["get", "deployments"], ["get", "deploy", "web", "-o", "name"], ["get", "deployments", "-o", "wide"],
                  ["get", "cm,deploy", "-o", "name"], ["get", "deployment/web", "-o", "json"]):
        ours, theirs = s(*words).out, sampan.kubectl(*words, "-n", ns).out
        if words[-1] == "json":
            assert json.loads(ours) == json.loads(theirs)
        else:
            strip = lambda t: [[w for w in line.split() if not re.fullmatch(r"[0-9]+s", w)] for line in t.splitlines()]  # but for ages
            assert strip(ours) == strip(theirs)
    assert s("get", "secrets").err == f"No resources found in {ns} namespace.\n"
    missing = s("get", "deployment", "none", check=False)
    assert missing.code == 1 and missing.err == 'Error from server (NotFound): deployments.apps "none" not found\n'


def test_describe_and_delete(s):
    s("apply", "-f", "-", stdin=json.dumps(deployment()))
    text = s("describe", "deployment", "web").out
    assert text.startswith("Name:") and "busybox:test" in text and "Events:" in text
    assert s("delete", "deployment", "web").out == 'deployment.apps "web" deleted\n'
    assert s("delete", "deployment", "web", check=False).code == 1
    assert s("delete", "deployment", "web", "--ignore-not-found").code == 0


def test_errors_are_words(s, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n data: {}\n")
    result = s("apply", "-f", str(bad), check=False)
    assert result.code == 1 and "bad.yaml" in result.err and "line 5" in result.err
    bad.write_text("apiVersion: v1\nkind: Dream\nmetadata:\n  name: x\n")
    assert 'no matches for kind "Dream"' in s("apply", "-f", str(bad), check=False).err
    assert s("get", "dreams", check=False).err.startswith("error: the server doesn't have a resource type")
    assert "No such file" in s("apply", "-f", str(tmp_path / "none.yaml"), check=False).err


def test_typographic_quotes_are_repaired_with_a_warning(s):
    text = "apiVersion: “v1”\nkind: ConfigMap\nmetadata:\n  name: quoted\ndata:\n  a: “kept”\n"
    result = s("apply", "-f", "-", stdin=text)
    assert "Warning" in result.err and "created" in result.out
    assert s("get", "cm", "quoted", "-o", "jsonpath={.data.a}").out == "“kept”"


def test_no_server(sampan, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text(open(sampan.kubeconfig).read().replace(f":{sampan.api_port}", ":1"))
    result = sampan.sampan("get", "pods", "--kubeconfig", str(config), check=False)
    assert result.code == 1 and "127.0.0.1:1" in result.err and "sampan up" in result.err


@needs_root
def test_logs(s, busybox):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talker"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "main", "image": busybox, "command": ["sh", "-c", "seq 1 5; exec sleep 1000"]}]}}
    s("apply", "-f", "-", stdin=json.dumps(pod))
    wait_until(lambda: s("logs", "talker", check=False).out == "1\n2\n3\n4\n5\n", "the log")
    assert s("logs", "talker", "--tail", "2").out == "4\n5\n"
