"""Traffic from outside to real pods."""
import json
import threading
import time

import pytest

from conftest import free_port, needs_root, wait_until

pytestmark = needs_root


def web(name, text, image, replicas=1):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "main", "image": image, "command": ["sh", "-c", f"echo {text} $(hostname) > /www/index.html; exec httpd -f -p 80 -h /www"],
                "ports": [{"containerPort": 80}],
                "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}}]}}}}


def service(name, port=80, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": 80, **spec.pop("port_extra", {})}], **spec}}


def test_load_balancer_node_port_and_cluster_ip(sampan, ns, busybox):
    port = free_port()
    sampan.apply(web("front", "hello", busybox), service("front", port, type="LoadBalancer"), namespace=ns)
    wait_until(lambda: sampan.pods_ready("app=front", 1, ns), "the pod")
    found = wait_until(lambda: (lambda s: s if s["status"].get("loadBalancer", {}).get("ingress") else None)(
        sampan.get("service", "front", namespace=ns)), "an address")
    address = found["status"]["loadBalancer"]["ingress"][0]["ip"]
    wait_until(lambda: sampan.http(port=port, host=address)[1].startswith("hello front-"), "an answer at the load balancer's port")
    node_port = found["spec"]["ports"][0]["nodePort"]
    assert 30000 <= node_port <= 32767
    wait_until(lambda: sampan.http(port=node_port)[1].startswith("hello front-"), "at the node port")
    wait_until(lambda: sampan.http(port=port, host=found["spec"]["clusterIP"])[1].startswith("hello front-"), "at the cluster IP")


def test_ingress_and_http_route(sampan, ns, busybox):
    sampan.apply(web("red", "red", busybox), service("red"), web("blue", "blue", busybox), service("blue"), namespace=ns)
    backend = lambda name: {"service": {"name": name, "port": {"number": 80}}}
    sampan.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "paint"}, "spec": {"rules": [
        {"host": f"{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend("red")},
                                                  {"path": "/index.html", "pathType": "Exact", "backend": backend("blue")}]}}]}}, namespace=ns)
    host = {"Host": f"{ns}.test"}
    wait_until(lambda: sampan.http("/", headers=host)[1].startswith("red"), "red through the Ingress")
    wait_until(lambda: sampan.http("/index.html", headers=host)[1].startswith("blue"), "blue for the exact path")
    assert sampan.http("/", headers={"Host": "elsewhere.test"})[0] == 404
    sampan.apply({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "sampan"},
                  "spec": {"controllerName": "sampan.dev/gateway"}},
                 {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "door"},
                  "spec": {"gatewayClassName": "sampan", "listeners": [{"name": "http", "protocol": "HTTP", "port": sampan.gateway_port}]}},
                 {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "by-header"}, "spec": {
                     "parentRefs": [{"name": "door"}], "hostnames": [f"r-{ns}.test"], "rules": [
                         {"matches": [{"headers": [{"name": "colour", "value": "blue"}]}], "backendRefs": [{"name": "blue", "port": 80}]},
                         {"backendRefs": [{"name": "red", "port": 80}]}]}}, namespace=ns)
    host = {"Host": f"r-{ns}.test"}
    wait_until(lambda: sampan.http("/", headers=host)[1].startswith("red"), "red through the HTTPRoute")
    assert sampan.http("/", headers={**host, "colour": "blue"})[1].startswith("blue")

    def conditions():
        parents = sampan.get("httproute", "by-header", namespace=ns).get("status", {}).get("parents") or [{}]
        return {c["type"]: c["status"] for c in parents[0].get("conditions", [])}
    wait_until(lambda: conditions().get("Accepted") == conditions().get("ResolvedRefs") == "True", "its status says so")


def test_endpoints_come_and_go_without_a_failed_request(sampan, ns, busybox):
    port = free_port()
    sampan.apply(web("busy", "ok", busybox, replicas=2), service("busy", port, type="LoadBalancer"), namespace=ns)
    wait_until(lambda: sampan.pods_ready("app=busy", 2, ns), "two pods")
    wait_until(lambda: sampan.http(port=port)[0] == 200, "an answer")
    failures, count, stop = [], [0], threading.Event()

    def client():
        while not stop.is_set():
            status, text = sampan.http(port=port, timeout=20)
            count[0] += 1
            if status != 200:
                failures.append((status, text))

    threads = [threading.Thread(target=client) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        sampan.kubectl("scale", "deployment/busy", "--replicas=4", "-n", ns)
        wait_until(lambda: sampan.pods_ready("app=busy", 4, ns), "four pods")
        sampan.kubectl("scale", "deployment/busy", "--replicas=1", "-n", ns)
        wait_until(lambda: sampan.pods_ready("app=busy", 1, ns), "one pod")
        sampan.kubectl("rollout", "restart", "deployment/busy", "-n", ns)
        sampan.kubectl("rollout", "status", "deployment/busy", "-n", ns, "--timeout=60s")
        time.sleep(1)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert count[0] > 50 and not failures, f"{len(failures)} of {count[0]} failed: {failures[:3]}"


def test_a_taken_port_is_reported_on_the_service(sampan, ns):
    import socket
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        port = s.getsockname()[1]
        sampan.apply(service("late", port, type="LoadBalancer"), namespace=ns)
        wait_until(lambda: str(port) in "".join(e["message"] for e in sampan.get("events", namespace=ns)["items"]), "an event that names the port")


def test_no_endpoint_is_said(sampan, ns):
    port = free_port()
    sampan.apply(service("empty", 80), {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "empty"}, "spec": {"rules": [
        {"host": f"{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "empty", "port": {"number": 80}}}}]}}]}}, namespace=ns)
    wait_until(lambda: sampan.http("/", headers={"Host": f"{ns}.test"})[0] == 503, "503")
