#!/usr/bin/python3
"""The platform as a whole, beside its peers where one can be had.

  bench/figures.py            every figure, as a table
  bench/figures.py start get  only these

Run on a quiet machine; figures are medians. Server CPU per request comes from /proc and is the
steadiest. Peers: etcd from the distribution is run beside us; kube-apiserver is not packaged, its
figures are quoted from our research notes (two cores, 1.26 with etcd 3.4) and marked *.
"""
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from conftest import ALL_ROLES, BINARY, Sampan, free_port  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
rows = []


def row(figure, ours, peer="", note=""):
    rows.append((figure, ours, peer, note))
    print(f"{figure:44} {ours:>22}   {peer:>26}   {note}", flush=True)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_kb(pid, key):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))


def fresh(name, roles=ALL_ROLES):
    directory = tempfile.mkdtemp(prefix="sampan-bench-")
    return Sampan(pathlib.Path(directory) / name, roles=roles)


def gone(s):
    s.stop()
    shutil.rmtree(s.dir.parent, ignore_errors=True)


def bench_start():
    times = []
    for _ in range(5):
        s = fresh("start")
        s.start()
        times.append(int(re.search(r"sampan is ready: (\d+) ms", s.output.read_text()).group(1)))
        gone(s)
    row("sampan up to ready, empty directory", f"{statistics.median(times)} ms", "3,100-3,700 ms *", "kube-apiserver + etcd alone")
    row("binary", f"{os.path.getsize(BINARY) / 1e6:.1f} MB", "88 + 70 MB *", "kube-apiserver + controller-manager")


def bench_idle():
    s = fresh("idle")
    s.start()
    time.sleep(5)
    pids = {**s.role_pids(), "up": s.process.pid}
    before = {role: cpu_seconds(pid) for role, pid in pids.items()}
    seconds = 30
    time.sleep(seconds)
    used = sum(cpu_seconds(pid) - before[role] for role, pid in pids.items())
    rss = {role: memory_kb(pid, "Rss") for role, pid in pids.items()}
    pss = sum(memory_kb(pid, "Pss") for pid in pids.values())
    detail = ", ".join(f"{role} {kb / 1024:.1f}" for role, kb in sorted(rss.items()))
    row("all roles idle, resident (RSS sum)", f"{sum(rss.values()) / 1024:.1f} MB", "283 + 50 + 105 MB *", detail)
    row("all roles idle, proportional (PSS sum)", f"{pss / 1024:.1f} MB")
    row("all roles idle, CPU", f"{100 * used / seconds:.2f} % of a core", "2.2 % *")
    gone(s)


def h2load(s, pem, path, *more):
    done = subprocess.run(["h2load", "-D", "4", "-c", "8", "-m", "10", *more, f"https://127.0.0.1:{s.api_port}{path}"],
                          capture_output=True, text=True)
    rate = float(re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout).group(1))
    ok = int(re.search(r"(\d+) 2xx", done.stdout).group(1))
    other = [int(n) for n in re.search(r"(\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout).groups()]
    assert ok and not any(other), done.stdout
    return rate, ok


def with_token(name):
    s = fresh(name, roles="apiserver")
    s.dir.mkdir(parents=True)
    (s.dir / "tokens.csv").write_text('bench,bench,1,"system:masters"\n')
    s.start()
    return s, ["-H", "Authorization: Bearer bench"]


def measure(s, headers, figure, peer, path, *more):
    pid = s.role_pids()["apiserver"]
    rates, costs = [], []
    for _ in range(3):
        before = cpu_seconds(pid)
        rate, ok = h2load(s, None, path, *headers, *more)
        costs.append(1000 * (cpu_seconds(pid) - before) / ok)
        rates.append(rate)
    row(figure, f"{statistics.median(rates):,.0f}/s, {statistics.median(costs):.3f} CPU-ms", peer)


def bench_get():
    s, headers = with_token("get")
    s.api("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "one"}, "data": {"a": "x" * 200}})
    measure(s, headers, "GET ConfigMap (h2load -c 8 -m 10)", "3,588/s, 0.31 CPU-ms *", "/api/v1/namespaces/default/configmaps/one")
    gone(s)


def bench_list():
    s, headers = with_token("list")
    for i in range(1000):
        s.api("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{i}"}, "data": {"a": "x" * 600}})
    measure(s, headers, "LIST 1,000 ConfigMaps", "89/s, 13 CPU-ms *", "/api/v1/namespaces/default/configmaps", "-m", "1", "-c", "4")
    gone(s)


def bench_create():
    s, headers = with_token("create")
    body = s.dir.parent / "body.json"
    body.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-"}, "data": {"a": "x" * 200}}))
    measure(s, headers, "CREATE ConfigMap, durable", "1,198/s, 0.7 CPU-ms *", "/api/v1/namespaces/default/configmaps",
            "-d", str(body), "-H", "Content-Type: application/json", "-c", "10", "-m", "5")
    gone(s)
    bench_etcd_put()


def bench_etcd_put():
    if not shutil.which("etcd"):
        return
    directory = tempfile.mkdtemp(prefix="etcd-bench-")
    client, peer = free_port(), free_port()
    etcd = subprocess.Popen(["etcd", "--data-dir", directory, "--listen-client-urls", f"http://127.0.0.1:{client}",
                             "--advertise-client-urls", f"http://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                             "--log-level", "error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", client)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(1)
        body = pathlib.Path(directory) / "put.json"
        import base64
        body.write_text(json.dumps({"key": base64.b64encode(b"/bench/key").decode(), "value": base64.b64encode(b"x" * 300).decode()}))
        rates, costs = [], []
        for _ in range(3):
            before = cpu_seconds(etcd.pid)
            done = subprocess.run(["h2load", "--h1", "-D", "4", "-c", "50", "-d", str(body), f"http://127.0.0.1:{client}/v3/kv/put"], capture_output=True, text=True)
            rates.append(float(re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout).group(1)))
            costs.append(1000 * (cpu_seconds(etcd.pid) - before) / max(1, int(re.search(r"(\d+) 2xx", done.stdout).group(1))))
        row("  the same disk: etcd put of 300 bytes", "", f"{statistics.median(rates):,.0f}/s, {statistics.median(costs):.3f} CPU-ms", "etcd's JSON gateway, no API server")
    finally:
        etcd.kill()
        etcd.wait()
        shutil.rmtree(directory, ignore_errors=True)


def bench_demo():
    if os.geteuid() != 0 or not shutil.which("nginx"):
        return
    example = TOP / "examples" / "01-oam-nginx"
    times = []
    for _ in range(3):
        s = fresh("demo")
        s.start()
        image = s.dir.parent / "nginx.tar"
        subprocess.run([str(example / "build-image"), "-o", str(image)], check=True, stdout=subprocess.DEVNULL)
        s.sampan("image", "import", "--data-dir", s.dir / "agent", image)
        began = time.monotonic()
        s.sampan("apply", *[w for f in ("component", "application", "route") for w in ("-f", example / f"{f}.yaml")])
        while s.http()[0] != 200:
            time.sleep(0.01)
        times.append(1000 * (time.monotonic() - began))
        gone(s)
    row("apply of the demo to its first answer", f"{statistics.median(times):.0f} ms", "", "image present, client included")


BENCHES = {"start": bench_start, "idle": bench_idle, "demo": bench_demo, "get": bench_get, "list": bench_list, "create": bench_create}

if __name__ == "__main__":
    print(f"{'figure':44} {'Sampan':>22}   {'peer':>26}")
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
