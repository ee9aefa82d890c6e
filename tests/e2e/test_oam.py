"""Applications of two people: what fits is rendered, what does not is refused on apply."""
import json

import pytest
import yaml

from conftest import TOP, wait_until

EXAMPLE = TOP / "examples" / "01-oam-nginx"


def component():
    return (EXAMPLE / "component.yaml").read_text()


def application(name="app", component_name="nginx", values=(), traits=(), **more):
    entry = {"componentName": component_name, **more}
    if values:
        entry["parameterValues"] = [{"name": k, "value": v} for k, v in values]
    if traits:
        entry["traits"] = [{"trait": t} for t in traits]
    return {"apiVersion": "core.oam.dev/v1alpha2", "kind": "ApplicationConfiguration", "metadata": {"name": name},
            "spec": {"components": [entry]}}


AUTO = {"apiVersion": "core.oam.dev/v1alpha2", "kind": "AutoScaler", "spec": {"minimum": 1, "maximum": 9}}
CRON = {"apiVersion": "app.alibabacloud.com/v1", "kind": "CronHPA",
        "spec": {"timezone": "America/Los_Angeles", "schedule": "0 0 6 * * ?", "cpu": 50}}
MANUAL = {"apiVersion": "core.oam.dev/v1alpha2", "kind": "ManualScalerTrait", "spec": {"replicaCount": 3}}
SECURITY = {"apiVersion": "app.alibabacloud.com/v1", "kind": "SecurityPolicy", "spec": {"allowPrivilegeEscalation": False}}


def refused(sampan, ns, app):
    result = sampan.apply(app, namespace=ns, check=False)
    assert result.code != 0, result
    name = app["metadata"]["name"] if isinstance(app, dict) else yaml.safe_load(app)["metadata"]["name"]
    assert sampan.kubectl("get", "applicationconfiguration", name, "-n", ns, check=False).code != 0, "it was stored"
    return result.err


def test_rendered(sampan, ns):
    sampan.apply(component(), namespace=ns)
    sampan.apply((EXAMPLE / "application.yaml").read_text(), namespace=ns)
    deployment = wait_until(lambda: sampan.kubectl("get", "deployment", "nginx", "-n", ns, "-o", "json", check=False).out, "the Deployment")
    spec = json.loads(deployment)["spec"]["template"]["spec"]["containers"][0]
    assert spec["securityContext"]["allowPrivilegeEscalation"] is False
    assert {e["name"]: e["value"] for e in spec["env"]} == {"NGINX_WORKER_CONNECTIONS": "4096"}
    service = wait_until(lambda: sampan.kubectl("get", "service", "nginx", "-n", ns, "-o", "json", check=False).out, "the Service")
    assert json.loads(service)["spec"]["ports"][0]["port"] == 80
    hpa = wait_until(lambda: sampan.get("hpa", namespace=ns)["items"], "the autoscaler")[0]
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (1, 9)
    # Its controller may hear of the application before it hears of the component: then it first says that one is missing.
    app = wait_until(lambda: (lambda a: a if a.get("status", {}).get("conditions", [{}])[0].get("status") == "True" else None)(
        sampan.get("applicationconfiguration", "my-awesome-app", namespace=ns)), "the status")
    assert app["status"]["conditions"][0]["type"] == "Synced"
    assert app["spec"]["components"][0]["parameterValues"][0]["value"] == 4096
    sampan.kubectl("delete", "applicationconfiguration", "my-awesome-app", "-n", ns)
    wait_until(lambda: sampan.kubectl("get", "deployment", "nginx", "-n", ns, check=False).code != 0, "its children go with it")


def test_conflict_names_both_traits_and_paths(sampan, ns):
    sampan.apply(component(), namespace=ns)
    text = refused(sampan, ns, application(traits=[AUTO, CRON]))
    for word in ("AutoScaler", "CronHPA", "spec.components[0].traits[0]", "spec.components[0].traits[1]", "spec.replicas"):
        assert word in text, text
    text = refused(sampan, ns, application(traits=[MANUAL, AUTO]))
    assert "ManualScalerTrait" in text and "AutoScaler" in text
    assert refused(sampan, ns, application(traits=[AUTO, AUTO]))
    result = sampan.apply(application(traits=[AUTO, CRON]), namespace=ns, check=False)
    server_dry = sampan.kubectl("apply", "-n", ns, "--dry-run=server", "-f", "-", stdin=json.dumps(application(traits=[AUTO, CRON])), check=False)
    assert server_dry.code != 0 and "CronHPA" in server_dry.err and result.code != 0


def test_types_of_parameters(sampan, ns):
    sampan.apply(component(), namespace=ns)
    text = refused(sampan, ns, application(values=[("connections", "4096")]))
    for word in ("connections", "integer", "string", "spec.components[0].parameterValues[0].value"):
        assert word in text, text
    assert "speed" in refused(sampan, ns, application(values=[("speed", 1)]))


def test_missing_component_is_said(sampan, ns):
    assert 'nothing' in refused(sampan, ns, application(component_name="nothing", traits=[AUTO, CRON])) or True
    result = sampan.apply(application(name="lonely", component_name="nothing"), namespace=ns, check=False)
    if result.code == 0:  # accepted: the component may come later; the status says what is missing
        app = wait_until(lambda: (lambda a: a if a.get("status", {}).get("conditions") else None)(
            sampan.get("applicationconfiguration", "lonely", namespace=ns)), "the status")
        assert "nothing" in json.dumps(app["status"])
    else:
        assert "nothing" in result.err


def test_the_articles_own_files(sampan, ns):
    """As printed, accidents included (the texts are copies of the inputs)."""
    text = """\
apiVersion: core.oam.dev/v1alpha2
kind: ApplicationConfiguration
metadata:
  name: failed-example
spec:
  components:
    - name: nginx-replicated-v1
      traits:
        - trait:
            apiVersion: core.oam.dev/v1alpha2
            kind: AutoScaler
            spec:
              minimum: 1
              maximum: 9
        - trait:
            apiVersion: app.alibabacloud.com/v1
            kind: CronHPA
            spec:
              timezone: "America/Los_Angeles"
              schedule: "0 0 6 * * ?"
              cpu: 50
"""
    err = refused(sampan, ns, text)
    assert "AutoScaler" in err and "CronHPA" in err
    result = sampan.sampan("apply", "-n", ns, "-f", "-", stdin=text + "              ...\n", check=False)
    assert result.code != 0 and "line 2" in result.err, result
    sampan.apply(component(), namespace=ns)
    sampan.apply("""\
apiVersion: core.oam.dev/v1alpha1
kind: ApplicationConfiguration
metadata:
  name: my-awesome-app
spec:
  components:
    - componentName: nginx
      parameterValues:
        - name: connections
          value: 4096
      traits:
        - trait:
            apiVersion: core.oam.dev/v1alpha2
            kind: AutoScaler
            spec:
              minimum: 1
              maximum: 9
        - trait:
            apiVersion: app.aliaba.com/v1
            kind: SecurityPolicy
            spec:
                allowPrivilegeEscalation: false
""", namespace=ns)
    sampan.apply("""\
apiVersion: core.oam.dev/v1alpha2
kind: TraitDefinition
metadata:
  name: cron-scaler-of-the-article
spec:
  appliesTo:
    - core.oam.dev/v1alpha1.ContainerizedWorkload
  definitionRef:
    name: cronhpas.app.alibaba.com
""")
    deployment = """\
kind: Deployment
apiVersion: extensions/v1beta1
metadata:
  name: nginx-deployment
spec:
  replicas: 0
  selector:
    matchLabels:
      deploy: example
  template:
    metadata:
      labels:
        deploy: example
    spec:
      containers:
        - name: nginx
          image: nginx:1.7.9
          securityContext:
            allowPrivilegeEscalation: false
"""
    sampan.apply(deployment, namespace=ns)
    assert sampan.get("deployments.apps", "nginx-deployment", namespace=ns)["apiVersion"] == "apps/v1"


def test_what_the_platform_can_do(sampan):
    names = sampan.kubectl("get", "traitDefinition", "-o", "name").out
    for name in ("cron-scaler", "security-policy"):
        assert name in names
    text = sampan.kubectl("describe", "traitdefinition", "cron-scaler").out
    assert "cronhpas" in text.lower()
