"""What the server knows about its built-in kinds, seen through every kubectl that this machine has."""
import json

import pytest

from conftest import kubectls

VERSIONS = kubectls()
pytestmark = pytest.mark.skipif(not VERSIONS, reason="no kubectl on the PATH")


@pytest.fixture(params=sorted(VERSIONS))
def k(request, sampan, ns):
    def run(*args, **options):
        return sampan.kubectl(*args, "-n", ns, binary=VERSIONS[request.param], **options)
    return run


@pytest.mark.parametrize("path, says", [
    ("pods.spec.containers.image", "Image to run."),
    ("deployments.spec.strategy", "RollingUpdate, or Recreate"),
    ("services.spec.ports.targetPort", "by number or name"),
    ("traitdefinitions.spec.conflictsWith", "Traits that cannot be bound to the same component"),
    ("applicationconfigurations.spec.components", "parameterValues"),
    ("httproutes.spec.rules", "backendRefs"),
    ("customresourcedefinitions.spec.versions", "additionalPrinterColumns"),
])
def test_explain(k, path, says):
    assert says in " ".join(k("explain", path).out.split())


def test_services_get_addresses_and_node_ports(k):
    k("create", "service", "nodeport", "web", "--tcp=80:http")
    spec = json.loads(k("get", "service", "web", "-o", "json").out)["spec"]
    assert spec["clusterIP"].startswith("10.96.") and 30000 <= spec["ports"][0]["nodePort"] <= 32767
    line = k("get", "service", "web").out.splitlines()[1].split()
    assert line[:5] == ["web", "NodePort", spec["clusterIP"], "<none>", f"80:{spec['ports'][0]['nodePort']}/TCP"]
    taken = k("create", "service", "nodeport", "other", "--tcp=80:80", f"--node-port={spec['ports'][0]['nodePort']}", check=False)
    assert taken.code != 0 and "provided port is already allocated" in taken.err


def test_everything_wrong_is_told_at_once(k):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
           "spec": {"containers": [{"name": "c", "image": "", "ports": [{"containerPort": 70000}],
                                    "volumeMounts": [{"name": "nothing", "mountPath": "/x"}]},
                                   {"name": "c", "image": "i"}]}}
    answer = k("create", "-f", "-", stdin=json.dumps(pod), check=False)
    assert answer.code != 0
    for cause in ("spec.containers[0].image: Required value",
                  "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                  'spec.containers[0].volumeMounts[0].name: Not found: "nothing"',
                  'spec.containers[1].name: Duplicate value: "c"'):
        assert cause in answer.err


def test_a_selector_stays(k):
    def deployment(label):
        return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": label}},
            "template": {"metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
    k("apply", "-f", "-", stdin=deployment("one"))
    answer = k("apply", "-f", "-", stdin=deployment("two"), check=False)
    assert answer.code != 0 and "field is immutable" in answer.err


def test_recreate_replaces_a_rolling_update(k):
    """The defaults of the old strategy go with it: kubectl's patch says so by $retainKeys."""
    def deployment(**more):
        return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "d"}}, **more,
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
    k("apply", "-f", "-", stdin=deployment())
    k("apply", "-f", "-", stdin=deployment(strategy={"type": "Recreate"}))
    assert json.loads(k("get", "deployment", "d", "-o", "json").out)["spec"]["strategy"] == {"type": "Recreate"}


def test_the_old_group_serves_the_same_deployment(k):
    old = {"apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "old"}, "spec": {
        "replicas": 0, "template": {"metadata": {"labels": {"app": "old"}},
                                    "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}
    k("create", "-f", "-", stdin=json.dumps(old))
    stored = json.loads(k("get", "deployments.v1.apps", "old", "-o", "json").out)
    assert stored["apiVersion"] == "apps/v1" and stored["spec"]["selector"] == {"matchLabels": {"app": "old"}}
    assert len(k("get", "deploy", "-o", "name").out.split()) == 1


def test_text_in_secrets_is_encoded(k):
    k("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                                             "stringData": {"k": "geheim"}}))
    secret = json.loads(k("get", "secret", "s", "-o", "json").out)
    assert secret["data"] == {"k": "Z2VoZWlt"} and "stringData" not in secret and secret["type"] == "Opaque"
