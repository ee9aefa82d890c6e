#!/usr/bin/python3
"""The API server on etcd, and etcd alone beside it on the same disk.

Peers: kube-apiserver is not packaged; its figures are quoted from our research notes (two cores, 1.26
with etcd 3.4) and marked *. What etcd itself can write is asked in two ways, in turns with our CREATE,
so that both meet the same disk: by the same client in the same manner (h2load, as many connections and
streams, a value as large as our object, gRPC), and by `etcdctl check perf` (puts of 256 + 1,024 bytes by
1,000 clients, at most 15,000/s), beside which our CREATE has as many connections and bytes. The writes
on an etcd with the flags that Sampan gives it, on one with etcd's defaults, and on one with TLS, too.
A GET without a revision asks the quorum first, as kube-apiserver's does; with resourceVersion=0 it does
not. Arguments: only these parts (reads, writes, defaults, tls).
"""
import contextlib
import json
import os
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
from test_etcd_tls import TlsEtcd, World  # noqa: E402


AS_SAMPAN_RUNS_IT = ["--backend-batch-limit=500"]  # src/cli/member.c


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
HEAD = b"/bench/head"


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def number(field, n):
    return varint(field << 3) + varint(n)


def protobuf(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def writes(directory, size):
    """gRPC messages for h2load: a bare put, and a transaction as each of our creations is one: it is not there yet; then both puts, else both reads."""
    def put(key, value):
        return protobuf(1, key) + protobuf(2, value)

    def get(key):
        return protobuf(1, protobuf(1, key))
    absent = number(1, 0) + number(2, 2) + protobuf(3, b"/bench/absent") + number(6, 0)  # EQUAL, MOD
    one, head = put(KEY, b"x" * size), put(HEAD, b'{"store":"sampan","version":1}')
    yes, no = (protobuf(2, one), protobuf(2, head)), (get(KEY), get(HEAD))
    bodies = {"Put": one, "Txn": protobuf(1, absent) + b"".join(protobuf(2, op) for op in yes) + b"".join(protobuf(3, op) for op in no)}
    for name, message in bodies.items():
        (directory / name).write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)


def revision(etcd):
    return json.loads(etcd.ctl("get", "/bench", "-w", "json"))["header"]["revision"]


def write(directory, etcd, call):
    """etcd alone: per second, CPU-ms each. The revision says how many were really made."""
    old, before = revision(etcd), cpu_seconds(etcd.process.pid)
    done = subprocess.run(["h2load", "-D", "4", "-c", "10", "-m", "10", "-d", str(directory / call), "-H", "content-type: application/grpc",
                           "-H", "te: trailers", f"http://127.0.0.1:{etcd.port}/etcdserverpb.KV/{call}"], capture_output=True, text=True)
    rate = float(re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout).group(1))
    made = revision(etcd) - old
    assert made >= int(re.search(r"(\d+) 2xx", done.stdout).group(1)) > 0, done.stdout
    return rate, 1000 * (cpu_seconds(etcd.process.pid) - before) / made


def create(api, etcd, body, *more):
    """Ours: per second, CPU-ms of each, CPU-ms of etcd."""
    before, theirs = cpu_seconds(api.process.pid), cpu_seconds(etcd.process.pid)
    rate, ok = load(api, CONFIGS, "-d", str(body), "-H", "Content-Type: application/json", *more)
    return rate, 1000 * (cpu_seconds(api.process.pid) - before) / ok, 1000 * (cpu_seconds(etcd.process.pid) - theirs) / ok


def median(rounds, column):
    return statistics.median(r[column] for r in rounds)


def config_map(path, size):
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "n-"}, "data": {"a": "x" * size}}))
    return path


def ratios(ours, theirs):
    pairs = [o[0] / t[0] for o, t in zip(ours, theirs)]
    return f"ours is {statistics.median(pairs):.2f} of it ({min(pairs):.2f} to {max(pairs):.2f})"


def create_row(figure, ours, peer=""):
    row(figure, f"{median(ours, 0):,.0f}/s, {median(ours, 1):.3f} CPU-ms", peer, f"and {median(ours, 2):.3f} CPU-ms of etcd")


def measure_create(directory, api, etcd):
    body = config_map(directory / "body.json", 200)
    size = len(json.dumps(api.call("POST", CONFIGS, json.loads(body.read_text()))[1], separators=(",", ":")))
    writes(directory, size)
    before = [create(api, etcd, body) for _ in range(3)]
    create_row("CREATE ConfigMap, durable", before, "1,198/s, 0.7 CPU-ms *")
    rounds = [(write(directory, etcd, "Put"), write(directory, etcd, "Txn"), create(api, etcd, body)) for _ in range(3)]
    puts, txns, ours = zip(*rounds)
    create_row("  in turns with etcd alone", ours)
    for call, theirs in (("Put", puts), ("Txn", txns)):
        row(f"  etcd alone, {call} of {size} bytes", "", f"{median(theirs, 0):,.0f}/s, {median(theirs, 1):.3f} CPU-ms", ratios(ours, theirs))


def credentials(etcd):
    return ["--cacert", str(etcd.ca.crt), "--cert", str(etcd.pair[0]), "--key", str(etcd.pair[1])] if isinstance(etcd, TlsEtcd) else []


def check_perf(etcd):
    """A minute. The revision tells more than the program's own rounded rate; its keys are compacted away, see docs/why/etcd.md."""
    old, before, since = revision(etcd), cpu_seconds(etcd.process.pid), time.monotonic()
    done = subprocess.run(["etcdctl", "--endpoints", etcd.url, *credentials(etcd), "check", "perf", "--load=xl", "--auto-compact"],
                          env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True)
    told = re.search(r"(\d+) writes/s", done.stdout)
    assert told and time.monotonic() - since > 60, done.stdout + done.stderr
    rate = int(told.group(1))
    return rate, 1000 * (cpu_seconds(etcd.process.pid) - before) / (revision(etcd) - old)


def measure_as_check_perf(directory, api, etcd):
    """Objects as large as its keys and values, as many clients; half of ours before it and half after."""
    body = config_map(directory / "large.json", 1024)
    like_it = ("-c", "1000", "-m", "1")
    create(api, etcd, body, *like_it)
    ours, ten = [create(api, etcd, body, *like_it)], [create(api, etcd, body)]
    theirs = check_perf(etcd)
    time.sleep(2)
    ours.append(create(api, etcd, body, *like_it))
    ten.append(create(api, etcd, body))
    create_row("CREATE of 1 KiB by 1,000 connections", ours)
    row("  etcdctl check perf --load=xl", "", f"{theirs[0]:,.0f}/s, {theirs[1]:.3f} CPU-ms", ratios(ours, [theirs] * 2))
    create_row("CREATE of 1 KiB by 10 connections of 10", ten)
    row("  beside the same check perf", "", "", ratios(ten, [theirs] * 2))


@contextlib.contextmanager
def served(directory, etcd, *flags):
    api = Api(directory, etcd, "a", *flags).start()
    try:
        for _ in range(600):
            if api.ready():
                break
            time.sleep(0.1)
        yield directory, api, etcd
    finally:
        api.process.kill()
        etcd.stop()
        shutil.rmtree(directory, ignore_errors=True)


def plain(flags):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="etcd-bench-"))
    return served(directory, Etcd(directory, quota=8 << 30, flags=flags))


def with_tls(flags):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="etcd-bench-"))
    world = World(directory)
    world.etcd.stop()
    etcd = TlsEtcd(directory, world.ca, world.server, "--quota-backend-bytes", str(8 << 30), *flags)
    return served(directory, etcd, *world.flags())


def measure_reads(api, etcd):
    for n in range(1000):
        api.call("POST", CONFIGS, {"metadata": {"name": f"c{n}"}, "data": {"a": "x" * 600}})
    measure(api, etcd, "GET ConfigMap, consistent", "3,588/s, 0.31 CPU-ms *", f"{CONFIGS}/c1")
    measure(api, etcd, "GET ConfigMap, resourceVersion=0", "", f"{CONFIGS}/c1?resourceVersion=0")
    measure(api, etcd, "LIST 1,000 ConfigMaps, consistent", "89/s, 13 CPU-ms *", CONFIGS, "-m", "1", "-c", "4")
    row("resident after that", f"{memory_kb(api.process.pid, 'Rss') / 1024:.1f} MB", "283 MB *", f"and {memory_kb(etcd.process.pid, 'Rss') / 1024:.0f} MB of etcd")


def main():
    if not shutil.which("etcd"):
        print("etcd is not installed: nothing to measure")
        return
    wanted = sys.argv[1:] or ["reads", "writes", "defaults", "tls"]
    if "reads" in wanted:
        with plain(AS_SAMPAN_RUNS_IT) as (_, api, etcd):
            measure_reads(api, etcd)
    for name, flags in (("writes", AS_SAMPAN_RUNS_IT), ("defaults", [])):
        if name in wanted:
            with plain(flags) as (directory, api, etcd):
                print(f"writes, etcd with {' '.join(flags) or 'its defaults'}:", flush=True)
                measure_create(directory, api, etcd)
                measure_as_check_perf(directory, api, etcd)
    if "tls" in wanted:
        with with_tls(AS_SAMPAN_RUNS_IT) as (directory, api, etcd):
            print(f"writes, etcd with TLS and {' '.join(AS_SAMPAN_RUNS_IT)}:", flush=True)
            measure_as_check_perf(directory, api, etcd)


if __name__ == "__main__":
    main()
