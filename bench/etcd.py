#!/usr/bin/python3
"""The API server on etcd, and etcd alone beside it on the same disk.

Peers: kube-apiserver is not packaged; its figures are quoted from our research notes (two cores, 1.26
with etcd 3.4) and marked *. etcd alone is asked through its JSON gateway, so it is a neighbour, not an
equal. A GET without a revision asks the quorum first, as kube-apiserver's does; with resourceVersion=0 it
does not.
"""
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "bench"))
from figures import bench_etcd_put, cpu_seconds, memory_kb, row  # noqa: E402

sys.path.insert(0, str(TOP / "tests" / "e2e"))
from test_etcd import CONFIGS, Api, Etcd  # noqa: E402


def load(api, path, *more):
    done = subprocess.run(["h2load", "-D", "4", "-c", "10", "-m", "10", "-H", "Authorization: Bearer tok", *more, f"http://127.0.0.1:{api.port}{path}"],
                          capture_output=True, text=True)
    rate = float(re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout).group(1))
    ok = int(re.search(r"(\d+) 2xx", done.stdout).group(1))
    bad = [int(n) for n in re.search(r"(\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout).groups()]
    assert ok and not any(bad), done.stdout
    return rate, ok


def measure(api, etcd, figure, peer, path, *more):
    rates, ours, theirs = [], [], []
    for _ in range(3):
        a, e = cpu_seconds(api.process.pid), cpu_seconds(etcd.process.pid)
        rate, ok = load(api, path, *more)
        rates.append(rate)
        ours.append(1000 * (cpu_seconds(api.process.pid) - a) / ok)
        theirs.append(1000 * (cpu_seconds(etcd.process.pid) - e) / ok)
    row(figure, f"{statistics.median(rates):,.0f}/s, {statistics.median(ours):.3f} CPU-ms", peer, f"and {statistics.median(theirs):.3f} CPU-ms of etcd")


def main():
    if not shutil.which("etcd"):
        print("etcd is not installed: nothing to measure")
        return
    directory = pathlib.Path(tempfile.mkdtemp(prefix="etcd-bench-"))
    etcd = Etcd(directory, quota=8 << 30)
    api = Api(directory, etcd).start()
    try:
        for _ in range(600):
            if api.ready():
                break
            time.sleep(0.1)
        for n in range(1000):
            api.call("POST", CONFIGS, {"metadata": {"name": f"c{n}"}, "data": {"a": "x" * 600}})
        measure(api, etcd, "GET ConfigMap, consistent", "3,588/s, 0.31 CPU-ms *", f"{CONFIGS}/c1")
        measure(api, etcd, "GET ConfigMap, resourceVersion=0", "", f"{CONFIGS}/c1?resourceVersion=0")
        measure(api, etcd, "LIST 1,000 ConfigMaps, consistent", "89/s, 13 CPU-ms *", CONFIGS, "-m", "1", "-c", "4")
        row("resident after that", f"{memory_kb(api.process.pid, 'Rss') / 1024:.1f} MB", "283 MB *", f"and {memory_kb(etcd.process.pid, 'Rss') / 1024:.0f} MB of etcd")
        body = directory / "body.json"
        body.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "n-"}, "data": {"a": "x" * 200}}))
        measure(api, etcd, "CREATE ConfigMap, durable", "1,198/s, 0.7 CPU-ms *", CONFIGS, "-d", str(body), "-H", "Content-Type: application/json")
    finally:
        api.process.kill()
        etcd.stop()
        shutil.rmtree(directory, ignore_errors=True)
    bench_etcd_put()


if __name__ == "__main__":
    main()
