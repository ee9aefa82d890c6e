#!/usr/bin/python3
"""The API server on etcd, and etcd alone beside it on the same disk.

Peers: kube-apiserver is not packaged; its figures are quoted from our research notes (two cores, 1.26
with etcd 3.4) and marked *. What etcd itself can write is asked by the same client in the same manner
(h2load, as many connections and streams, a value as large as our object, gRPC), in turns with our
CREATE, so that both meet the same disk. A GET without a revision asks the quorum first, as kube-apiserver's does; with resourceVersion=0 it
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
from figures import cpu_seconds, memory_kb, row  # noqa: E402

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


KEY = b"/bench/put"


def protobuf(number, value):
    """One field of bytes, shorter than 16 KiB."""
    size = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 127 | 128, len(value) >> 7])
    return bytes([number << 3 | 2]) + size + value


def writes(directory, size):
    """gRPC messages for h2load: a bare put, and a transaction with the two puts that each of our writes makes."""
    def put(key, value):
        return protobuf(1, key) + protobuf(2, value)
    one, head = put(KEY, b"x" * size), put(b"/bench/head", b"x")
    bodies = {"Put": one, "Txn": protobuf(2, protobuf(2, one)) + protobuf(2, protobuf(2, head))}
    for name, message in bodies.items():
        (directory / name).write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)


def write(directory, etcd, call):
    """etcd alone: per second, CPU-ms each. The key's version says how many were really made."""
    def version():
        kvs = json.loads(etcd.ctl("get", KEY.decode(), "-w", "json")).get("kvs", [{}])
        return kvs[0].get("version", 0)
    old, before = version(), cpu_seconds(etcd.process.pid)
    done = subprocess.run(["h2load", "-D", "4", "-c", "10", "-m", "10", "-d", str(directory / call), "-H", "content-type: application/grpc",
                           "-H", "te: trailers", f"http://127.0.0.1:{etcd.port}/etcdserverpb.KV/{call}"], capture_output=True, text=True)
    rate = float(re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout).group(1))
    made = version() - old
    assert made >= int(re.search(r"(\d+) 2xx", done.stdout).group(1)) > 0, done.stdout
    return rate, 1000 * (cpu_seconds(etcd.process.pid) - before) / made


def create(api, etcd, body):
    """Ours: per second, CPU-ms of each, CPU-ms of etcd."""
    before, theirs = cpu_seconds(api.process.pid), cpu_seconds(etcd.process.pid)
    rate, ok = load(api, CONFIGS, "-d", str(body), "-H", "Content-Type: application/json")
    return rate, 1000 * (cpu_seconds(api.process.pid) - before) / ok, 1000 * (cpu_seconds(etcd.process.pid) - theirs) / ok


def median(rounds, column):
    return statistics.median(r[column] for r in rounds)


def measure_create(directory, api, etcd):
    body = directory / "body.json"
    body.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "n-"}, "data": {"a": "x" * 200}}))
    size = len(json.dumps(api.call("POST", CONFIGS, json.loads(body.read_text()))[1], separators=(",", ":")))
    writes(directory, size)
    rounds = [(write(directory, etcd, "Put"), write(directory, etcd, "Txn"), create(api, etcd, body)) for _ in range(5)]
    puts, txns, ours = zip(*rounds)
    row("CREATE ConfigMap, durable", f"{median(ours, 0):,.0f}/s, {median(ours, 1):.3f} CPU-ms", "1,198/s, 0.7 CPU-ms *", f"and {median(ours, 2):.3f} CPU-ms of etcd")
    for call, theirs in (("Put", puts), ("Txn", txns)):
        pairs = [o[0] / t[0] for o, t in zip(ours, theirs)]
        row(f"  etcd alone, {call} of {size} bytes", "", f"{median(theirs, 0):,.0f}/s, {median(theirs, 1):.3f} CPU-ms",
            f"ours is {statistics.median(pairs):.2f} of it ({min(pairs):.2f} to {max(pairs):.2f})")


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
        measure_create(directory, api, etcd)
    finally:
        api.process.kill()
        etcd.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
