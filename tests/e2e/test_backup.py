"""Backups of a running platform, restored elsewhere; moving from a file to etcd and back."""
import gzip
import json
import shutil
import subprocess

import pytest

from conftest import BINARY, Sampan, wait_until
from test_etcd import Api, Etcd

needs_etcd = pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")


def sampan_run(*words, check=True):
    done = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or not check, done.stderr
    return done


def everything(path):
    """(key, value without revision) in the order of the file."""
    with (gzip.open if str(path).endswith(".gz") else open)(path, "rt") as f:
        lines = [json.loads(line) for line in f]
    assert lines[0]["sampan"] == "backup" and lines[-1]["end"] and lines[-1]["objects"] == len(lines) - 2 == lines[0]["objects"]
    revisions = [x["rev"] for x in lines[1:-1]]
    assert revisions == sorted(revisions) and len(set(revisions)) == len(revisions)
    return [(x["key"], x["value"]) for x in lines[1:-1]]


@pytest.fixture
def small(workdir, request):
    s = Sampan(workdir / f"backup-{request.node.name[:30]}", roles="apiserver,controllers")
    yield s
    s.stop()


def test_a_running_platform_is_backed_up_and_comes_back_elsewhere(small, tmp_path):
    small.start()
    for n in range(50):
        small.api("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{n}"}, "data": {"k": ("x" if n % 3 else "ü") * n}})
    small.api("DELETE", "/api/v1/namespaces/default/configmaps/c7")
    secret = small.kubectl("create", "secret", "generic", "s", "--from-literal=password=pssst")
    assert secret.code == 0
    plain, packed = tmp_path / "all.jsonl", tmp_path / "all.jsonl.gz"
    made = sampan_run("backup", "create", plain, "--kubeconfig", small.kubeconfig)
    assert f"{plain}: " in made.stdout and plain.stat().st_mode & 0o077 == 0
    sampan_run("backup", "create", packed, "--kubeconfig", small.kubeconfig)
    assert packed.stat().st_size < plain.stat().st_size
    before = small.get("configmap", "c9")
    assert sampan_run("backup", "verify", packed).stdout.startswith(f"{packed}: ")
    # Damage of any kind is found, and nothing is written then.
    data = plain.read_bytes()
    for name, spoiled in {"cut": data[: len(data) // 2], "bit": data.replace(b"xxxx", b"xxyx", 1), "tail": data[: data.rindex(b'{"end"')],
                          "more": data + data.splitlines(True)[1], "none": b"", "other": b'{"a":1}\n'}.items():
        bad = tmp_path / name
        bad.write_bytes(spoiled)
        refused = sampan_run("backup", "restore", bad, "--store", f"sqlite:{tmp_path}/never.db", check=False)
        assert refused.returncode == 1 and str(bad) in refused.stderr, (name, refused)
        assert not (tmp_path / "never.db").exists()
    store = small.dir / "apiserver" / "state.db"
    busy = sampan_run("backup", "restore", plain, "--store", f"sqlite:{store}", check=False)
    assert busy.returncode == 1 and "in use" in busy.stderr
    # The machine is lost; another one gets the certificates and the backup.
    small.stop()
    shutil.rmtree(store.parent)
    slip = sampan_run("backup", "create", tmp_path / "slip", "--store", f"sqlite:{store}", check=False)
    assert slip.returncode == 1 and "no store" in slip.stderr and not store.parent.exists() and not (tmp_path / "slip").exists()
    assert "objects restored into" in sampan_run("backup", "restore", packed, "--store", f"sqlite:{store}").stdout
    full = sampan_run("backup", "restore", packed, "--store", f"sqlite:{store}", check=False)
    assert full.returncode == 1 and "holds" in full.stderr and "empty store" in full.stderr
    small.start()
    after = small.get("configmap", "c9")
    assert after["metadata"]["uid"] == before["metadata"]["uid"] and after["data"] == before["data"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    assert small.kubectl("get", "configmap", "c7", check=False).code != 0
    assert small.get("secret", "s")["data"] == {"password": "cHNzc3Q="}
    assert small.api("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "new"}})[0] == 201


@needs_etcd
def test_from_a_file_to_etcd_and_back(small, tmp_path):
    small.start()
    for n in range(30):
        small.api("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{n}", "annotations": {"resourceVersion": ""}}, "data": {"n": str(n)}})
    small.stop()
    store = small.dir / "apiserver" / "state.db"
    sampan_run("backup", "create", tmp_path / "a", "--store", f"sqlite:{store}")
    etcd = Etcd(tmp_path)
    target = etcd.url.replace("http://", "etcd://") + "/moved"
    try:
        wait_until(etcd.answers, "etcd")
        moved = sampan_run("store", "migrate", "--from", f"sqlite:{store}", "--to", target)
        assert "moved and compared one by one" in moved.stdout
        again = sampan_run("store", "migrate", "--from", f"sqlite:{store}", "--to", target, check=False)
        assert again.returncode == 1 and "restore into an empty store" in again.stderr
        server = Api(tmp_path, etcd, "a", "--etcd-prefix", "/moved").start()
        wait_until(server.ready, "an API server on etcd")
        assert server.call("GET", "/api/v1/namespaces/default/configmaps/c29")[1]["data"] == {"n": "29"}
        server.stop()
        sampan_run("backup", "create", tmp_path / "b", "--store", target)
        sampan_run("store", "migrate", "--from", target, "--to", f"sqlite:{tmp_path}/back.db")
        sampan_run("backup", "create", tmp_path / "c", "--store", f"sqlite:{tmp_path}/back.db")
        a, b, c = (everything(tmp_path / x) for x in "abc")
        assert b == c
        kept = {k: v for k, v in b}
        assert all(kept[k] == v for k, v in a if "/configmaps/default/c" in k)
    finally:
        etcd.stop()


@needs_etcd
def test_moving_while_it_goes_on_and_a_short_stop(small, tmp_path):
    """Most of it moves while everything runs; only what changed meanwhile is left for the stop."""
    configs = "/api/v1/namespaces/default/configmaps"
    small.start()
    for n in range(60):
        small.api("POST", configs, {"metadata": {"name": f"c{n}"}, "data": {"n": str(n)}})
    etcd = Etcd(tmp_path)
    target = etcd.url.replace("http://", "etcd://") + "/moved"
    try:
        wait_until(etcd.answers, "etcd")
        sampan_run("backup", "create", tmp_path / "a", "--kubeconfig", small.kubeconfig)
        sampan_run("backup", "restore", tmp_path / "a", "--store", target)
        for n in range(5):  # it goes on
            small.api("PATCH", f"{configs}/c{n}", {"data": {"n": "changed"}}, headers={"Content-Type": "application/merge-patch+json"})
        small.api("DELETE", f"{configs}/c7")
        small.api("DELETE", f"{configs}/c8")
        small.api("POST", configs, {"metadata": {"name": "c8"}, "data": {"n": "another one of this name"}})
        small.api("POST", configs, {"metadata": {"name": "new"}})
        before = {o["metadata"]["name"]: o for o in small.api("GET", configs)[1]["items"]}
        small.stop()
        store = f"sqlite:{small.dir}/apiserver/state.db"
        full = sampan_run("store", "migrate", "--from", store, "--to", target, check=False)
        assert full.returncode == 1 and "--catch-up if it is an earlier state of the same" in full.stderr
        moved = sampan_run("store", "migrate", "--from", store, "--to", target, "--catch-up")
        words = moved.stdout.split()
        kept, written, removed = int(words[0]), int(words[words.index("were") - 1]), int(words[words.index("removed;") - 1])
        assert kept >= 50 and 7 <= written < 40 and removed >= 1, moved.stdout
        again = sampan_run("store", "migrate", "--from", store, "--to", target, "--catch-up")
        assert " 0 were written, 0 removed" in again.stdout, again.stdout
        server = Api(tmp_path, etcd, "a", "--etcd-prefix", "/moved").start()
        wait_until(server.ready, "an API server on etcd")
        after = {o["metadata"]["name"]: o for o in server.call("GET", configs)[1]["items"]}
        server.stop()
        assert after.keys() == before.keys() and "c7" not in after
        old, new = ([o["metadata"]["name"] for o in sorted(x.values(), key=lambda o: int(o["metadata"]["resourceVersion"]))] for x in (before, after))
        assert old == new
        for name, o in before.items():
            assert o["metadata"]["uid"] == after[name]["metadata"]["uid"] and o.get("data") == after[name].get("data")
        sampan_run("backup", "create", tmp_path / "b", "--store", target)
        # Somebody else's store is not caught up with.
        stranger = Api(tmp_path, etcd, "b", "--etcd-prefix", "/stranger").start()
        wait_until(stranger.ready, "somebody else")
        stranger.stop()
        refused = sampan_run("store", "migrate", "--from", store, "--to", target.replace("/moved", "/stranger"), "--catch-up", check=False)
        assert refused.returncode == 1 and "is not an earlier state of" in refused.stderr, refused.stderr
    finally:
        etcd.stop()
