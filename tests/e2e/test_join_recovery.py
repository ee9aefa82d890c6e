"""A cluster whose etcd Sampan runs, after the worst: the quorum is lost for good, a member is removed while it runs."""
import json
import shutil

import pytest

from conftest import wait_until
from test_join import Net, join_flags, pytestmark  # noqa: F401


@pytest.fixture
def pair(tmp_path):
    """Two machines, with nodes' address ranges as they are given by the cluster."""
    net = Net(tmp_path)
    try:
        one, two = net.machines[:2]
        one.start("--cluster-init")
        wait_until(one.is_ready, "the first machine")
        two.start(*join_flags(one))
        wait_until(two.is_ready, "the second machine")
        yield one, two
    finally:
        net.end()


@pytest.fixture
def alone(tmp_path):
    """One machine of a cluster."""
    net = Net(tmp_path)
    try:
        net.machines[0].start("--cluster-init")
        wait_until(net.machines[0].is_ready, "the first machine")
        yield net.machines[0]
    finally:
        net.end()


def state(machine):
    return json.loads((machine.dir / "etcd/member.json").read_text())


def test_one_is_left_and_goes_on_alone(pair):
    one, two = pair
    assert (state(one)["podCIDR"], state(two)["podCIDR"]) == ("10.88.0.0/16", "10.89.0.0/16")
    assert "is of none" in one.net.machines[2].refused("--cluster-reset")
    assert two.write("kept") == 201
    one.crash()
    shutil.rmtree(one.dir)  # its disk is gone
    wait_until(lambda: (lambda code, out, _: code == 1 and "NO QUORUM" in out and "etcd has no quorum" in out)(*two.sampan("status")), "its status says so")
    code, _, err = two.sampan("cluster", "remove", "m1")
    assert code == 1 and "no quorum" in err
    # Strangers ask etcd nothing with what cannot be a token, and do not fill the log.
    wish = {"token": "abc123.short", "name": "m9", "peerURL": "https://10.79.0.9:2380"}
    for _ in range(5):
        status, said = two.call("POST", "/sampan/v1/join", wish)
        assert status == 422 and "this is no token of a cluster" in said["message"], said
    assert "may not join" not in two.log("apiserver")
    two.crash()
    two.start("--cluster-reset")
    wait_until(two.is_ready, "it is the cluster now")
    assert "kept" in two.names() and two.write("alone") == 201
    assert list(two.members()) == ["m2"] and "the other members are forgotten" in two.log()
    # Another start forgets nobody, and a new machine comes as ever.
    one.start(*join_flags(two))
    wait_until(one.is_ready, "the first machine anew")
    assert two.stop() == 0
    two.start(bare=True)
    wait_until(two.is_ready, "a plain start")
    assert set(two.members()) == {"m1", "m2"} and "alone" in one.names()


def test_a_member_is_removed_while_it_runs(pair):
    one, two = pair
    code, out, err = one.sampan("cluster", "remove", "m2")
    assert code == 0 and "removed" in out, err
    wait_until(lambda: two.process.poll() is not None, "it ends")
    assert two.process.returncode == 1 and "was removed from the cluster" in two.output.read_text(), two.output.read_text()
    assert not two.pids()
    assert one.write("goes-on") == 201 and list(one.members()) == ["m1"]


def test_what_was_interrupted_is_done_again(alone):
    """What the cluster gives cannot be kept, or the roles cannot be told of the new machine: once that is mended, it goes on."""
    two, flags = alone.net.machines[1], join_flags(alone)
    (two.dir).mkdir()
    (two.dir / "etcd").write_text("in the way of a directory")
    said = two.refused(*flags, directory=two.dir)
    assert "cannot be kept" in said and "the same command again" in said, said
    assert "was joining a cluster" in two.refused(directory=two.dir)  # not a machine of its own with the cluster's CA
    (two.dir / "etcd").unlink()
    config = alone.dir / "conf/controllers.kubeconfig"
    config.unlink()
    config.mkdir()
    two.start(*flags)
    wait_until(two.is_ready, "the second machine")
    assert set(alone.members()) == {"m1", "m2"} and not (two.dir / "pki/joining").exists()
    wait_until(lambda: alone.says("they do not yet"), "the roles of the first one cannot be told")
    config.rmdir()
    wait_until(lambda: config.is_file() and f"{two.ip}:6443" in config.read_text(), "they are told")
    wait_until(lambda: alone.says("controllers  ready again"), "and read it")
