"""Endpoints come and go under continuous traffic; not one request may fail.

No containers: the endpoints are small servers in this process, and their EndpointSlice is written
here, so that a minute of rolling updates fits into seconds. SOAK_SECONDS makes it longer.
"""
import http.client
import json
import os
import random
import socket
import subprocess
import threading
import time

import pytest

from conftest import BINARY, Sampan, free_port, own_address, wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))


class Server:
    """An HTTP/1.1 server that leaves as a good pod does: first out of the slice, then no new
    connections, then the requests under way end, then the idle connections are closed."""

    def __init__(self, number):
        self.number, self.stopping, self.idle, self.lock, self.served, self.came = number, False, set(), threading.Lock(), 0, 0
        # A number that no outgoing connection has: who is asked for at an address where nobody listens any more is not to meet himself.
        self.listener = socket.create_server((own_address(), free_port()), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.came += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def read_request(self, connection, data):
        while b"\r\n\r\n" not in data:
            with self.lock:
                if self.stopping and not data:
                    return None
                if not data:
                    self.idle.add(connection)
            more = connection.recv(65536)
            with self.lock:
                self.idle.discard(connection)
            if not more:
                return None
            data += more
        return data

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        try:
            while (data := self.read_request(connection, rest)) is not None:
                _, rest = data.split(b"\r\n\r\n", 1)
                if random.random() < 0.02:
                    time.sleep(0.05)  # some are under way when the endpoint leaves
                body = f"{self.number} ".encode() * random.choice((1, 10, 20000))
                self.served += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except OSError:
            pass
        connection.close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            self.stopping = True
            for connection in self.idle:
                connection.shutdown(socket.SHUT_RDWR)


class Clients:
    """Threads that ask without a pause; what was not a whole 200 is a failure."""

    def __init__(self, port, headers, keep, count):
        self.port, self.headers, self.keep, self.asked, self.failures = port, headers, keep, 0, []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(count)]
        for t in self.threads:
            t.start()

    def one(self, connection):
        connection.request("GET", "/", headers=self.headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or len(set(body.split())) != 1:
            self.failures.append((answer.status, body[:200]))

    def ask(self):
        connection = None
        while not self.over.is_set():
            self.asked += 1
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=70)
                self.one(connection)
                if self.keep:
                    continue
            except (OSError, http.client.HTTPException) as e:
                self.failures.append((0, repr(e)))
            if connection:
                connection.close()
            connection = None

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(30)


def write_slice(s, ns, servers):
    """servers: (server, state) with state ready, draining or unready."""
    by_port = [{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": f"soak-{v.number}", "labels": {"kubernetes.io/service-name": "soak"}},
                "ports": [{"name": "", "port": v.port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [own_address()], "conditions": {
                    "ready": state == "ready", "serving": state != "unready", "terminating": state == "draining"}}]}
               for v, state in servers]
    base = f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"
    wanted = {o["metadata"]["name"]: o for o in by_port}
    have = {o["metadata"]["name"]: o for o in s.api("GET", base)[1]["items"] if o["metadata"]["name"].startswith("soak-")}
    for name, o in wanted.items():
        if name not in have:
            assert s.api("POST", base, o)[0] == 201
        elif have[name]["endpoints"] != o["endpoints"]:
            patch = json.dumps({"endpoints": o["endpoints"]}).encode()
            assert s.api("PATCH", f"{base}/{name}", patch, headers={"Content-Type": "application/merge-patch+json"})[0] == 200
    for name in have.keys() - wanted.keys():
        assert s.api("DELETE", f"{base}/{name}")[0] == 200


@pytest.fixture
def door(workdir):
    """Its gateway lets clients wait for a server as long as a busy machine needs to write one down (a second, unless told)."""
    s = Sampan(workdir / "soak", roles="apiserver").start()
    gateway = subprocess.Popen([BINARY, "gateway", "--kubeconfig", s.kubeconfig, "--http-port", str(s.gateway_port), "--https-port",
                                str(s.gateway_tls_port), "--cluster-ips", "off", "--endpoint-wait", "60s", "--grace", "0s"], stderr=subprocess.DEVNULL)
    yield s
    gateway.terminate()
    code = gateway.wait()
    s.stop()
    assert code == 0


def test_rolling_endpoints_without_a_failed_request(door):
    s, ns, lb = door, "default", free_port()
    s.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "soak"},
             "spec": {"type": "LoadBalancer", "ports": [{"port": lb}]}}, namespace=ns)
    s.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "soak"}, "spec": {"rules": [
        {"host": "soak.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
            "service": {"name": "soak", "port": {"number": lb}}}}]}}]}}, namespace=ns)
    host = {"Host": "soak.test"}
    servers = [Server(0), Server(1)]
    write_slice(s, ns, [(v, "ready") for v in servers])
    wait_until(lambda: s.http(port=lb)[0] == 200 and s.http(headers=host)[0] == 200, "both doors answer")
    clients = {"HTTP, kept connections": Clients(s.gateway_port, host, True, 4),
               "HTTP, new connections": Clients(s.gateway_port, host, False, 2),
               "TCP, new connections": Clients(lb, {}, False, 2)}
    end, number, generations = time.monotonic() + SECONDS, 2, 0
    while time.monotonic() < end or (generations <= 3 and time.monotonic() < end + 60):
        new = Server(number)
        number += 1
        write_slice(s, ns, [(v, "ready") for v in servers + [new]])
        old = servers.pop(0)
        servers.append(new)
        write_slice(s, ns, [(v, "ready") for v in servers] + [(old, "draining")])
        came = -1
        while came != old.came:  # what preStop or the grace before SIGTERM is for: a busy gateway may hear of it late
            came = old.came
            time.sleep(random.choice((0.1, 0.3)))
        old.stop()
        write_slice(s, ns, [(v, "ready") for v in servers])
        generations += 1
        if generations % 8 == 0:  # none at all for a moment: clients wait instead of failing
            write_slice(s, ns, [(v, "unready") for v in servers])
            time.sleep(0.2)
            write_slice(s, ns, [(v, "ready") for v in servers])
    for c in clients.values():
        c.stop()
    for what, c in clients.items():
        print(f"{what}: {c.asked} requests, {len(c.failures)} failures, {generations} endpoints replaced")
        assert c.asked > 20 and not c.failures, f"{what}: {len(c.failures)} of {c.asked} failed: {c.failures[:3]}"
    assert generations > 3
