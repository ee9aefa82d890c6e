"""Three machines, three of everything, one virtual address; faults by a seeded schedule while clients write, read and
watch through the address. In the end: every acknowledged write is there, what was seen of each object is linearizable,
every watcher has seen all of it in order, no pod was made or run twice, and whoever asked again was answered.

The short form plays a few faults. SAMPAN_CHAOS_LONG=1 plays SAMPAN_CHAOS_CARDS of them (45), longer, several at a time,
with an agent and its containers on each machine; SAMPAN_CHAOS_SEED repeats a schedule, SAMPAN_CHAOS_ONLY=etcd takes only
those faults that have the word.
"""
import os
import random
import shutil
import threading
import time

import pytest

from chaos_clients import CONFIGS, JSON, MERGE, PODS, Actor, Asker, Client, History, Watcher, direct, rev_of, until_done, value_of
from chaos_machines import AGENTS, DECK, World, play, schedule
from conftest import IS_ROOT, busybox_image, wait_until
from linearizable import ABSENT, Op, check

pytestmark = [pytest.mark.skipif(not IS_ROOT, reason="namespaces need root"),
              pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")]
LONG = os.environ.get("SAMPAN_CHAOS_LONG")
# Of the short form: the owner of the address loses its gateway, etcd, power and API server one after the other.
SEED = int(os.environ.get("SAMPAN_CHAOS_SEED", "1" if LONG else "138"))
CARDS, ONLY = int(os.environ.get("SAMPAN_CHAOS_CARDS", "45" if LONG else "6")), os.environ.get("SAMPAN_CHAOS_ONLY", "")
KEYS = [f"k{n}" for n in range(4)]
WATCHERS = 3
# Of one client each, in seconds. An answer is worth more when it comes after the servers have given up something.
PATIENCES = (3, 12, 3, 12, 12, 20) if LONG else (3, 12, 3, 12)
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
# How long everything may take to be well again once nothing is wrong any more.
HEALED = 60


@pytest.fixture
def world(tmp_path):
    roles = ("etcd", "api", "controllers", "gateway")
    w = World(tmp_path, (*roles, "agent"), busybox_image(tmp_path)) if LONG else World(tmp_path, roles)
    try:
        w.start()
        yield w
    finally:
        w.end()


def is_well(world):
    return world.owners() == [1] and all(direct(world, n, 3).call("GET", "/api/v1/namespaces/default")[0] == 200 for n in (1, 2, 3))


class Crowd:
    """Everybody who asks something, from before the first fault until after the last one."""

    def __init__(self, world):
        self.world, self.over = world, threading.Event()
        self.history = History(KEYS)
        self.writers = [Actor(world, self.history, f"w{n}", SEED * 100 + n, self.over, Client(world, timeout=t)) for n, t in enumerate(PATIENCES)]
        self.asker = Asker(world, self.over)
        self.watchers = [Watcher(world, CONFIGS, SEED * 100 + n) for n in range(WATCHERS)]
        self.pods = Watcher(world, PODS, SEED)

    def start(self):
        for w in (*self.watchers, self.pods):
            w.start()
        wait_until(lambda: all(w.lists for w in (*self.watchers, self.pods)), "the first lists")
        for t in (*self.writers, self.asker):
            t.start()

    def stop(self):
        """Writing ends; each API server is read once more; the watchers follow until there."""
        self.over.set()
        for t in (*self.writers, self.asker):
            t.join(90)
            assert not t.is_alive(), f"{t.name} still waits for an answer"
        client = Client(self.world, timeout=10)
        last = [rev_of(until_done(client, "POST", path, body, JSON, good=(201,))) for path, body in (
            (CONFIGS, {"metadata": {"generateName": "last-"}, "data": {"v": "last"}}),
            (PODS, {"metadata": {"generateName": "last-"}, "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "nowhere"}}))]
        self.final = []
        for n in (1, 2, 3):
            reader = Actor(self.world, self.history, f"final {n}", 0, self.over, direct(self.world, n, 20))
            reader.list(None)
            self.final.append(until_done(direct(self.world, n), "GET", CONFIGS))
        for w in self.watchers:
            w.stop_at = last[0]
        self.pods.stop_at = last[1]
        for w in (*self.watchers, self.pods):
            assert w.over.wait(60), f"a watcher of {w.path} stays at {w.rev}, wanted {w.stop_at}"


# --- what must hold ---

def check_answers(crowd):
    assert not crowd.history.problems, crowd.history.problems[:3]
    assert not crowd.asker.wrong, crowd.asker.wrong[:3]
    acknowledged = sum(op.end is not None and not op.refused for op in crowd.history.all())
    assert acknowledged > 50, f"{acknowledged} operations are too few to say anything"


def check_histories(crowd):
    """What watchers saw of a lost write says when it was made; that it was made at all needs no other witness."""
    revisions = {value_of(obj): rev for w in crowd.watchers for rev, kind, _, obj in w.events if kind != "DELETED"}
    for op in crowd.history.all():
        if op.end is None and op.kind != "delete":
            op.rev = revisions.get(op.value)
    for key, ops in crowd.history.ops.items():
        wrong = check(ops)
        if wrong:
            (crowd.world.dir / f"{key}.ops").write_text("".join(f"{o}\n" for o in sorted(ops, key=lambda o: o.begin)))
        assert wrong is None, f"{key}: {wrong}"


def check_watchers(crowd):
    final = {i["metadata"]["name"]: i for i in crowd.final[0]["items"]}
    assert [c["items"] for c in crowd.final] == [crowd.final[0]["items"]] * 3, "the API servers do not agree"
    for w in crowd.watchers:
        assert not w.problems, w.problems[:3]
        assert w.cache == final, "a watcher ended with something else"


def check_events(crowd):
    """Every acknowledged write was seen by every watcher, at its revision; and all watchers saw the same."""
    seen = [{rev: (kind, name, value_of(obj)) for rev, kind, name, obj in w.events} for w in crowd.watchers]
    for w, events in zip(crowd.watchers, seen):
        for key, ops in crowd.history.ops.items():
            for op in ops:
                if op.kind in ("create", "cas", "put") and op.rev and w.saw(op.rev):
                    assert op.rev in events and events[op.rev][1:] == (key, op.value), f"a watcher did not see {key}: {op}, but {events.get(op.rev)}"
        for other, theirs in zip(crowd.watchers, seen):
            for rev, event in theirs.items():
                assert not w.saw(rev) or events.get(rev) == event, f"one watcher saw {event} at {rev}, another {events.get(rev)}"


def check_chains(crowd):
    """What a write was conditional on is what it replaced, and no write happened twice."""
    made = {op.value: op for op in crowd.history.all() if op.kind in ("create", "cas", "put")}
    for w in crowd.watchers:
        now, seen = {}, set()
        for rev, kind, name, obj in w.events:
            before, op = now.get(name), made.get(value_of(obj))
            now[name] = ABSENT if kind == "DELETED" else value_of(obj)
            if kind == "DELETED" or op is None:
                continue
            assert op.value not in seen, f"{op} happened twice, the second time at {rev}"
            seen.add(op.value)
            assert not op.refused, f"at {rev} there is what was refused: {op}"
            if w.saw(rev) and not w.gaps:
                assert op.kind != "create" or before is ABSENT or name not in now, f"{op} replaced {before}"
                assert op.kind != "cas" or before in (op.expect, None), f"{op} replaced {before}"


def tell(crowd, world, seed):
    ops = crowd.history.all()
    lost = sum(o.end is None for o in ops)
    print(f"\nseed {seed}: {len(ops)} operations, {lost} of them lost, answers {dict(sorted(crowd.history.statuses.items()))}; "
          f"{crowd.asker.asked} asked until answered, {crowd.asker.again} times again, the slowest {crowd.asker.slowest:.1f} s; "
          f"watchers {[(w.lists, w.watches, len(w.events)) for w in crowd.watchers]}; "
          f"{len(crowd.pods.names)} pods", *(f"\n  {s}: {m}" for s, m in sorted(crowd.history.said)[:12]), flush=True)


# --- the test ---

class Scaler:
    """A Deployment that only grows: a pod more than it has is a pod made twice."""

    def __init__(self, world):
        self.client, self.replicas, self.starts = Client(world), 2, world.dir / "starts"
        self.starts.touch()
        labels = {"app": "web"}
        # Where there are agents, each container that starts writes its pod's name.
        script = "echo $(hostname) >> /starts; exec sleep 100000"
        container = {"name": "c", "image": "busybox:test", "imagePullPolicy": "Never", "command": ["sh", "-c", script],
                     "volumeMounts": [{"name": "starts", "mountPath": "/starts"}]}
        template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container],
                                                             "volumes": [{"name": "starts", "hostPath": {"path": str(self.starts)}}]}}
        until_done(self.client, "POST", DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": {
            "replicas": self.replicas, "selector": {"matchLabels": labels}, "template": template}}, good=(201, 409))

    def grow(self, by=1):
        self.replicas += by
        until_done(self.client, "PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": self.replicas}}, MERGE, seconds=120)

    def names(self, pods):
        return {name for name in pods.names if name.startswith("web-")}

    def started(self):
        return sorted(self.starts.read_text().split())


def test_everything_holds_while_anything_fails(world):
    try:
        everything_holds(world)
    except BaseException:
        world.explain()
        raise


def everything_holds(world):
    dice, deck = random.Random(SEED), [c for c in DECK + (AGENTS if LONG else []) if ONLY in " ".join(c)]
    list_ = schedule(dice, deck, CARDS, (0.1, 9), (0.3, 4), 0.4) if LONG else schedule(dice, deck, CARDS, (0.7, 1.6), (0.2, 0.6), 0)
    wait_until(lambda: is_well(world), "three machines", HEALED)
    crowd = Crowd(world)
    crowd.start()
    scaler = Scaler(world)
    over = threading.Event()

    def scale():
        while not over.wait(3 if LONG else 1.5):
            scaler.grow()

    growing = threading.Thread(target=scale, daemon=True)
    growing.start()
    play(world, list_)
    healed = time.monotonic()
    over.set()
    growing.join(150)
    wait_until(lambda: world.settle() or is_well(world), "well again", HEALED)
    world.mark(f"well {time.monotonic() - healed:.1f} s after the last fault")
    scaler.grow()
    wait_until(lambda: world.settle() or len(scaler.names(crowd.pods)) >= scaler.replicas, "the pods are there", HEALED)
    if LONG:
        wait_until(lambda: world.settle() or len(scaler.started()) >= scaler.replicas, "the containers run", HEALED)
    crowd.stop()
    tell(crowd, world, SEED)
    assert len(scaler.names(crowd.pods)) == scaler.replicas, "a pod was made twice"
    assert not LONG or scaler.started() == sorted(scaler.names(crowd.pods)), "a pod ran twice"
    check_answers(crowd)
    check_histories(crowd)
    check_watchers(crowd)
    check_events(crowd)
    check_chains(crowd)
    assert not world.surprises(), world.surprises()[0]
    bad = world.stop()
    assert not bad, bad[0]
    assert not world.surprises(), world.surprises()[0]
