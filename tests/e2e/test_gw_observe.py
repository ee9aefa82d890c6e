"""What a gateway tells: metrics by listener, pool and server, and the access log."""
import http.server
import json
import re
import subprocess
import threading
import urllib.request

import pytest

from conftest import BINARY, free_port, own_address, wait_until


@pytest.fixture
def backend():
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer((own_address(), 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address
    server.shutdown()


class Gateway:
    """One more gateway beside that of the installation."""

    def __init__(self, sampan, directory, *flags):
        self.http, self.metrics, self.log = free_port(), free_port(), directory / "access.log"
        self.process = subprocess.Popen([BINARY, "gateway", "--kubeconfig", sampan.kubeconfig, "--http-port", str(self.http), "--metrics-port",
                                         str(self.metrics), "--cluster-ips", "off", "--access-log", str(self.log), *flags],
                                        stderr=open(directory / "gateway.err", "w"))
        wait_until(lambda: self.ready(), "the gateway")

    def ready(self):
        assert self.process.poll() is None
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=2).status == 200
        except OSError:
            return False

    def get(self, path, host, port=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.http}{path}", headers={
            "Host": host, "User-Agent": "tester", "X-Request-Id": "r-77", "traceparent": "00-" + "ab" * 16 + "-00f067aa0ba902b7-01"})
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as e:
            return e.code

    def scrape(self):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).read().decode()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0


def shop(address, ns, tcp_port):
    ip, port = address
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {
                "type": "LoadBalancer", "ports": [{"name": "http", "port": tcp_port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
                "name": "shop-1", "labels": {"kubernetes.io/service-name": "shop"}}, "addressType": "IPv4",
             "ports": [{"name": "http", "port": port}], "endpoints": [{"addresses": [ip]}]},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"}, "spec": {"rules": [
                {"host": f"{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
                    "service": {"name": "shop", "port": {"number": tcp_port}}}}]}}]}}]


def samples(text):
    """Every sample; fails when a family is not in one piece, as Prometheus would."""
    found, seen, family = {}, set(), None
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            family = line.split()[2]
            assert family not in seen, f"{family} comes twice"
            seen.add(family)
        elif not line.startswith("#"):
            name, labels, value = re.fullmatch(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line).groups()
            assert name == family or re.sub("_(bucket|sum|count)$", "", name) == family, line
            found[(name, labels or "")] = float(value)
    return found


def test_metrics_and_the_access_log_agree(sampan, ns, backend, tmp_path):
    tcp = free_port()
    sampan.apply(*shop(backend, ns, tcp), namespace=ns)
    gateway = Gateway(sampan, tmp_path, "--access-log-format", "json")
    try:
        wait_until(lambda: gateway.get("/", f"{ns}.test") == 200, "an answer")
        asked = 1
        for path in ("/missing", "/", "/a%22b", "/"):
            gateway.get(path, f"{ns}.test")
            asked += 1
        mine = {}

        def total(name, extra=""):
            return sum(v for (n, l), v in mine.items() if n == "sampan_gateway_" + name and extra in l)

        def counted():  # the answer may be here before it is counted
            mine.clear()
            mine.update({k: v for k, v in samples(gateway.scrape()).items() if f'pool="{ns}/shop:{tcp}"' in k[1]})
            return total("server_response_seconds_count") >= asked and total("server_requests_total") >= asked
        wait_until(counted, "all of them are counted")
        assert total("server_up") == 1 and total("pool_servers_ready") == 1 and total("pool_waiting") == 0
        assert total("server_requests_total") == asked
        assert total("server_responses_total", 'code="4xx"') == 1
        assert total("server_responses_total", 'code="2xx"') == asked - 1
        assert total("server_response_seconds_count") == asked == total("server_response_seconds_bucket", 'le="+Inf"')

        def lines():
            all_lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
            return [x for x in all_lines if x.get("host") == f"{ns}.test" and "endpoint" in x]

        wait_until(lambda: len(lines()) == asked, "a line for each request")
        one = next(x for x in lines() if x["status"] == 404)
        assert one["target"] == "/missing" and one["method"] == "GET" and one["protocol"] == "HTTP/1.1" and one["user_agent"] == "tester"
        assert one["route"] == f"Ingress {ns}/shop" and one["pool"] == f"{ns}/shop:{tcp}" and one["attempts"] == 1
        assert one["endpoint"] == f"{backend[0]}:{backend[1]}" and one["request_id"] == "r-77" and one["trace_id"] == "ab" * 16
        assert 0 <= one["connect_us"] <= one["first_byte_us"] <= one["duration_us"]
    finally:
        gateway.stop()


def test_ids_that_the_gateway_makes_are_in_the_log(sampan, ns, backend, tmp_path):
    """What the endpoint was told is what one looks for in the log, also when the client sent none, or nonsense."""
    sampan.apply(*shop(backend, ns, free_port()), namespace=ns)
    gateway = Gateway(sampan, tmp_path, "--access-log-format", "json")
    try:
        wait_until(lambda: gateway.get("/", f"{ns}.test") == 200, "an answer")
        for path, more in (("/none", {}), ("/odd", {"X-Request-Id": "", "traceparent": "junk"})):
            request = urllib.request.Request(f"http://127.0.0.1:{gateway.http}{path}", headers={"Host": f"{ns}.test", **more})
            told = json.loads(urllib.request.urlopen(request, timeout=10).read())
            lines = wait_until(lambda: [x for x in map(json.loads, gateway.log.read_text().splitlines()) if x.get("target") == path], "its line")
            assert len(told["x-request-id"]) == 32 and told["x-request-id"] == lines[0]["request_id"]
            assert told["traceparent"].split("-")[1] == lines[0]["trace_id"]
    finally:
        gateway.stop()


def test_formats_that_tools_know(sampan, ns, backend, tmp_path):
    sampan.apply(*shop(backend, ns, free_port()), namespace=ns)
    line = {"combined": rf'127\.0\.0\.1 - - \[[^]]+\] "GET /x HTTP/1\.1" 200 \d+ "-" "tester"',
            "haproxy": rf'127\.0\.0\.1:\d+ \[[^]]+\] \S+ {ns}/shop:\d+/\S+ 0/0/\d+/\d+/\d+ 200 \d+ - - ---- 0/0/0/0/0 0/0 "GET /x HTTP/1\.1"'}
    for name, pattern in line.items():
        (tmp_path / name).mkdir()
        gateway = Gateway(sampan, tmp_path / name, "--access-log-format", name)
        try:
            wait_until(lambda: gateway.get("/x", f"{ns}.test") == 200, "an answer")
            wait_until(lambda: any(re.fullmatch(pattern, x) for x in gateway.log.read_text().splitlines()), name)
        finally:
            gateway.stop()
    wrong = subprocess.run([BINARY, "gateway", "--kubeconfig", sampan.kubeconfig, "--access-log-format", "apache"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "--access-log-format apache: text, json, common, combined or haproxy" in wrong.stderr


def server(port, name, ip):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *args):
            pass

    s = http.server.ThreadingHTTPServer((ip, port), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s


def test_servers_are_steered_by_commands(sampan, ns, tmp_path):
    ip, port, public = own_address(), free_port(), free_port()
    subprocess.run(["ip", "address", "replace", "192.0.2.2/32", "dev", "lo"], check=True)
    servers = [server(port, "one", ip), server(port, "two", "192.0.2.2")]
    objects = shop((ip, port), ns, public)
    objects[1]["endpoints"].append({"addresses": ["192.0.2.2"]})
    sampan.apply(*objects, namespace=ns)
    socket = tmp_path / "gw.sock"
    gateway = Gateway(sampan, tmp_path, "--control-socket", str(socket))

    def command(*words, check=True):
        done = subprocess.run([BINARY, "gateway", *words, "--control-socket", str(socket)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def answers(n=12):
        found = {}
        for _ in range(n):
            request = urllib.request.Request(f"http://127.0.0.1:{gateway.http}/", headers={"Host": f"{ns}.test"})
            text = urllib.request.urlopen(request, timeout=10).read().decode()
            found[text] = found.get(text, 0) + 1
        return found

    try:
        wait_until(lambda: gateway.get("/", f"{ns}.test") == 200, "an answer")
        assert set(answers(40)) == {"one", "two"}
        assert command("drain", f"192.0.2.2:{port}").stdout == f"192.0.2.2:{port}: drain\n"
        assert answers() == {"one": 12}
        told = lambda: json.loads(command("status", "-o", "json").stdout)  # noqa: E731
        mine = lambda status: next(r for r in status["routes"] if r["route"] == f"Ingress {ns}/shop")  # noqa: E731
        status = wait_until(lambda: (lambda s: s if mine(s)["requests"] >= 53 and mine(s)["status"]["2xx"] == mine(s)["requests"] else None)(told()),
                            "all of them are counted")
        pool = next(p for p in status["pools"] if p["pool"] == f"{ns}/shop:{public}")
        assert {s["address"]: s["state"] for s in pool["servers"]} == {f"{ip}:{port}": "up", f"192.0.2.2:{port}": "drain"}
        route = mine(status)
        text = command("status").stdout
        assert re.search(rf"^{ns}/shop:{public} +192\.0\.2\.2:{port} +drain", text, re.M) and "0.0.0.0:" in text
        command("disable", ip, "--pool", f"{ns}/shop:{public}")
        wait_until(lambda: gateway.get("/", f"{ns}.test") == 503, "nothing new for the drained one, the last of them")
        command("enable", f"192.0.2.2:{port}", ip)
        assert set(answers(40)) == {"one", "two"}
        command("weight", "192.0.2.2", "0")
        assert answers() == {"one": 12}
        command("enable", f"192.0.2.2:{port}")  # by another of its names
        assert set(answers(40)) == {"one", "two"}
        command("drain", f"192.0.2.2:{port}")
        command("enable", "192.0.2.2", "--pool", f"{ns}/shop:{public}")  # of all pools, one
        assert set(answers(40)) == {"one", "two"}
        command("drain", "192.0.2.2")
        assert answers() == {"one": 12}
        command("weight", "192.0.2.2", "9")  # for the time after the drain
        assert answers() == {"one": 12}
        refused = command("drain", "nobody", check=False)
        assert refused.returncode == 1 and "there is no server nobody" in refused.stderr
        assert command("weight", "192.0.2.2", "300", check=False).returncode == 2
        seen = command("top", "-n", "1", "-i", "0.2").stdout
        assert "requests/s" in seen and f"Ingress {ns}/shop" in seen
        lonely = subprocess.run([BINARY, "gateway", "status", "--control-socket", str(tmp_path / "no.sock")], capture_output=True, text=True)
        assert lonely.returncode == 1 and "no gateway answers at" in lonely.stderr
        page = urllib.request.urlopen(f"http://127.0.0.1:{gateway.metrics}/", timeout=10)
        assert "text/html" in page.headers["Content-Type"] and "status.json" in page.read().decode()
        live = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{gateway.metrics}/status.json", timeout=10).read())
        assert live["totals"]["requests"] >= route["requests"] and live["version"]
    finally:
        gateway.stop()
        for s in servers:
            s.shutdown()
