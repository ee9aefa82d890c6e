#!/usr/bin/python3
"""The gateway beside haproxy and nginx, on one machine, over loopback, each with as many threads.

  bench/gateway.py             every figure, as a table
  bench/gateway.py tcp http    only these: idle, connections, tcp, conn, http, short, bulk, reload
                               and, with certificates of its own, tls, tlsconn, h2, tlsconnections

Needs wrk, h2load, curl and nginx (the backend); haproxy and nginx as proxies are measured where they
are installed. CPU is user and system time of all of the proxy's processes and threads from /proc: the
steadiest figure when client, proxy and backend share the cores, and the one to compare while the
machine has other work. Each figure is the median of three runs; "x" is ours against that peer, above
one is better for us.

The proxies take turns within each round, so that all meet the same moments of a busy machine.

THREADS=2 (of each proxy), SECONDS_EACH=3, RUNS=3, SAMPAN=a release build; BEFORE=another build of
ours to stand beside it, PEERS=haproxy,nginx.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[0] = str(TOP / "tests" / "e2e")
from conftest import BINARY, Sampan, free_port, own_address, wait_until  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
BULK_MB = 1024
SECONDS, RUNS = int(os.environ.get("SECONDS_EACH", "3")), int(os.environ.get("RUNS", "3"))
CONNECTIONS, THREADS = 64, int(os.environ.get("THREADS", "2"))
IDLE = 1000
ROWS = ["idle", "connections", "tcp", "conn", "http", "short", "bulk", "reload", "tls", "tlsconn", "h2", "tlsconnections"]
work = pathlib.Path(tempfile.mkdtemp(prefix="sampan-bench-"))
children = []


def start(*args, env=None):
    p = subprocess.Popen([str(a) for a in args], stdout=subprocess.DEVNULL, stderr=open(work / "log", "a"), env=env)
    children.append(p)
    return p


def answers(port, tls=False):
    """Somebody accepts there and, with TLS, shakes hands."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            if tls:
                context = ssl._create_unverified_context()
                context.wrap_socket(s, server_hostname="bench.test").close()
        return True
    except OSError:
        return False


class Proxy:
    def __init__(self, name, process, ports, reload=None):
        self.name, self.process, self.ports, self.how = name, process, ports, reload

    def pids(self):
        """The process, what it forked, and those that took over from it."""
        found, parents = [], {}
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                fields = (p / "stat").read_text().rsplit(")", 1)[1].split()
                if fields[0] != "Z":
                    parents[int(p.name)] = int(fields[1])
                    if self.mark() and self.mark() in (p / "cmdline").read_bytes():
                        found.append(int(p.name))
            except (FileNotFoundError, ProcessLookupError):
                pass
        if self.process.pid in parents and self.process.pid not in found:
            found.append(self.process.pid)
        for _ in range(3):
            found += [p for p, parent in parents.items() if parent in found and p not in found]
        return found

    def mark(self):
        return None

    def cpu(self):
        total = 0
        for pid in self.pids():
            try:
                f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += int(f[11]) + int(f[12])
        return total / TICK

    def memory_kb(self, what="Pss"):
        return sum(int(re.search(rf"^{what}:\s+(\d+)", pathlib.Path(f"/proc/{p}/smaps_rollup").read_text(), re.M).group(1))
                   for p in self.pids())

    def reload(self):
        os.kill(self.process.pid, self.how)


def haproxy_cfg(name, backend, certificate):
    """Its file, and the ports in it."""
    ports = {k: free_port() for k in ("tcp", "http", "tls", "tlstcp")}
    conf = work / f"{name}.cfg"
    conf.write_text(f"""global
  nbthread {THREADS}
  maxconn 7000
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen tcp
  mode tcp
  option splice-auto
  bind 127.0.0.1:{ports["tcp"]}
  server b {backend}
listen http
  mode http
  option forwardfor
  bind 127.0.0.1:{ports["http"]}
  server b {backend}
listen tls
  mode http
  option forwardfor
  bind 127.0.0.1:{ports["tls"]} ssl crt {certificate}.pem alpn h2,http/1.1
  server b {backend}
listen tlstcp
  mode tcp
  bind 127.0.0.1:{ports["tlstcp"]} ssl crt {certificate}.pem
  server b {backend}
""")
    return conf, ports


class Haproxy(Proxy):
    def __init__(self, backend, certificate):
        conf, ports = haproxy_cfg("haproxy", backend, certificate)
        super().__init__("haproxy", start("haproxy", "-W", "-db", "-f", conf), ports, signal.SIGUSR2)


class FromFile(Proxy):
    """Ours with the file of haproxy, without an API server."""

    def __init__(self, backend, certificate):
        conf, ports = haproxy_cfg("fromfile", backend, certificate)
        super().__init__("from file", start(BINARY, "gateway", "--haproxy-cfg", conf), ports)


class Nginx(Proxy):
    def __init__(self, backend, certificate):
        ports = {k: free_port() for k in ("tcp", "http", "tls", "tlstcp")}
        conf = work / "nginx.conf"
        tls = f"ssl_certificate {certificate}.crt; ssl_certificate_key {certificate}.key; ssl_protocols TLSv1.2 TLSv1.3;"
        pass_on = ("proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ''; "
                   "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")
        module = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        stream = f"""stream {{ server {{ listen 127.0.0.1:{ports["tcp"]} backlog=4096 reuseport; proxy_pass {backend}; }}
  server {{ listen 127.0.0.1:{ports["tlstcp"]} ssl backlog=4096 reuseport; {tls} proxy_pass {backend}; }} }}"""
        if not module.exists():
            stream = ""
            ports["tcp"] = ports["tlstcp"] = None
        conf.write_text(f"""{f"load_module {module};" if stream else ""}
daemon off; pid {work}/nginx.pid; error_log /dev/null; worker_processes {THREADS}; worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 1000000000;
  upstream b {{ server {backend}; keepalive 128; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{ports["http"]} backlog=4096 reuseport; location / {{ {pass_on} }} }}
  server {{ listen 127.0.0.1:{ports["tls"]} ssl http2 backlog=4096 reuseport; {tls} location / {{ {pass_on} }} }} }}
{stream}""")
        super().__init__("nginx", start("nginx", "-c", conf), ports, signal.SIGHUP)


class Ours(Proxy):
    def __init__(self, backend, certificate, name="sampan", binary=BINARY):
        ports = {k: free_port() for k in ("tcp", "http", "tls", "tlstcp")}
        host, port = backend.split(":")
        self.platform = Sampan(work / name, roles="apiserver").start()
        children.append(self.platform.process)
        self.platform.apply(*self.objects(host, int(port), ports, certificate))
        self.socket = work / f"{name}.sock"
        process = start(binary, "gateway", "--kubeconfig", self.platform.dir / "conf" / "gateway.kubeconfig", "--http-port",
                        ports["http"], "--cluster-ips", "off", "--loops", THREADS, "--control-socket", self.socket)
        super().__init__(name, process, ports, signal.SIGUSR2)

    def objects(self, host, port, ports, certificate):
        tcp = ports["tcp"]
        yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bench"},
               "spec": {"type": "LoadBalancer", "ports": [{"port": tcp}]}}
        yield {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": {"name": "bench", "labels": {"kubernetes.io/service-name": "bench"}},
               "ports": [{"port": port}], "endpoints": [{"addresses": [host], "conditions": {"ready": True}}]}
        yield {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "bench"}, "spec": {"rules": [
            {"http": {"paths": [{"path": "/", "pathType": "Prefix",
                                 "backend": {"service": {"name": "bench", "port": {"number": tcp}}}}]}}]}}
        yield {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "bench"}, "stringData": {
            "tls.crt": pathlib.Path(f"{certificate}.crt").read_text(), "tls.key": pathlib.Path(f"{certificate}.key").read_text()}}
        terminate = {"mode": "Terminate", "certificateRefs": [{"name": "bench"}]}
        yield {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "bench"}, "spec": {
            "gatewayClassName": "sampan", "listeners": [
                {"name": "https", "port": ports["tls"], "protocol": "HTTPS", "tls": terminate},
                {"name": "tls", "port": ports["tlstcp"], "protocol": "TLS", "tls": terminate}]}}
        backend = [{"name": "bench", "port": tcp}]
        yield {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "bench"}, "spec": {
            "parentRefs": [{"name": "bench", "sectionName": "https"}], "rules": [{"backendRefs": backend}]}}
        yield {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute", "metadata": {"name": "bench"}, "spec": {
            "parentRefs": [{"name": "bench", "sectionName": "tls"}], "rules": [{"backendRefs": backend}]}}

    def mark(self):
        return str(self.socket).encode()

    def pids(self):
        return [p for p in super().pids() if self.platform.process.pid != p]

    def reload(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.socket))
            s.sendall(b'{"do":"reload"}\n')
            assert json.loads(s.makefile().readline())["ok"]


def backend_server():
    """nginx: a short answer at /, a large file at /bulk."""
    port = free_port()
    with open(work / "bulk", "wb") as f:
        f.truncate(BULK_MB * 1000000)
    os.chmod(work, 0o755)
    conf = work / "backend.conf"
    conf.write_text(f"""daemon off; pid {work}/backend.pid; error_log /dev/null; worker_processes {THREADS};
worker_rlimit_nofile 65536; events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600; client_header_timeout 3600;
  server {{ listen {port} backlog=4096 reuseport; sendfile on; location / {{ return 200 '{"x" * 64}'; }}
  location /bulk {{ root {work}; }} }} }}""")
    start("nginx", "-c", conf)
    wait_until(lambda: answers(port), "the backend")
    return f"{own_address()}:{port}"


def certificate():
    at = work / "bench"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test", "-keyout", f"{at}.key", "-out", f"{at}.crt"],
                   check=True, capture_output=True)
    pathlib.Path(f"{at}.pem").write_text(pathlib.Path(f"{at}.crt").read_text() + pathlib.Path(f"{at}.key").read_text())
    return at


# --- one run of each kind: (work done, seconds, p99 in ms or None, errors) ---

def milliseconds(text):
    found = re.match(r"([\d.]+)(us|ms|s|m|h)$", text)
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000, "h": 3600000}[found[2]] if found else None


def wrk(url, *more, seconds=SECONDS):
    done = subprocess.run(["wrk", f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-H", "Host: bench.test", *more, url],
                          capture_output=True, text=True).stdout
    requests, took = re.search(r"(\d+) requests in ([\d.]+)s", done).groups()
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", done))
    errors += sum(int(n) for n in re.findall(r"Non-2xx.*: (\d+)", done))
    return int(requests), float(took), milliseconds(re.search(r"99%\s+(\S+)", done).group(1)), errors


def h2load(url):
    done = subprocess.run(["h2load", f"-t{THREADS}", "-c16", "-m16", f"-D{SECONDS}", "--warm-up-time=1", url], capture_output=True, text=True).stdout
    total, _, _, _, failed = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed", done).groups()
    return int(total), float(SECONDS), None, int(failed)


def curl(url, flows):
    began = time.monotonic()
    running = [subprocess.Popen(["curl", "-sf", "-o", "/dev/null", url]) for _ in range(flows)]
    errors = sum(p.wait() != 0 for p in running)
    return BULK_MB * flows / 1000, time.monotonic() - began, None, errors


RUN = {  # row: (port, what is counted, one run)
    "tcp": ("tcp", "request", lambda port: wrk(f"http://127.0.0.1:{port}/")),
    "conn": ("tcp", "connection", lambda port: wrk(f"http://127.0.0.1:{port}/", "-H", "Connection: close")),
    "http": ("http", "request", lambda port: wrk(f"http://127.0.0.1:{port}/")),
    "short": ("http", "request", lambda port: wrk(f"http://127.0.0.1:{port}/", "-H", "Connection: close")),
    "bulk tcp, 1 flow": ("tcp", "GB", lambda port: curl(f"http://127.0.0.1:{port}/bulk", 1)),
    "bulk tcp, 4 flows": ("tcp", "GB", lambda port: curl(f"http://127.0.0.1:{port}/bulk", 4)),
    "bulk http": ("http", "GB", lambda port: curl(f"http://127.0.0.1:{port}/bulk", 1)),
    "tls": ("tls", "request", lambda port: wrk(f"https://127.0.0.1:{port}/")),
    "tlsconn": ("tls", "connection", lambda port: wrk(f"https://127.0.0.1:{port}/", "-H", "Connection: close")),
    "h2": ("tls", "request", lambda port: h2load(f"https://127.0.0.1:{port}/")),
}
KIND = {"bulk": ["bulk tcp, 1 flow", "bulk tcp, 4 flows", "bulk http"]}


class Result:
    def __init__(self):
        self.rates, self.costs, self.late, self.errors = [], [], [], 0

    def one_run(self, proxy, port, run):
        before = proxy.cpu()
        count, took, late, errors = run(port)
        self.rates.append(count / took)
        self.costs.append((proxy.cpu() - before) / max(count, 1e-9))
        self.late += [late] if late is not None else []
        self.errors += errors

    def line(self, unit, ours):
        rate, each = statistics.median(self.rates), statistics.median(self.costs)
        cost = f"{each:8.2f} s" if unit == "GB" else f"{each * 1e6:8.1f} us"
        speed = f"{rate * 8:10.1f} Gb/s" if unit == "GB" else f"{rate:10.0f} /s  "
        late = f"{statistics.median(self.late):.2f} ms" if self.late else "-"
        failed = f"{self.errors} ERRORS" if self.errors else ""
        ratio = ""
        if ours is not self:
            # Of each round by itself: what the machine was doing then was the same for both.
            speeds = [a / b for a, b in zip(ours.rates, self.rates)]
            costs = [b / a for a, b in zip(ours.costs, self.costs) if a]
            ratio = f"x {statistics.median(speeds):.2f} speed" + (f", x {statistics.median(costs):.2f} CPU" if costs else "")
        return f"{speed} {cost} CPU per {unit:10} p99 {late:9} {failed:10} {ratio}"


def table(row, proxies):
    key, unit, run = RUN[row]
    able = [p for p in proxies if p.ports.get(key) and answers(p.ports[key], key.startswith("tls"))]
    results = {p.name: Result() for p in able}
    for i in range(RUNS):
        for proxy in able[i % len(able):] + able[:i % len(able)]:
            results[proxy.name].one_run(proxy, proxy.ports[key], run)
    for proxy in proxies:
        found = results.get(proxy.name)
        print(f"{row:18} {proxy.name:8} {found.line(unit, results.get(proxies[0].name, found)) if found else '-'}", flush=True)


# --- memory and reloads ---

def idle_connections(row, proxies, key):
    for proxy in proxies:
        port = proxy.ports.get(key)
        if not port or not answers(port, key.startswith("tls")):
            print(f"{row:18} {proxy.name:8} -", flush=True)
            continue
        context = ssl._create_unverified_context()
        open_ones = []

        def more(n):
            for _ in range(n):
                s = socket.create_connection(("127.0.0.1", port))
                open_ones.append(context.wrap_socket(s, server_hostname="bench.test") if key.startswith("tls") else s)
            time.sleep(1)

        more(200)  # what is allocated once
        before = proxy.memory_kb("Private_Dirty")
        more(IDLE)
        grown = proxy.memory_kb("Private_Dirty") - before
        print(f"{row:18} {proxy.name:8} {grown / IDLE:10.2f} KiB of its own memory per idle connection", flush=True)
        for s in open_ones:
            s.close()
        time.sleep(1)


def reloads(proxies):
    for mode in ("tcp", "http"):
        for proxy in proxies:
            port = proxy.ports.get(mode)
            if not port:
                continue
            result = []
            load = threading.Thread(target=lambda: result.append(wrk(f"http://127.0.0.1:{port}/", seconds=8)))
            load.start()
            for _ in range(6):
                time.sleep(1.1)
                proxy.reload()
            load.join()
            requests, _, _, errors = result[0]
            print(f"{'six reloads, ' + mode:18} {proxy.name:8} {errors:10} errors in {requests} requests", flush=True)
            time.sleep(2)


def main(wanted):
    backend, at = backend_server(), certificate()
    proxies = [Ours(backend, at)]
    if os.environ.get("BEFORE"):
        proxies.append(Ours(backend, at, "before", os.environ["BEFORE"]))
    peers = os.environ.get("PEERS", "haproxy,nginx").split(",")
    proxies += [Haproxy(backend, at)] if "haproxy" in peers and shutil.which("haproxy") else []
    proxies += [Nginx(backend, at)] if "nginx" in peers else []
    for proxy in proxies:
        wait_until(lambda: proxy.process.poll() is not None or answers(proxy.ports["http"]) and (not proxy.ports["tcp"] or answers(proxy.ports["tcp"])), proxy.name)
        if proxy.process.poll() is not None:
            sys.exit(f"{proxy.name} does not start: {(work / 'log').read_text()[-2000:]}")
    time.sleep(1)
    print(f"{THREADS} threads each, {CONNECTIONS} connections, medians of {RUNS} runs of {SECONDS} s; "
          f"load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)
    for row in wanted:
        if row == "idle":
            from_file = FromFile(backend, at)
            wait_until(lambda: answers(from_file.ports["http"]), "ours from a file")
            time.sleep(7)  # ours gives back the start's memory after five
            for proxy in [*proxies, from_file]:
                print(f"{'idle':18} {proxy.name:8} {proxy.memory_kb():10} KiB PSS, {proxy.memory_kb('Rss')} KiB resident", flush=True)
        elif row == "connections":
            idle_connections(row, proxies, "tcp")
        elif row == "tlsconnections":
            idle_connections(row, proxies, "tlstcp")
        elif row == "reload":
            reloads(proxies)
        else:
            for one in KIND.get(row, [row]):
                table(one, proxies)


try:
    for name in sys.argv[1:]:
        if name not in ROWS:
            sys.exit(f"{name}: one of {', '.join(ROWS)}")
    main(sys.argv[1:] or ROWS)
finally:
    for child in children:
        child.send_signal(signal.SIGTERM)
    for child in children:
        child.wait()
    for p in pathlib.Path("/proc").glob("[0-9]*"):  # the last of those that took over
        try:
            if str(work).encode() in (p / "cmdline").read_bytes():
                os.kill(int(p.name), signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            pass
    shutil.rmtree(work, ignore_errors=True)
