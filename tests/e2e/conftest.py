"""The harness: a real `sampan up` in a directory of its own, driven by real clients.

Run by tests/run inside a network namespace of its own, so that ports and bridges are nobody else's.
SAMPAN names the binary (build/sampan by default).
"""
import base64
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

import pytest
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SAMPAN") or str(TOP / "build" / "sampan")
IS_ROOT = os.geteuid() == 0
ALL_ROLES = os.environ.get("SAMPAN_ROLES") or ("apiserver,controllers,agent,gateway" if IS_ROOT else "apiserver,controllers,gateway")
# Sanitized builds on two cores are slow: deadlines are generous, nothing waits for them when all is well.
PATIENCE = 60

needs_root = pytest.mark.skipif(not IS_ROOT, reason="containers need root")


def kubectls():
    """Every kubectl that this machine has: name → path."""
    found = {}
    folders = [pathlib.Path(d) for d in os.environ.get("PATH", "").split(":") if d]
    folders.append(pathlib.Path(os.path.realpath(shutil.which("kubectl") or "/nonexistent")).parent)
    for folder in folders:
        for path in sorted(folder.glob("kubectl*")):
            if path.name.replace("kubectl", "").strip(".0123456789") == "" and os.access(path, os.X_OK):
                found.setdefault(path.name, str(path))
    return found


def port_numbers():
    """Below the kernel's own choice for outgoing connections (32768 and up) and the node ports (30000 to 32767), so that nobody
    takes one between the moment it is named here and the moment its server binds it; each comes once, until all were used."""
    first, last = 11000, 29999
    n = random.randint(first, last)
    while True:
        yield n
        n = n + 1 if n < last else first


PORTS = port_numbers()


def free_port():
    """A port that nobody has, on no address, and that nobody else gets."""
    while True:
        port = next(PORTS)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as s:
                    s.bind(("0.0.0.0", port))
            return port
        except OSError:
            continue


def own_address():
    """An address of this machine that is not loopback: the API takes no other for endpoints."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.99", 9))
            found = s.getsockname()[0]
        except OSError:
            found = "127.0.0.1"
    if not found.startswith("127."):
        return found
    subprocess.run(["ip", "address", "replace", "192.0.2.1/32", "dev", "lo"], check=True)
    return "192.0.2.1"


def wait_until(check, what, seconds=PATIENCE):
    """check() until it is true; its last answer is returned."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


class Sampan:
    """One installation."""

    def __init__(self, directory, roles=ALL_ROLES, extra=()):
        self.dir = pathlib.Path(directory)
        self.home = self.dir.parent / (self.dir.name + "-home")
        self.home.mkdir(parents=True, exist_ok=True)
        self.api_port, self.gateway_port, self.agent_port = free_port(), free_port(), free_port()
        self.gateway_tls_port = free_port()
        self.roles = roles
        self.extra = list(extra)
        self.binary = BINARY
        self.process = None
        self.output = self.dir.parent / (self.dir.name + ".out")

    # --- life ---
    def up_args(self):
        return [self.binary, "up", "--data-dir", str(self.dir), "--api-port", str(self.api_port),
                "--gateway-port", str(self.gateway_port), "--agent-port", str(self.agent_port),
                "--gateway-tls-port", str(self.gateway_tls_port),
                "--roles", self.roles, "--node-name", "node-1", *self.extra]

    def start(self):
        self.process = subprocess.Popen(self.up_args() + ["--stop-containers"], stdout=open(self.output, "w"),
                                        stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "sampan is ready" in self.output.read_text() or self.process.poll() is not None, "start")
            assert self.process.poll() is None, self.output.read_text()
        except BaseException:  # nobody will stop what did not start
            self.process.kill()
            self.process.wait()
            raise
        return self

    def stop(self):
        if not self.process:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
        code, self.process = self.process.returncode, None
        return code

    def kill(self):
        """kill -9, as a power cut would."""
        self.process.kill()
        self.process.wait()
        self.process = None
        wait_until(lambda: not self.role_pids(), "the roles follow their supervisor")

    def role_pids(self):
        """role → pid, of the processes that belong to this data directory. A child that a role has just forked looks like
        the role itself until it is another program: it is none."""
        parents = {}
        for p in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (p / "cmdline").read_bytes().split(b"\0")
                if len(words) < 3 or pathlib.Path(words[0].decode()).name != "sampan":
                    continue
                role = words[1].decode()
                if role in ALL_ROLES.split(",") and str(self.dir).encode() + b"/" in b"\0".join(words):
                    parents[role, int(p.name)] = int((p / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        return {role: pid for (role, pid), parent in parents.items() if (role, parent) not in parents}

    def logs(self):
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-4000:]}" for p in sorted(self.dir.glob("logs/*.log")))

    def says(self, text):
        """Whether a role has logged it so far; the line may come later than what it tells of: wait for it."""
        return any(text in p.read_text(errors="replace") for p in self.dir.glob("logs/*.log*"))

    # --- clients ---
    @property
    def kubeconfig(self):
        return str(self.dir / "kubeconfig")

    def env(self):
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "HOME": str(self.home)}

    def run(self, *args, stdin=None, timeout=PATIENCE, check=True):
        done = subprocess.run([str(a) for a in args], env=self.env(), input=stdin, text=True, capture_output=True,
                              timeout=timeout)
        result = Result(done)
        if check:
            assert result.code == 0, f"{' '.join(map(str, args))}: {result}"
        return result

    def kubectl(self, *args, binary=None, **options):
        return self.run(binary or shutil.which("kubectl") or BINARY, *args, **options)

    def sampan(self, *args, **options):
        return self.run(BINARY, *args, **options)

    def apply(self, *objects, namespace="default", **options):
        """Dictionaries or YAML text, by kubectl apply."""
        text = "\n---\n".join(o if isinstance(o, str) else yaml.safe_dump(o) for o in objects)
        return self.kubectl("apply", "-n", namespace, "-f", "-", stdin=text, **options)

    def get(self, kind, name=None, namespace="default", **options):
        words = ["get", kind] + ([name] if name else []) + ["-n", namespace, "-o", "json"]
        return json.loads(self.kubectl(*words, **options).out)

    def _tls(self):
        user = yaml.safe_load(open(self.kubeconfig))["users"][0]["user"]
        cluster = yaml.safe_load(open(self.kubeconfig))["clusters"][0]["cluster"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile("wb") as f:
            f.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            f.flush()
            context.load_cert_chain(f.name)
        return context

    def api(self, method, path, body=None, headers=(), anonymous=False, timeout=PATIENCE):
        """One request; (status, document or text)."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        context = ssl._create_unverified_context() if anonymous else self._tls()
        request = urllib.request.Request(f"https://127.0.0.1:{self.api_port}{path}", data=data, method=method,
                                         headers={"Content-Type": "application/json", **dict(headers)})
        try:
            answer = urllib.request.urlopen(request, context=context, timeout=timeout)
        except urllib.error.HTTPError as e:
            answer = e
        text = answer.read().decode(errors="replace")
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def watch(self, path):
        """The events of a watch as an iterator of dictionaries (blocking)."""
        answer = urllib.request.urlopen(f"https://127.0.0.1:{self.api_port}{path}", context=self._tls(), timeout=PATIENCE)
        for line in answer:
            yield json.loads(line)

    def http(self, path="/", port=None, headers=(), timeout=20, host="127.0.0.1"):
        """Through the gateway; (status, text), or (0, reason) when nobody answers."""
        request = urllib.request.Request(f"http://{host}:{port or self.gateway_port}{path}", headers=dict(headers))
        try:
            answer = urllib.request.urlopen(request, timeout=timeout)
            return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode(errors="replace")
        except (urllib.error.URLError, OSError) as e:
            return 0, str(e)

    def pods_ready(self, selector, count=1, namespace="default"):
        """The pods, when exactly `count` are ready and not on their way out; else None."""
        pods = json.loads(self.kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json").out)["items"]
        ready = [p for p in pods if "deletionTimestamp" not in p["metadata"]
                 and any(c["type"] == "Ready" and c["status"] == "True" for c in p.get("status", {}).get("conditions", []))]
        return ready if len(ready) == count else None


@pytest.fixture(scope="session")
def workdir():
    path = pathlib.Path(tempfile.mkdtemp(prefix="sampan-e2e-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def sampan(workdir):
    """The installation that most tests share; each test works in a namespace of its own."""
    s = Sampan(workdir / "shared").start()
    yield s
    code = s.stop()
    assert code == 0, s.output.read_text() + s.logs()


@pytest.fixture
def fresh(workdir, request):
    """An installation for one test (bridge and addresses of its own)."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:40]
    s = Sampan(workdir / name, extra=["--bridge", "sampan1", "--pod-cidr", "10.89.0.0/16"])
    yield s
    s.stop()


@pytest.fixture
def ns(sampan, request):
    """A namespace for one test."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-40:].strip("-")
    sampan.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    sampan.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the end of the roles' logs."""
    report = (yield).get_result()
    args = getattr(item, "funcargs", {})
    s = args.get("fresh") or args.get("sampan")
    if report.when == "call" and report.failed and isinstance(s, Sampan):
        report.sections.append(("logs of the roles", s.logs()))


APPLETS = "sh sleep cat echo httpd nc id wget env ls date true false touch rm kill seq hostname grep mkdir ln wc".split()


def _add(tar, name, data=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def busybox_image(directory, name="docker.io/library/busybox:test"):
    """A docker archive with Debian's static busybox, made on the spot; returns its path."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "www"):
            _add(tar, folder, type=tarfile.DIRTYPE, mode=0o755)
        tar.add("/bin/busybox", "bin/busybox")
        for applet in APPLETS:
            _add(tar, f"bin/{applet}", type=tarfile.SYMTYPE, linkname="busybox")
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    path = pathlib.Path(directory) / "busybox.tar"
    with tarfile.open(path, "w") as tar:
        for member, data in (("layer.tar", layer.getvalue()), (config_name, config), ("manifest.json", manifest)):
            _add(tar, member, data)
    return path


@pytest.fixture(scope="session")
def busybox(sampan, workdir):
    """The name of an image that is present: busybox."""
    if not IS_ROOT:
        pytest.skip("containers need root")
    sampan.sampan("image", "import", "--data-dir", sampan.dir / "agent", busybox_image(workdir))
    return "busybox:test"
