"""sampan up: starting, stopping, refusing to start, surviving crashes."""
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

from conftest import BINARY, IS_ROOT, PATIENCE, Sampan, needs_root, wait_until


def refusal(s, *extra, env=None):
    done = subprocess.run(s.up_args() + list(extra), capture_output=True, text=True, timeout=PATIENCE, env=env)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_prints_a_line_per_role_and_ready_last(fresh):
    fresh.start()
    lines = fresh.output.read_text().splitlines()
    assert lines[-1].startswith("sampan is ready")
    for role in fresh.roles.split(","):
        assert any(line.startswith(role) and "ready" in line for line in lines), lines
    assert stat.S_IMODE(os.stat(fresh.kubeconfig).st_mode) == 0o600
    assert fresh.kubectl("get", "namespaces", "-o", "name").out.split() == [
        "namespace/default", "namespace/kube-node-lease", "namespace/kube-public", "namespace/kube-system"]
    assert fresh.stop() == 0
    assert not fresh.role_pids()


@pytest.mark.parametrize("flag", ["--api-port", "--gateway-port", "--gateway-tls-port"])
def test_port_in_use_is_named_with_its_owner(fresh, flag):
    port = getattr(fresh, flag[2:].replace("-", "_"))
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen()
        text = refusal(fresh)
    assert f"port {port}" in text and flag in text and f"pid {os.getpid()}" in text


def test_a_directory_of_a_newer_version_is_left_alone(fresh):
    fresh.dir.mkdir()
    (fresh.dir / "version").write_text("99\n")
    text = refusal(fresh)
    assert "newer Sampan" in text and "99" in text
    assert os.listdir(fresh.dir / "pki") == [] if (fresh.dir / "pki").exists() else True


def test_one_directory_one_sampan(fresh):
    fresh.start()
    other = Sampan(fresh.dir)
    text = refusal(other)
    assert "in use by another sampan" in text and str(fresh.process.pid) in text


def test_unknown_role_and_flag(fresh):
    assert "no role" in refusal(fresh, "--roles", "apiserver,dreams")
    done = subprocess.run([BINARY, "up", "--dreams"], capture_output=True, text=True)
    assert done.returncode == 2 and "--dreams" in done.stderr


@needs_root
def test_missing_crun_is_said(fresh, workdir):
    bare = workdir / "bare-path"
    bare.mkdir(exist_ok=True)
    text = refusal(fresh, env={"PATH": str(bare)})
    assert "crun" in text and "apt-get install crun" in text


@needs_root
def test_missing_rights_are_said(fresh, workdir):
    os.chmod(workdir, 0o777)
    binary = workdir / "sampan"
    shutil.copy(BINARY, binary)
    args = [str(binary)] + fresh.up_args()[1:]
    done = subprocess.run(args, capture_output=True, text=True, user=65534, group=65534, timeout=PATIENCE)
    assert done.returncode != 0 and "needs root" in done.stderr


def test_a_killed_role_comes_back_alone(fresh):
    fresh.start()
    fresh.kubectl("create", "configmap", "kept", "--from-literal=a=1")
    for role in ("controllers", "gateway", "apiserver"):
        before = fresh.role_pids()
        os.kill(before[role], signal.SIGKILL)
        after = wait_until(lambda: (lambda now: now if now.get(role, before[role]) != before[role] else None)(fresh.role_pids()),
                           f"{role} starts again")
        assert all(after[other] == before[other] for other in before if other != role)
        wait_until(lambda: fresh.kubectl("get", "configmap", "kept", check=False).code == 0, "the API answers")
    wait_until(lambda: fresh.output.read_text().count("ready again") >= 3, "all three report ready again")


def test_kill_9_loses_nothing(fresh):
    fresh.start()
    names = [f"cm-{i}" for i in range(20)]
    for name in names:
        status, _ = fresh.api("POST", "/api/v1/namespaces/default/configmaps",
                              {"metadata": {"name": name}, "data": {"value": name * 10}})
        assert status == 201
    before = fresh.get("configmaps")["items"]
    fresh.kill()
    fresh.start()
    after = fresh.get("configmaps")["items"]
    assert after == before and {c["metadata"]["name"] for c in after} >= set(names)


def test_an_upgrade_is_a_new_file_and_a_restart(fresh, workdir):
    folder = workdir / "upgrade"
    folder.mkdir()
    fresh.binary = str(folder / "sampan")
    shutil.copy(BINARY, fresh.binary)
    fresh.start()
    shutil.copy(BINARY, folder / "new")
    os.replace(folder / "new", fresh.binary)
    before = fresh.role_pids()
    os.kill(before["gateway"], signal.SIGTERM)
    wait_until(lambda: "ready again" in fresh.output.read_text(), "it is ready again")
    after = fresh.role_pids()["gateway"]
    assert after != before["gateway"] and os.stat(f"/proc/{after}/exe").st_ino == os.stat(fresh.binary).st_ino


@pytest.mark.parametrize("command", ["", "up", "apply", "get", "describe", "logs", "delete", "image", "apiserver",
                                     "controllers", "agent", "gateway", "version", "completion", "api-resources", "cluster", "status"])
def test_every_command_explains_itself(command):
    done = subprocess.run([BINARY, *command.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(("Usage: sampan " + command, "Sampan "))
    assert len(done.stdout.splitlines()) >= 4 and done.stderr == ""


def test_tokens_authenticate(fresh):
    fresh.dir.mkdir()
    (fresh.dir / "tokens.csv").write_text('s3cret,alice,1000,"system:masters"\n')
    fresh.start()
    get = lambda token: fresh.api("GET", "/api/v1/namespaces", headers={"Authorization": f"Bearer {token}"}, anonymous=True)
    assert get("s3cret")[0] == 200
    status, body = get("wrong")
    assert status == 401 and body["kind"] == "Status" and body["reason"] == "Unauthorized"
    assert fresh.api("GET", "/api/v1/namespaces", anonymous=True)[0] == 401
    assert fresh.api("GET", "/version", anonymous=True)[0] == 200


def test_the_gateway_gets_its_flag(fresh):
    fresh.roles, fresh.extra = "apiserver,gateway", [*fresh.extra, "--lost-address-reset", "7s"]
    fresh.start()
    words = open(f"/proc/{fresh.role_pids()['gateway']}/cmdline").read().split("\0")
    assert words[words.index("--lost-address-reset") + 1] == "7s"


@needs_root
def test_an_address_that_is_gone_is_named(fresh):
    """Found at the start on an interface that goes away: the agent cannot listen there any more."""
    net = f"gone{os.getpid() % 10000}"
    ip = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: E731
    ip("netns", "add", net)
    try:
        ip("-n", net, "link", "set", "lo", "up")
        ip("-n", net, "link", "add", "left", "type", "veth", "peer", "name", "right")
        for end in ("left", "right"):
            ip("-n", net, "link", "set", end, "up")
        ip("-n", net, "address", "add", "10.99.8.1/24", "dev", "left")
        fresh.roles, args = "apiserver,agent", fresh.up_args
        fresh.up_args = lambda: ["ip", "netns", "exec", net, *args()]
        fresh.start()
        ip("-n", net, "link", "del", "left")
        os.kill(fresh.role_pids()["agent"], signal.SIGKILL)
        wait_until(lambda: "10.99.8.1, is gone" in fresh.output.read_text(), "it says what is gone")
        said = fresh.output.read_text()
        assert "on the interface left" in said and "--node-ip" in said
    finally:
        fresh.stop()
        ip("netns", "del", net)


def test_roles_killed_again_and_again(fresh):
    """Also while they start: sampan goes on, and all is well once it stops raining."""
    fresh.roles = "apiserver,controllers"
    fresh.start()
    for i in range(12):
        for role, pid in fresh.role_pids().items():
            if (i + len(role)) % 2:
                with contextlib.suppress(ProcessLookupError):  # it was dying of the last one
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02 * (i % 5))
    assert fresh.process.poll() is None, fresh.output.read_text()
    fresh.kubectl("get", "--raw", "/readyz", check=False)
    wait_until(lambda: len(fresh.role_pids()) == 2 and fresh.kubectl("get", "ns", check=False).code == 0, "back again")
    fresh.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}})
    wait_until(lambda: "serviceaccount/default" in fresh.kubectl("get", "sa", "-n", "later", "-o", "name").out, "controllers work")


def test_stopping_while_it_starts(fresh):
    for pause in (0.0, 0.05, 0.1, 0.2):
        process = subprocess.Popen(fresh.up_args(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(pause)
        process.terminate()
        text, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, -signal.SIGTERM), text
        wait_until(lambda: not fresh.role_pids(), "no role stays behind")
    fresh.start()


def test_long_logs_are_turned_over(fresh):
    fresh.roles = "apiserver"
    fresh.start()
    log = fresh.dir / "logs" / "apiserver.log"
    with open(log, "a") as f:
        f.write("x" * (11 << 20))
    old = log.with_suffix(".log.1")
    wait_until(lambda: old.exists() and log.exists() and log.stat().st_size < 1 << 20, "the log is turned over")
    assert old.stat().st_size > 11 << 20
    fresh.stop()
    assert "stopping" in log.read_text()


@needs_root
def test_a_full_disk_is_survived(workdir):
    disk = workdir / "small-disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    s = Sampan(disk / "data", roles="apiserver")
    s.output = workdir / "small-disk.out"
    try:
        s.start()
        path, n = "/api/v1/namespaces/default/configmaps", 0
        while (answer := s.api("POST", path, {"metadata": {"name": f"c{n}"}, "data": {"a": "x" * 200000}}))[0] == 201:
            n += 1
        assert answer[0] == 503 and "no space left" in answer[1]["message"] and str(s.dir) in answer[1]["message"]
        assert len(s.api("GET", path)[1]["items"]) == n
        assert s.api("GET", "/readyz")[0] == 500 and s.api("GET", "/livez")[0] == 200
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        wait_until(lambda: s.api("POST", path, {"metadata": {"name": "later"}})[0] == 201, "writes go on")
        assert s.api("GET", "/readyz")[0] == 200
        s.kill()
        s.start()
        assert len(s.api("GET", path)[1]["items"]) == n + 1
    finally:
        s.stop()
        subprocess.run(["umount", disk])
