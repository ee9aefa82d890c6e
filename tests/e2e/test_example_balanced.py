"""examples/05-balanced-api in its short form: the last server restarted gets nobody, unless clients are told to move."""
import csv
import os
import pathlib
import subprocess

import pytest

from conftest import BINARY, TOP

pytest.importorskip("h2")


def test_rolling_restart(tmp_path):
    tmp_path = tmp_path / "made" / "by it"
    done = subprocess.run([TOP / "examples" / "05-balanced-api" / "run", "--short", "--out", tmp_path], text=True,
                          capture_output=True, timeout=170, env={**os.environ, "SAMPAN": str(BINARY)})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader(open(tmp_path / "spread.csv")))
    titles = list(dict.fromkeys(r["run"] for r in rows))

    def last(title, server):
        return sum(int(r[server]) for r in [r for r in rows if r["run"] == title][-5:])
    # None at all, unless one client was late enough to find it up again.
    assert last(titles[0], "c") < sum(last(titles[0], n) for n in "abc") / 6, done.stdout
    assert last(titles[1], "c") > 0, done.stdout
    for line in done.stdout.splitlines():
        if line.startswith(("without", "--goaway")):
            assert line.split("×")[1].split()[1] == "0", "no request failed: " + done.stdout
    svg = pathlib.Path(tmp_path / "spread.svg").read_text()
    assert svg.count("<polyline") == 6
