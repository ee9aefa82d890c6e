"""Images from a real registry (Debian's docker-registry), pushed there by skopeo."""
import json
import shutil
import socket
import subprocess

import pytest

from conftest import busybox_image, free_port, needs_root, wait_until

pytestmark = [needs_root, pytest.mark.skipif(not (shutil.which("docker-registry") and shutil.which("skopeo")),
                                             reason="packages docker-registry and skopeo are missing")]


@pytest.fixture(scope="module")
def registry(workdir):
    port = free_port()
    config = workdir / "registry.yml"
    config.write_text(json.dumps({"version": 0.1, "log": {"level": "error"}, "http": {"addr": f"127.0.0.1:{port}"},
                                  "storage": {"filesystem": {"rootdirectory": str(workdir / "registry")}}}))
    process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    wait_until(answers, "the registry")
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def push(registry, workdir, name, *options):
    subprocess.run(["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", *options,
                    f"docker-archive:{busybox_image(workdir)}", f"docker://{registry}/{name}"], check=True, capture_output=True)


def test_pod_from_a_registry(sampan, ns, registry, workdir):
    push(registry, workdir, "team/busybox:1")
    image = f"{registry}/team/busybox:1"
    sampan.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pulled"}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": image, "command": ["sh", "-c", "echo pulled; exec sleep 1000"]}]}}, namespace=ns)
    wait_until(lambda: sampan.kubectl("logs", "pulled", "-n", ns, check=False).out == "pulled\n", "the log")
    wait_until(lambda: {e["reason"] for e in sampan.get("events", namespace=ns)["items"]} >= {"Pulling", "Pulled"}, "the events")
    status = sampan.get("pod", "pulled", namespace=ns)["status"]["containerStatuses"][0]
    assert status["imageID"].startswith((f"{registry}/team/busybox@sha256:", "sha256:"))


def test_pull_by_hand_and_by_digest(sampan, registry, workdir):
    push(registry, workdir, "team/zstd:1", "--dest-compress-format=zstd", "--format=oci")
    digest = json.loads(subprocess.run(["skopeo", "inspect", "--tls-verify=false", f"docker://{registry}/team/zstd:1"],
                                       check=True, capture_output=True).stdout)["Digest"]
    data = ["--data-dir", sampan.dir / "agent"]
    sampan.sampan("image", "pull", *data, f"{registry}/team/zstd@{digest}")
    assert "team/zstd" in sampan.sampan("image", "ls", *data).out
    missing = sampan.sampan("image", "pull", *data, f"{registry}/team/zstd:none", check=False)
    assert missing.code == 1 and "team/zstd:none" in missing.err
    wrong = sampan.sampan("image", "pull", *data, f"{registry}/team/zstd@sha256:{'0' * 64}", check=False)
    assert wrong.code == 1
    sampan.sampan("image", "rm", *data, f"{registry}/team/zstd@{digest}")
    assert "team/zstd" not in sampan.sampan("image", "ls", *data).out
