"""exec, attach, cp and port-forward with real clients: every kubectl of this machine, and the Python client."""
import hashlib
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import BINARY, free_port, kubectls, needs_root, wait_until

pytestmark = needs_root
VERSIONS = kubectls()
_numbered = sorted(n for n in VERSIONS if n != "kubectl") or sorted(VERSIONS)
FEW = sorted({_numbered[0], _numbered[-1]}) if _numbered else []


@pytest.fixture(scope="module")
def target(sampan, busybox):
    """A namespace with one pod to go into."""
    ns = "t-exec"
    sampan.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}})
    serve = "mkdir -p /www; echo hello from the pod > /www/index.html; httpd -p 8000 -h /www; " \
            "while true; do echo tick; echo tock >&2; sleep 0.2; done"
    sampan.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box"},
                  "spec": {"terminationGracePeriodSeconds": 0,
                           "containers": [{"name": "main", "image": busybox, "command": ["sh", "-c", serve]},
                                          {"name": "other", "image": busybox, "command": ["sleep", "100000"]}]}},
                 namespace=ns)
    wait_until(lambda: sampan.get("pod", "box", namespace=ns).get("status", {}).get("phase") == "Running", "box runs")
    wait_until(lambda: sampan.kubectl("logs", "box", "-c", "main", "-n", ns).out, "box speaks")
    yield ns
    sampan.kubectl("delete", "namespace", ns, "--wait=false", check=False)


@pytest.fixture
def k_of(sampan, target):
    def of(binary):
        def run(*args, **options):
            return sampan.kubectl(*args, binary=binary, **options)
        run.binary = binary
        return run
    return of


@pytest.fixture(params=sorted(VERSIONS))
def k(request, k_of):
    return k_of(VERSIONS[request.param])


@pytest.fixture(params=FEW)
def few(request, k_of):
    """The oldest (SPDY) and the newest."""
    return k_of(VERSIONS[request.param])


def in_box(ns, *command, options=(), container="main"):
    return ["exec", "box", "-n", ns, "-c", container, *options, "--", *command]


def test_output_and_exit_code(k, target):
    done = k(*in_box(target, "sh", "-c", "echo out; echo err >&2; exit 7"), check=False)
    assert (done.out, done.code) == ("out\n", 7)
    assert "err\n" in done.err and "exit code 7" in done.err
    assert k(*in_box(target, "true")).out == ""
    assert k(*in_box(target, "hostname", container="other")).out == "box\n"


def test_input_goes_in_and_ends(k, target):
    text = "".join(f"line {i}\n" for i in range(50000))  # more than any buffer on the way
    done = k(*in_box(target, "cat", options=["-i"]), stdin=text)
    assert done.out == text
    done = k(*in_box(target, "wc", "-c", options=["-i"]), stdin=text)
    assert int(done.out) == len(text)


def test_terminal(sampan, target):
    """A terminal of the given size, through Python's pty."""
    import fcntl
    import pty
    import struct
    import termios
    for name, binary in [*sorted(VERSIONS.items()), ("sampan", BINARY)]:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 123, 0, 0))
        p = subprocess.Popen([binary, *in_box(target, "sh", options=["-it"])], env=sampan.env(), stdin=slave, stdout=slave,
                             stderr=slave, start_new_session=True)
        os.close(slave)
        seen = b""

        def until(what):
            nonlocal seen
            end = time.monotonic() + 60
            while what not in seen:
                assert time.monotonic() < end, seen
                try:
                    seen += os.read(master, 4096)
                except OSError:
                    break
            assert what in seen, (name, seen)
        until(b"# ")
        os.write(master, b"busybox stty size; echo $TERM; busybox tty\r")
        until(b"41 123")
        until(b"xterm")
        until(b"/dev/pts/")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 90, 0, 0))
        os.kill(p.pid, 28)  # SIGWINCH
        end = time.monotonic() + 60
        while b"50 90" not in seen:  # the new size takes its way
            assert time.monotonic() < end, seen
            os.write(master, b"busybox stty size\r")
            time.sleep(0.3)
            seen += os.read(master, 4096)
        os.write(master, b"exit 5\r")
        until(b"exit 5")
        while True:
            try:
                if not os.read(master, 4096):
                    break
            except OSError:
                break
        assert p.wait(60) == 5, (name, seen)
        os.close(master)


def test_without_kubectl(sampan, target):
    """`sampan exec` does the same."""
    done = sampan.sampan(*in_box(target, "sh", "-c", "echo out; echo err >&2; exit 7"), check=False)
    assert (done.out, done.err, done.code) == ("out\n", "err\n", 7)
    text = "".join(f"line {i}\n" for i in range(50000))
    assert sampan.sampan(*in_box(target, "cat", options=["-i"]), stdin=text).out == text
    done = sampan.sampan(*in_box(target, "true", container="nope"), check=False)
    assert done.code == 1 and "nope" in done.err
    assert sampan.sampan("exec", "box", "-n", target, check=False).code == 1


def test_cp(few, target, tmp_path, busybox):
    """tar is not in the test image: cp is exec with tar, so a wrapper stands in for it."""
    data = os.urandom(1 << 20)
    (tmp_path / "up").write_bytes(data)
    few(*in_box(target, "sh", "-c", "test -e /bin/tar || printf '#!/bin/sh\\nexec busybox tar \"$@\"\\n' > /bin/tar; busybox chmod +x /bin/tar"))
    few("cp", str(tmp_path / "up"), f"{target}/box:/tmp/up", "-c", "main")
    assert few(*in_box(target, "busybox", "sha256sum", "/tmp/up")).out.split()[0] == hashlib.sha256(data).hexdigest()
    few("cp", f"{target}/box:/tmp/up", str(tmp_path / "down"), "-c", "main")
    assert (tmp_path / "down").read_bytes() == data


def test_attach(few, sampan, target):
    """Output from now on, each stream for itself."""
    p = subprocess.Popen([few.binary, "attach", "box", "-c", "main", "-n", target], env=sampan.env(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert [p.stdout.readline() for _ in range(3)] == ["tick\n"] * 3
        wait_until(lambda: p.stderr.readline() == "tock\n", "stderr")
    finally:
        p.kill()
        p.wait()
        p.stdout.close()
        p.stderr.close()


def test_attach_ends_with_the_container(few, sampan, target):
    name = "short-" + few.binary.rsplit("/", 1)[1].replace(".", "-")
    sampan.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                  "spec": {"restartPolicy": "Never", "containers": [{
                      "name": "main", "image": "busybox:test",
                      "command": ["sh", "-c", "while test ! -e /tmp/go; do echo waiting; sleep 0.1; done; echo last words"]}]}}, namespace=target)
    wait_until(lambda: sampan.get("pod", name, namespace=target).get("status", {}).get("phase") == "Running", "it runs")
    p = subprocess.Popen([few.binary, "attach", name, "-n", target], env=sampan.env(), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: p.stdout.readline() == "waiting\n", "attach is there")
    few("exec", name, "-n", target, "--", "touch", "/tmp/go")
    assert p.wait(60) == 0
    assert "last words\n" in p.stdout.read()
    p.stdout.close()


def test_errors_are_clear(few, target):
    for args, words in (
            (in_box(target, "true", container="nope"), "nope"),
            (["exec", "gone", "-n", target, "--", "true"], "not found"),
            (in_box(target, "/no/such/program"), "no/such/program")):
        done = few(*args, check=False)
        assert done.code != 0 and words in done.err, done


# --- the Python client ---

@pytest.fixture(scope="module")
def core(sampan, target):
    client = pytest.importorskip("kubernetes.client")
    config = pytest.importorskip("kubernetes.config")
    config.load_kube_config(sampan.kubeconfig)
    return client.CoreV1Api()


def test_python_exec(core, target):
    from kubernetes.stream import stream
    out = stream(core.connect_get_namespaced_pod_exec, "box", target, container="main", command=["sh", "-c", "echo a; echo b >&2"],
                 stderr=True, stdin=False, stdout=True, tty=False)
    assert sorted(out.split()) == ["a", "b"]
    s = stream(core.connect_get_namespaced_pod_exec, "box", target, container="main", command=["sh"], stderr=True, stdin=True,
               stdout=True, tty=False, _preload_content=False)
    s.write_stdin("echo typed; exit 3\n")
    s.run_forever(timeout=30)
    assert s.read_stdout() == "typed\n" and s.returncode == 3


def test_abuse(sampan, target):
    """Broken WebSocket clients are told why and shut out; the node goes on."""
    context = sampan._tls()
    context.set_alpn_protocols(["http/1.1"])
    base = f"/api/v1/namespaces/{target}/pods/box/exec?container=main&stdin=true&stdout=true&command="

    def rss(pid):  # in KiB; sanitizers take their part
        return int(next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")).split()[1])

    def dial(protocol="v4.channel.k8s.io", version="13", command="cat"):
        path = base + command
        s = context.wrap_socket(socket.create_connection(("127.0.0.1", sampan.api_port), timeout=60),
                                server_hostname="127.0.0.1")
        s.sendall((f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n"
                   f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(65536)
        return s, head

    def rest(s):
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except (ConnectionError, ssl.SSLError):
            pass
        return got

    s, head = dial()
    assert head.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    s.sendall(b"\x82\x03\x00hi")  # not masked
    assert b"\x88" in rest(s)
    s, _ = dial()
    s.sendall(b"\x88\x83\0\0\0\0\x03\xe8\xff")  # a close whose reason is not UTF-8
    assert b"\x03\xea" in rest(s)
    s, _ = dial()
    s.sendall(b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0")  # 2^64 - 1
    assert b"\x03\xea" in rest(s)
    for args in ({"protocol": "v9.channel.k8s.io"}, {"version": "8"}):
        s, head = dial(**args)
        assert head.startswith(b"HTTP/1.1 400 "), head
        s.close()
    # Output that nobody reads stays in the process.
    flood, _ = dial(command="cat&command=/dev/zero")
    pids = [sampan.role_pids()[role] for role in ("agent", "apiserver")]
    time.sleep(0.5)  # until the buffers on the way are full
    before = [rss(pid) for pid in pids]
    time.sleep(1)  # hundreds of megabytes, if anybody kept them
    assert all(rss(pid) - kept < 50_000 for pid, kept in zip(pids, before)), "what nobody reads is kept"
    flood.close()
    # A flood of pings whose answers are not read must not stop others, nor be kept in memory. (A sanitizer keeps what was
    # freed, up to its limit; what is kept for those who do not read grows with each of them.)
    ping, deaf = b"\x89\xfd" + bytes(4) + b"p" * 125, []
    for _ in range(5):
        before = [rss(pid) for pid in pids]
        deaf.append(dial()[0])
        deaf[-1].settimeout(2)
        try:
            for _ in range(2000):
                deaf[-1].sendall(ping * 100)
        except (TimeoutError, ssl.SSLError, ConnectionError):
            pass  # held back
        if all(rss(pid) - kept < 100_000 for pid, kept in zip(pids, before)):
            break
    else:
        pytest.fail("answers nobody reads are kept")
    assert sampan.kubectl(*in_box(target, "echo", "alive")).out == "alive\n"
    for s in deaf:
        s.close()


# --- port-forward ---

@pytest.fixture
def forwarded(k, sampan, target):
    """kubectl port-forward to a port of ours; its local port."""
    port = free_port()
    p = subprocess.Popen([k.binary, "port-forward", "pod/box", "-n", target, f"{port}:8000"], env=sampan.env(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "Forwarding from 127.0.0.1" in p.stdout.readline()
    yield port
    p.kill()
    p.wait()
    p.stdout.close()


def fetch(port, path="/"):
    import urllib.request
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read()


def test_port_forward(forwarded, sampan, target):
    assert fetch(forwarded) == b"hello from the pod\n"
    got = []
    threads = [threading.Thread(target=lambda: got.append(fetch(forwarded))) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [b"hello from the pod\n"] * 20
    sampan.kubectl(*in_box(target, "sh", "-c", "test -e /www/big || busybox head -c 8000000 /dev/zero > /www/big"))
    assert len(fetch(forwarded, "/big")) == 8000000
    # A half-closed client still gets its answer.
    with socket.create_connection(("127.0.0.1", forwarded), timeout=60) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        got = b""
        while piece := s.recv(65536):
            got += piece
    assert got.endswith(b"hello from the pod\n")


def test_port_forward_to_nobody(few, sampan, target):
    port = free_port()
    p = subprocess.Popen([few.binary, "port-forward", "pod/box", "-n", target, f"{port}:9"], env=sampan.env(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert "Forwarding" in p.stdout.readline()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            assert s.recv(100) == b""
        wait_until(lambda: "refused" in p.stdout.readline(), "kubectl says why")
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def test_python_port_forward(core, target):
    from kubernetes.stream import portforward
    pf = portforward(core.connect_get_namespaced_pod_portforward, "box", target, ports="8000")
    s = pf.socket(8000)
    s.setblocking(True)
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    got = b""
    while piece := s.recv(65536):
        got += piece
    s.close()
    assert got.endswith(b"hello from the pod\n") and pf.error(8000) is None
