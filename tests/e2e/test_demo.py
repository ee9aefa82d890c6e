"""make demo, as the README promises it."""
import os
import subprocess

from conftest import BINARY, TOP, needs_root

pytestmark = needs_root


def test_demo_runs_once_and_again(workdir):
    env = {**os.environ, "SAMPAN": BINARY, "ONCE": "1", "DEMO_DIR": str(workdir / "demo")}
    for attempt in ("first", "second"):
        done = subprocess.run([str(TOP / "tools" / "demo")], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{attempt}: {done.stdout}\n{done.stderr}"
        for words in ("Hello from nginx", "worker_connections 4096;", "NoNewPrivs:\t1", "AutoScaler", "CronHPA", "objects as before", "export KUBECONFIG="):
            assert words in done.stdout, f"{attempt}: {words} is missing in\n{done.stdout}"
