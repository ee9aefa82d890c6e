"""Choosing servers, keeping bad ones out, protecting good ones: with real servers on addresses of this
machine, Services without a selector, and BackendPolicy and TrafficPolicy objects."""
import collections
import concurrent.futures
import http.client
import http.server
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest

from conftest import free_port, needs_root, wait_until

pytestmark = needs_root
LOOPS = len(os.sched_getaffinity(0))  # as many as the gateway has, or more: each chooses by itself


class Server:
    """Answers with its name; tests change what it does."""

    def __init__(self, address, port, name):
        self.address, self.port, self.name = address, port, name
        self.well, self.status, self.gate, self.seen, self.drop = True, 200, None, 0, None
        self.dropped_first = 0  # of those, the first requests of their connections
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize, disable_nagle_algorithm = 8192, True

            def do_GET(self):
                status, text = (200 if server.well else 500, "check") if self.path == "/ok" else (server.status, server.name)
                if self.path == "/ok" and server.well is None:  # mute
                    self.connection.recv(1)
                    self.close_connection = True
                    return
                first, self.asked_before = not getattr(self, "asked_before", False), True
                if server.drop:
                    server.dropped_first += first
                    server.drop()
                    self.close_connection = True
                    return
                if self.path != "/ok":
                    server.seen += 1
                    if server.gate:
                        server.gate.wait(60)
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, *_):
                pass

        self.http = Listener((address, port), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def web(sampan, ns):
    """A Service with three servers, behind an Ingress."""
    addresses = [f"192.0.2.{n}" for n in (11, 12, 13)]
    for a in addresses:
        subprocess.run(["ip", "address", "replace", f"{a}/32", "dev", "lo"], check=True)
    port = free_port()
    servers = [Server(a, port, f"s{i}") for i, a in enumerate(addresses)]
    sampan.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
         "ports": [{"name": "http", "port": port}], "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [
            {"host": f"{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}},
        namespace=ns)
    web = Web(sampan, ns, servers)
    wait_until(lambda: web.get()[0] == 200, "an answer")
    yield web
    for s in servers:
        if s.gate:
            s.gate.set()
        s.stop()


class Web:
    def __init__(self, sampan, ns, servers):
        self.sampan, self.ns, self.servers = sampan, ns, servers

    def request(self, path="/", headers=()):
        c = http.client.HTTPConnection("127.0.0.1", self.sampan.gateway_port, timeout=60)
        try:
            c.request("GET", path, headers={"Host": f"{self.ns}.test", **dict(headers)})
            r = c.getresponse()
            return r.status, r.read().decode(), r.headers
        finally:
            c.close()

    def get(self, path="/", headers=()):
        try:
            return self.request(path, headers)[:2]
        except OSError as e:
            return 0, str(e)

    def count(self, n, **options):
        return collections.Counter(self.get(**options)[1] for _ in range(n))

    def policy(self, kind="BackendPolicy", target=None, name="p", accepted=True, **spec):
        status, answer = self.put(kind, name, target, **spec)
        assert status in (200, 201), answer
        return wait_until(lambda: self.condition(kind, name, accepted), f"Accepted={accepted}")

    def path(self, kind, name=""):
        return f"/apis/sampan.dev/v1alpha1/namespaces/{self.ns}/{kind.lower()[:-1]}ies{name and '/' + name}"

    def put(self, kind, name, target=None, **spec):
        """Creates or replaces it; what the API server says."""
        status, o = self.sampan.api("GET", self.path(kind, name))
        if status == 404:
            o = {"apiVersion": "sampan.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
        o["spec"] = {"targetRefs": [target or {"group": "", "kind": "Service", "name": "web"}], **spec}
        return self.sampan.api(*(("POST", self.path(kind)) if status == 404 else ("PUT", self.path(kind, name))), body=o)

    def condition(self, kind, name, accepted):
        o = self.sampan.api("GET", self.path(kind, name))[1]
        for c in o.get("status", {}).get("conditions", []):
            if c["type"] == "Accepted" and c["observedGeneration"] == o["metadata"]["generation"] and c["status"] == str(accepted):
                return c
        return None

    def server(self, i, **what):
        return {"address": self.servers[i].address, **what}


def test_shares_follow_the_algorithm(web):
    web.policy(balance={"algorithm": "RoundRobin"}, servers=[web.server(0, weight=2)])
    wait_until(lambda: abs(web.count(40)["s0"] - 20) <= 2, "half of the turns")
    web.policy(balance={"algorithm": "First"})
    wait_until(lambda: web.count(20) == {"s0": 20}, "all at the first one")
    web.policy(balance={"algorithm": "Hash", "hash": {"by": "Header", "name": "X-User"}})
    wait_until(lambda: len(web.count(10, headers={"X-User": "ada"})) == 1 and {web.get(headers={"X-User": f"u{i}"})[1] for i in range(40)} == {"s0", "s1", "s2"},
               "one server for one user, not one for all")
    users = {f"u{i}": web.get(headers={"X-User": f"u{i}"})[1] for i in range(40)}
    assert set(users.values()) == {"s0", "s1", "s2"}
    for user, server in users.items():
        assert web.get(headers={"X-User": user})[1] == server
    web.policy(balance={"algorithm": "Hash", "hash": {"by": "Header", "name": "X-User"}}, servers=[web.server(1, weight=0)])
    theirs = next(u for u, s in users.items() if s == "s1")
    wait_until(lambda: web.get(headers={"X-User": theirs})[1] != "s1", "s1 is drained")
    for user, server in users.items():  # only its users go elsewhere
        assert (web.get(headers={"X-User": user})[1] != server) == (server == "s1")
    web.policy(balance={"algorithm": "LeastConnections"}, servers=[web.server(1, weight=0)])
    gate = web.servers[0].gate = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # Each loop has its own view of the load: both must have met the slow one.
        held = [pool.submit(web.get) for _ in range(6)]
        wait_until(lambda: sum(s.seen for s in web.servers) >= 6, "requests under way")
        gate.set()
        assert all(h.result()[0] == 200 for h in held)


def test_a_cookie_sticks_also_after_a_restart(web):
    web.policy(stickiness={"cookie": "SRV", "ttl": "1h"})
    cookie = wait_until(lambda: web.request()[2].get("Set-Cookie"), "a cookie")
    assert "HttpOnly" in cookie and "Max-Age=3600" in cookie
    assert web.sampan.get("secret", "sampan-gateway-sticky", namespace="kube-system")["data"]["key"]  # for all gateways
    pair = cookie.split(";")[0]
    first = web.get(headers={"Cookie": pair})[1]
    assert web.count(15, headers={"Cookie": pair}) == {first: 15}
    assert web.request(headers={"Cookie": pair})[2].get("Set-Cookie") is None
    os.kill(web.sampan.role_pids()["gateway"], signal.SIGKILL)
    wait_until(lambda: web.get(headers={"Cookie": pair})[0] == 200, "the next gateway")
    assert web.count(15, headers={"Cookie": pair}) == {first: 15}
    # Drained: who is there may go on, others come no more.
    i = int(first[1])
    web.policy(stickiness={"cookie": "SRV", "ttl": "1h"}, servers=[web.server(i, weight=0)])
    wait_until(lambda: first not in web.count(12), "nobody new")
    assert web.count(10, headers={"Cookie": pair}) == {first: 10}


def test_checks_take_out_and_bring_back(web):
    web.policy(check={"type": "HTTP", "interval": "100ms", "timeout": "10s", "rise": 2, "fall": 2, "http": {"path": "/ok", "body": "^check$"}})
    assert set(web.count(40)) == {"s0", "s1", "s2"}
    web.servers[1].well = False
    wait_until(lambda: "s1" not in web.count(20 * LOOPS), "s1 is out")
    assert web.count(40)["s1"] == 0
    wait_until(lambda: web.sampan.says("server is down") and web.sampan.says("status 500"), "the log says why")
    web.servers[1].well = True
    wait_until(lambda: web.count(20)["s1"] > 0, "s1 is back")
    # All down: the panic threshold uses them anyway, without it nobody is left.
    for s in web.servers:
        s.well = False
    wait_until(lambda: web.get()[0] == 503, "nobody left")
    web.policy(check={"type": "HTTP", "interval": "100ms", "timeout": "10s", "rise": 2, "fall": 2, "http": {"path": "/ok"}}, panicPercent=50)
    wait_until(lambda: web.get()[0] == 200, "panic")


def test_an_agent_drains_and_weighs(web):
    said = ["up 100%"] * 3

    def agent(i):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write((said[i] + "\n").encode())
        s = socketserver.ThreadingTCPServer((web.servers[i].address, port), Handler, bind_and_activate=False)
        s.allow_reuse_address = True
        s.server_bind()
        s.server_activate()
        threading.Thread(target=s.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
        return s

    port = free_port()
    agents = [agent(i) for i in range(3)]
    try:
        web.policy(balance={"algorithm": "RoundRobin"}, agent={"port": port, "interval": "100ms"})
        said[0] = "drain"
        wait_until(lambda: web.count(12)["s0"] == 0, "drained")
        said[1] = "down # no disk"
        wait_until(lambda: web.count(8) == {"s2": 8}, "down")
        wait_until(lambda: web.sampan.says("no disk"), "the log says why")
        said[0], said[1] = "ready up", "up"
        wait_until(lambda: set(web.count(12)) == {"s0", "s1", "s2"}, "all are back")
    finally:
        for a in agents:
            a.shutdown()
            a.server_close()


class Grpc(socketserver.ThreadingTCPServer):
    """grpc.health.v1.Health/Check, and nothing else."""
    allow_reuse_address, daemon_threads = True, True

    def __init__(self, at, tls=None):
        self.tls, self.status, self.asked = tls, 1, []
        super().__init__(at, GrpcConnection)
        threading.Thread(target=self.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()

    def handle_error(self, *_):
        pass


class GrpcConnection(socketserver.BaseRequestHandler):
    def handle(self):
        sock = self.server.tls.wrap_socket(self.request, server_side=True) if self.server.tls else self.request
        c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        c.initiate_connection()
        body = b""
        while True:
            sock.sendall(c.data_to_send())
            data = sock.recv(65536)
            if not data:
                return
            for e in c.receive_data(data):
                if isinstance(e, h2.events.RequestReceived):
                    path = dict(e.headers)[b":path"]
                elif isinstance(e, h2.events.DataReceived):
                    body += e.data
                elif isinstance(e, h2.events.StreamEnded):
                    self.server.asked.append((path, body))
                    c.send_headers(e.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                    c.send_data(e.stream_id, b"\0\0\0\0\2\x08" + bytes([self.server.status]))
                    c.send_headers(e.stream_id, [("grpc-status", "0")], end_stream=True)


@pytest.fixture
def server_tls(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=s0", "-keyout", key, "-out", cert], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    return tls


def test_checks_speak_tcp_tls_and_grpc(web, server_tls):
    """Each kind of check on a port of its own, of which only that of s0 is well."""
    address, port = web.servers[0].address, free_port()

    def only_first(check, **more):
        web.policy(check={"type": check, "port": port, "interval": "200ms", "timeout": "10s", "rise": 1, "fall": 1, **more})
        wait_until(lambda: web.count(12) == {"s0": 12}, f"{check} finds s0 alone")

    with socket.create_server((address, port)):
        only_first("TCP")
    wait_until(lambda: web.get()[0] == 503, "nobody listens")

    server_tls.set_alpn_protocols(["h2"])
    with Grpc((address, port), server_tls) as server:
        only_first("TLS")
        only_first("GRPC", tls=True)
        wait_until(lambda: len(server.asked) > 1, "answers")  # until then s0 was taken as it is
        assert web.count(12) == {"s0": 12}
        server.shutdown()
    with Grpc((address, port)) as server:
        only_first("GRPC", grpc={"service": "shop"})
        wait_until(lambda: (b"/grpc.health.v1.Health/Check", b"\0\0\0\0\x06\x0a\x04shop") in server.asked[:-1], "the question")
        assert web.count(12) == {"s0": 12}
        server.status = 2
        wait_until(lambda: web.get()[0] == 503, "it says that it does not serve")
        wait_until(lambda: web.sampan.says("NOT_SERVING"), "the log says why")
        server.status = 1
        only_first("GRPC")
        web.policy(check={"type": "TLS", "port": port, "interval": "200ms", "timeout": "10s", "rise": 1, "fall": 1})
        wait_until(lambda: web.get()[0] == 503, "it speaks no TLS")
        server.shutdown()


class Greeter(socketserver.ThreadingTCPServer):
    """Says what it is told to everybody who comes, through TLS, and waits for the end."""
    allow_reuse_address, daemon_threads = True, True

    def __init__(self, at, tls, greeting):
        self.tls, self.greeting = tls, greeting
        super().__init__(at, GreeterConnection)
        threading.Thread(target=self.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()

    def handle_error(self, *_):
        pass


class GreeterConnection(socketserver.BaseRequestHandler):
    def handle(self):
        with self.server.tls.wrap_socket(self.request, server_side=True) as sock:
            sock.sendall(self.server.greeting)
            sock.recv(100)


def test_a_check_goes_by_what_a_server_says(web, server_tls):
    port = free_port()
    with Greeter((web.servers[0].address, port), server_tls, b"220 \xff ready\r\n") as server:
        web.policy(check={"type": "TLS", "port": port, "interval": "200ms", "timeout": "10s", "rise": 1, "fall": 1,
                          "tcp": {"steps": [{"expectRegex": "^220 .*ready", "minBytes": 8}, {"send": "QUIT\r\n"}]}})
        wait_until(lambda: web.count(12) == {"s0": 12}, "s0 alone speaks there")
        server.greeting = b"421 no\r\n"
        wait_until(lambda: web.get()[0] == 503, "another word")
        wait_until(lambda: web.sampan.says(r'step 1: no \"^220 .*ready\" in \"421 no'), "the log says which")
        server.greeting = b"220 ready\r\n"
        wait_until(lambda: web.count(12) == {"s0": 12}, "the right one again")
        server.shutdown()



def test_outliers_are_put_out(web):
    web.policy(balance={"algorithm": "RoundRobin"}, outlier={"consecutiveFailures": 3, "http": True, "ejectionTime": "60s"})
    web.servers[2].status = 500
    # Each loop finds out by itself.
    wait_until(lambda: web.count(30 * LOOPS)["s2"] == 0, "s2 is out")
    seen = web.servers[2].seen
    assert web.count(60)["s2"] == 0 and web.servers[2].seen == seen


def test_slow_clients_speak_against_no_server(web):
    """Who sends no body, or reads no answer, puts nobody out."""
    web.policy(balance={"algorithm": "RoundRobin"}, outlier={"consecutiveFailures": 1, "ejectionTime": "60s"}, timeouts={"response": "2s"})

    def starve():
        with socket.create_connection(("127.0.0.1", web.sampan.gateway_port), 20) as c:
            c.sendall(f"POST / HTTP/1.1\r\nHost: {web.ns}.test\r\nContent-Length: 5\r\n\r\n1234".encode())
            return c.recv(4096).split(b" ")[1]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert {f.result() for f in [pool.submit(starve) for _ in range(12)]} == {b"408"}
    assert set(web.count(30)) == {"s0", "s1", "s2"}


def test_queues_wait_in_order_and_refuse_what_is_too_much(web):
    web.policy(limits={"maxRequests": 2, "maxPending": 3, "queueTimeout": "60s"}, servers=[web.server(1, weight=0), web.server(2, weight=0)])
    wait_until(lambda: web.count(8) == {"s0": 8}, "only the first")
    gate = web.servers[0].gate = threading.Event()
    web.servers[0].seen = 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(web.get) for _ in range(8)]
        refused = wait_until(lambda: [a.result() for a in answers if a.done()] if sum(a.done() for a in answers) >= 3 else None, "three are turned away")
        assert all(status == 503 and "queue is full" in text for status, text in refused), refused
        wait_until(lambda: web.servers[0].seen >= 2, "two are there")
        assert web.servers[0].seen == 2  # for all loops together
        gate.set()
        assert sorted(a.result()[0] for a in answers) == [200] * 5 + [503] * 3
    web.servers[0].gate = gate = threading.Event()
    web.policy(limits={"maxRequests": 1, "queueTimeout": "200ms"}, servers=[web.server(1, weight=0), web.server(2, weight=0)])
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(web.get), pool.submit(web.get)
        done = wait_until(lambda: next((f for f in (first, second) if f.done()), None), "the one that waited")
        assert done.result()[0] == 503 and "busy for too long" in done.result()[1]
        gate.set()
        assert {first.result()[0], second.result()[0]} == {200, 503}


def test_second_attempts_go_to_another_server(web):
    server = web.servers[2]
    server.drop = lambda: None
    for _ in range(60):
        before = server.dropped_first  # what a kept connection loses may be asked again of the same server
        assert web.get()[0] == 200 and server.dropped_first <= before + 1
    assert server.dropped_first


def test_second_attempts_have_a_budget(web):
    """Servers that close without an answer are asked again, but not by all at once."""
    web.policy(limits={"maxRetries": 1})
    for s in web.servers:
        s.drop = lambda: None
    assert web.count(30, path="/").total() == 30  # kept connections are used up: what those lose is asked again in any case
    first, later, seen, lock = threading.Event(), threading.Event(), [], threading.Lock()

    def drop():
        with lock:
            seen.append(1)
            gate = first if len(seen) <= 6 else later
        gate.wait(20)

    for s in web.servers:
        s.drop = drop
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(web.get) for _ in range(6)]
        wait_until(lambda: len(seen) == 6, "the first attempts")
        first.set()
        done = wait_until(lambda: [a.result() for a in answers if a.done()] if sum(a.done() for a in answers) >= 5 else None, "those without a second one")
        assert [a[0] for a in done] == [502] * 5
        wait_until(lambda: len(seen) == 7, "the second attempt of one")
        later.set()
        assert {a.result()[0] for a in answers} == {502}


def test_limits_and_lists_of_clients(web):
    ingress = {"group": "networking.k8s.io", "kind": "Ingress", "name": "web"}
    web.policy(kind="TrafficPolicy", target=ingress, rateLimits=[{"by": "Header", "header": "X-Key", "requests": 5, "period": "10m"}])
    wait_until(lambda: [web.get(headers={"X-Key": f"k{time.time()}"})[0] for _ in range(2)] == [200, 200], "the policy")
    wait_until(lambda: web.get(headers={"X-Key": "probe"})[0] == 429, "it counts")
    answers = [web.request(headers={"X-Key": "one"}) for _ in range(8)]
    assert [a[0] for a in answers] == [200] * 5 + [429] * 3
    assert 60 < int(answers[-1][2]["Retry-After"]) <= 120
    assert web.get(headers={"X-Key": "two"})[0] == 200
    if shutil.which("h2load"):  # all loops together
        out = subprocess.run(["h2load", "--h1", "-n", "60", "-c", "6", "-H", "X-Key: load", "--connect-to", f"127.0.0.1:{web.sampan.gateway_port}",
                              f"http://{web.ns}.test:{web.sampan.gateway_port}/"], capture_output=True, text=True, timeout=60).stdout
        assert "status codes: 5 2xx, 0 3xx, 55 4xx, 0 5xx" in out, out
    web.policy(kind="TrafficPolicy", target=ingress, deny=["127.0.0.0/8"])
    wait_until(lambda: web.get()[0] == 403, "denied")
    web.policy(kind="TrafficPolicy", target=ingress, allow=["127.0.0.1"])
    wait_until(lambda: web.get()[0] == 200, "allowed")


def test_ports_have_limits(web):
    port = free_port()
    web.sampan.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                      "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "targetPort": port}]}}, namespace=web.ns)
    node_port = wait_until(lambda: web.sampan.get("service", "web", namespace=web.ns)["spec"]["ports"][0].get("nodePort"), "a port")
    web.policy(kind="TrafficPolicy", maxConnections=2)

    def is_open():
        s = socket.create_connection(("127.0.0.1", node_port), timeout=10)
        s.settimeout(10)
        try:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return s if s.recv(9).startswith(b"HTTP/1.1") else s.close()
        except OSError:
            s.close()

    held = wait_until(lambda: (lambda a, b: (a, b) if a and b else None)(is_open(), is_open()), "two connections")
    assert is_open() is None
    held[0].close()
    wait_until(is_open, "a place for another")
    held[1].close()


def test_policies_say_what_is_wrong(web):
    web.policy(name="first", balance={"algorithm": "First"})
    time.sleep(1.1)  # a later second of creation
    c = web.policy(name="second", balance={"algorithm": "RoundRobin"}, accepted=False)
    assert c["reason"] == "Conflicted" and "first" in c["message"]
    c = web.policy(name="lost", target={"group": "", "kind": "Service", "name": "nobody"}, accepted=False)
    assert c["reason"] == "TargetNotFound"
    assert web.sampan.api("DELETE", web.path("BackendPolicy", "first"))[0] == 200
    wait_until(lambda: web.condition("BackendPolicy", "second", True), "the second takes over")
    for kind, spec, text in [
            ("BackendPolicy", {"balance": {"algorithm": "Best"}}, "spec.balance.algorithm"),
            ("BackendPolicy", {"balance": {"algorithm": "Hash", "hash": {"by": "Header"}}}, "spec.balance.hash.name"),
            ("BackendPolicy", {"servers": [{"weight": 3}]}, "spec.servers[0]"),
            ("BackendPolicy", {"slowStart": "soon"}, "spec.slowStart"),
            ("BackendPolicy", {"check": {"type": "HTTP", "tcp": {"steps": [{"send": "x"}]}}}, "spec.check.tcp"),
            ("BackendPolicy", {"check": {"type": "TCP", "tcp": {"steps": [{"send": "x", "expect": "y"}]}}}, "spec.check.tcp.steps[0]"),
            ("BackendPolicy", {"check": {"type": "TCP", "tcp": {"steps": [{"send": "x", "not": True}]}}}, "spec.check.tcp.steps[0].not"),
            ("BackendPolicy", {"check": {"type": "TCP", "tcp": {"steps": [{"sendBase64": "?"}]}}}, "spec.check.tcp.steps[0].sendBase64"),
            ("TrafficPolicy", {"allow": ["10.0.0.0/33"]}, "spec.allow[0]"),
            ("TrafficPolicy", {"rateLimits": [{"by": "Header", "requests": 1}]}, "spec.rateLimits[0].header")]:
        status, answer = web.put(kind, "bad", **spec)
        assert status == 422 and text in answer["message"], (spec, answer)
    r = web.sampan.kubectl("get", "bpolicy,tpolicy", "-n", web.ns)
    assert "second   web      True" in r.out, r
