#!/usr/bin/python3
"""The gateway beside haproxy and nginx, on one machine, over loopback.

  bench/gateway.py             every figure, as a table
  bench/gateway.py tcp http    only these (idle, tcp, http, short, bulk)

Needs wrk and nginx (the backend); haproxy and nginx as proxies are measured where they are installed.
CPU per request is user and system time of the proxy's processes from /proc: the steadiest figure when
client, proxy and backend share the cores. Each figure is the median of three runs.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[0] = str(TOP / "tests" / "e2e")
from conftest import Sampan, free_port, own_address, wait_until  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
BULK_MB = 1024
SECONDS, RUNS, CONNECTIONS = int(os.environ.get("SECONDS_EACH", "3")), 3, 64
work = pathlib.Path(tempfile.mkdtemp(prefix="sampan-bench-"))
children = []


def start(*args):
    p = subprocess.Popen([str(a) for a in args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children.append(p)
    return p


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def family(pid):
    """A process and what it forked."""
    out = [pid]
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((p / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                out.append(int(p.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return out


def cpu(pids):
    total = 0
    for pid in pids:
        f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(f[11]) + int(f[12])
    return total / TICK


def pss_kb(pids):
    return sum(int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{p}/smaps_rollup").read_text(), re.M).group(1)) for p in pids)


def nginx(name, http):
    conf = work / f"{name}.conf"
    conf.write_text(f"daemon off; pid {work}/{name}.pid; error_log /dev/null; worker_processes 1; worker_rlimit_nofile 65536;\n"
                    f"events {{ worker_connections 16384; }}\nhttp {{ access_log off; keepalive_requests 1000000000;\n{http} }}\n"
                    if "stream" not in name else
                    f"load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; pid {work}/{name}.pid; error_log /dev/null;\n"
                    f"worker_processes 1; events {{ worker_connections 16384; }}\nstream {{ {http} }}\n")
    return start("nginx", "-c", conf)


def wrk(port, *more, host="bench.test"):
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--latency", "-H", f"Host: {host}", *more,
                           f"http://127.0.0.1:{port}/"], capture_output=True, text=True).stdout
    requests = int(re.search(r"(\d+) requests in", done).group(1))
    p99 = re.search(r"99%\s+(\S+)", done).group(1)
    errors = re.search(r"Socket errors: (.*)|Non-2xx.*: (\d+)", done)
    return requests, float(re.search(r"Requests/sec:\s+(\S+)", done).group(1)), p99, errors.group(0) if errors else ""


def measure(title, port, pids, *more):
    rate, each, last = [], [], None
    for _ in range(RUNS):
        before = cpu(pids)
        requests, per_second, p99, errors = wrk(port, *more)
        rate.append(per_second)
        each.append((cpu(pids) - before) * 1e6 / max(requests, 1))
        last = (p99, errors)
    print(f"{title:34} {statistics.median(rate):>10.0f} /s   p99 {last[0]:>9}   {statistics.median(each):>6.1f} us CPU each   {last[1]}",
          flush=True)


def bulk(title, port, pids):
    """One large body; what each gigabyte costs the proxy."""
    rate, each = [], []
    for _ in range(RUNS):
        before, began = cpu(pids), time.monotonic()
        subprocess.run(["curl", "-sf", "-o", "/dev/null", "-H", "Host: bench.test", f"http://127.0.0.1:{port}/bulk"], check=True)
        rate.append(BULK_MB * 8 / 1000 / (time.monotonic() - began))
        each.append((cpu(pids) - before) * 1000 / BULK_MB)
    print(f"{title:34} {statistics.median(rate):>10.1f} Gb/s                  {statistics.median(each):>6.2f} s CPU per GB", flush=True)


def haproxy(tcp, http, backend):
    conf = work / "haproxy.cfg"
    conf.write_text(f"""global
  nbthread 1
  maxconn 8000
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen tcp
  mode tcp
  bind 127.0.0.1:{tcp}
  server b 127.0.0.1:{backend}
listen http
  mode http
  option forwardfor
  bind 127.0.0.1:{http}
  server b 127.0.0.1:{backend}
""")
    return start("haproxy", "-db", "-f", conf)


def ours(backend, lb_port):
    s = Sampan(work / "sampan", roles="apiserver,gateway", extra=["--node-ip", "127.0.0.1"])
    s.start()
    children.append(s.process)
    backend_ref = {"service": {"name": "bench", "port": {"number": lb_port}}}
    for o in ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bench"},
             "spec": {"type": "LoadBalancer", "ports": [{"port": lb_port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": "bench", "labels": {"kubernetes.io/service-name": "bench"}},
             "ports": [{"port": backend}], "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}]},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "bench"}, "spec": {"rules": [
                {"host": "bench.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend_ref}]}}]}}):
        s.apply(o)
    wait_until(lambda: s.http(port=lb_port)[0] == 200 and s.http(headers={"Host": "bench.test"})[0] == 200, "the gateway's answer")
    return s


def main(wanted):
    backend, tcp, http, ntcp, nhttp, lb = (free_port() for _ in range(6))
    body = "x" * 64
    with open(work / "bulk", "wb") as f:
        f.truncate(BULK_MB * 1000000)
    os.chmod(work, 0o755)
    nginx("backend", f"server {{ listen {backend} backlog=4096; sendfile on; location / {{ return 200 '{body}'; }} "
          f"location /bulk {{ root {work}; }} }}")
    wait_until(lambda: listening(backend), "nginx")
    s = ours(backend, lb)
    proxies = [("sampan gateway", [s.role_pids()["gateway"]], lb, s.gateway_port)]
    if shutil.which("haproxy"):
        p = haproxy(tcp, http, backend)
        wait_until(lambda: listening(tcp), "haproxy")
        proxies.append(("haproxy (1 thread)", family(p.pid), tcp, http))
    p = nginx("proxy", f"upstream b {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000000; }}\n"
              f"server {{ listen 127.0.0.1:{nhttp} backlog=4096; location / {{ proxy_pass http://b; proxy_http_version 1.1; "
              "proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }")
    wait_until(lambda: listening(nhttp), "nginx as a proxy")
    proxies.append(("nginx (1 worker)", family(p.pid), None, nhttp))
    if "idle" in wanted:
        for name, pids, _, _ in proxies:
            print(f"{'idle memory, ' + name:34} {pss_kb(pids):>10} KiB PSS", flush=True)
    for figure, at, more in (("tcp", 2, ()), ("http", 3, ()), ("short", 3, ("-H", "Connection: close"))):
        for proxy in proxies:
            if figure in wanted and proxy[at]:
                measure(f"{figure}, {proxy[0]}", proxy[at], proxy[1], *more)
    for figure, at in (("bulk tcp", 2), ("bulk http", 3)):
        for proxy in proxies:
            if "bulk" in wanted and proxy[at]:
                bulk(f"{figure}, {proxy[0]}", proxy[at], proxy[1])


try:
    main(sys.argv[1:] or ["idle", "tcp", "http", "short", "bulk"])
finally:
    for child in children:
        child.send_signal(signal.SIGTERM)
    for child in children:
        child.wait()
    shutil.rmtree(work, ignore_errors=True)
