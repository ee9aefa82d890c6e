"""Many clients at once: no update is lost, no watcher misses anything, not even across a kill -9."""
import collections
import http.client
import json
import os
import random
import signal
import threading
import time

import pytest

from conftest import PATIENCE, Sampan, wait_until

WRITERS, LISTERS, KEYS = 50, 2, 12
SECONDS, ENOUGH = 3, 100  # a slow machine takes the time it needs for as many answers
SELECTED = (None, "left", "right", "nobody") * 2  # one watcher each; nobody gets bookmarks only


class Client:
    """One connection that is kept; a lost one is made again by the next request."""

    def __init__(self, s):
        self.s, self.tls, self.conn = s, s._tls(), None

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.s.api_port, context=self.tls, timeout=20)

    def request(self, method, path, body=None, content_type="application/json"):
        """(status, document), or (0, None) when the connection was lost: nobody knows whether it was done."""
        try:
            self.conn = self.conn or self.connect()
            self.conn.request(method, path, body=None if body is None else json.dumps(body),
                              headers={"Content-Type": content_type})
            answer = self.conn.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.conn = None
            time.sleep(0.02)
            return 0, None


def labels_of(obj):
    return obj["metadata"].get("labels", {})


class Watcher(threading.Thread):
    """List, watch, and on every end watch again from the last revision; keeps what a cache would."""

    def __init__(self, s, path, side=None):
        super().__init__(daemon=True)
        self.s, self.path, self.side = s, path, side
        self.query = f"&labelSelector=side%3D{side}" if side else ""
        self.cache, self.rev, self.problems = {}, 0, []
        self.lists = self.events = self.bookmarks = 0
        self.states = []  # (revision, name, revision of the object or None): all that was told
        self.stop_at, self.over = None, threading.Event()

    def list(self):
        cache, more = {}, ""
        while True:
            status, page = Client(self.s).request("GET", f"{self.path}?limit=5{self.query}{more}")
            if status == 410:
                cache, more = {}, ""
                continue
            if status != 200:
                return False
            cache.update((i["metadata"]["name"], int(i["metadata"]["resourceVersion"])) for i in page["items"])
            if not page["metadata"].get("continue"):
                break
            more = f"&continue={page['metadata']['continue']}"
        rev = int(page["metadata"]["resourceVersion"])
        if rev < self.rev:
            self.problems.append(f"listed revision {rev} after {self.rev} was seen")
        self.states += [(rev, n, None) for n in self.cache if n not in cache] + [(rev, n, r) for n, r in cache.items()]
        self.cache, self.rev, self.lists = cache, rev, self.lists + 1
        return True

    def take(self, event):
        obj = event["object"]
        if event["type"] == "ERROR":
            return obj["code"] != 410
        meta = obj["metadata"]
        rev = int(meta["resourceVersion"])
        if rev < self.rev or (rev == self.rev and event["type"] != "BOOKMARK"):
            self.problems.append(f"{event['type']} of revision {rev} after {self.rev}")
        self.rev = rev
        if event["type"] == "BOOKMARK":
            self.bookmarks += 1
            return True
        self.events += 1
        name, known = meta["name"], meta["name"] in self.cache
        self.states.append((rev, name, None if event["type"] == "DELETED" else rev))
        if known != (event["type"] != "ADDED"):
            self.problems.append(f"{event['type']} of {name}@{rev}, which was {'' if known else 'not '}there")
        if event["type"] == "DELETED":
            self.cache.pop(name, None)
        else:
            self.cache[name] = rev
            if self.side and labels_of(obj).get("side") != self.side:
                self.problems.append(f"{event['type']} of {name}@{rev} does not match the selector")
        return True

    def watch(self):
        """False when a new list is needed."""
        client = Client(self.s)
        seconds = random.choice((1, 2, 3))
        try:
            client.conn = client.connect()
            client.conn.request("GET", f"{self.path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}"
                                       f"&resourceVersion={self.rev}{self.query}")
            answer = client.conn.getresponse()
            if answer.status != 200:
                return False
            for line in answer:
                if not self.take(json.loads(line)):
                    return False
                if self.stop_at and self.rev >= self.stop_at:
                    return True
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.05)
        return True

    def run(self):
        good = False
        while not (self.stop_at and self.rev >= self.stop_at):
            good = self.watch() if good else self.list()
        self.over.set()

    def state_at(self, rev):
        state = {}
        for when, name, object_rev in self.states:
            if when <= rev:
                state[name] = object_rev
        return {n: r for n, r in state.items() if r}


class Writers:
    """Counters that many increase; every acknowledged step is remembered."""

    def __init__(self, s, path):
        self.s, self.path = s, path
        self.lock, self.began = threading.Lock(), time.monotonic()
        self.acknowledged = collections.Counter()  # key → increments answered with 200
        self.unknown = collections.Counter()       # key → increments that may have happened
        self.statuses, self.problems = collections.Counter(), []
        self.pages = []  # (revision, name → revision): whole lists, read page by page

    def over(self):
        """After the time, and after enough has happened to say something."""
        age = time.monotonic() - self.began
        return age > PATIENCE or (age > SECONDS and self.statuses[200] > ENOUGH and len(self.pages) > 0)

    def note(self, status):
        with self.lock:
            self.statuses[status] += 1

    def step(self, client, key):
        """Read, add one, write back on the condition that nobody was faster."""
        status, obj = client.request("GET", f"{self.path}/{key}")
        self.note(status)
        if status != 200:
            return
        obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
        obj["metadata"]["labels"]["side"] = random.choice(("left", "right"))
        if random.random() < 0.3:
            patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "data": obj["data"]}
            status, body = client.request("PATCH", f"{self.path}/{key}", patch, "application/merge-patch+json")
        else:
            status, body = client.request("PUT", f"{self.path}/{key}", obj)
        self.note(status)
        with self.lock:
            self.acknowledged[key] += status == 200
            self.unknown[key] += status == 0
        self.check_visible(client, key, status, body, "writing")

    def touch(self, client, key):
        """A patch that changes nothing tells the newest state, and no state that may yet be lost."""
        status, body = client.request("PATCH", f"{self.path}/{key}", {}, "application/merge-patch+json")
        self.note(status)
        self.check_visible(client, key, status, body, "being told of")

    def check_visible(self, client, key, status, body, what):
        """What is acknowledged can be read."""
        seen_status, seen = client.request("GET", f"{self.path}/{key}") if status == 200 else (0, None)
        if seen_status != 200:
            return
        told, read = int(body["metadata"]["resourceVersion"]), int(seen["metadata"]["resourceVersion"])
        if read < told:
            self.problems.append(f"{key}: read {read} after {what} {told}")

    def come_and_go(self, client, me):
        """An object of one's own: created, seen, deleted, not seen."""
        name = f"own-{me}"
        status, body = client.request("POST", self.path, {"metadata": {"name": name, "labels": {"side": "left"}}})
        self.note(status)
        if status == 409 and client.request("GET", f"{self.path}/{name}")[0] == 404:
            self.problems.append(f"{name} exists and does not")
        status, body = client.request("DELETE", f"{self.path}/{name}")
        self.note(status)
        if status == 200 and client.request("GET", f"{self.path}/{name}")[0] == 200:
            self.problems.append(f"{name} is read after it was deleted")

    def run_one(self, me):
        client = Client(self.s)
        while not self.over():
            key = f"k{random.randrange(KEYS)}"
            random.choice((lambda: self.step(client, key), lambda: self.step(client, key),
                           lambda: self.touch(client, key), lambda: self.come_and_go(client, me)))()

    def list_all(self):
        """Pages of one list show one revision, whatever happens meanwhile."""
        client = Client(self.s)
        while not self.over():
            names, more, revs = {}, "", set()
            while more is not None:
                status, page = client.request("GET", f"{self.path}?limit=7{more}")
                if status != 200:
                    break
                revs.add(page["metadata"]["resourceVersion"])
                names.update((i["metadata"]["name"], int(i["metadata"]["resourceVersion"])) for i in page["items"])
                token = page["metadata"].get("continue")
                more = f"&continue={token}" if token else None
            if status == 200:
                if len(revs) != 1:
                    self.problems.append(f"the pages of one list show revisions {revs}")
                self.pages.append((int(revs.pop()), names))

    def run(self):
        threads = [threading.Thread(target=self.run_one, args=(i,)) for i in range(WRITERS)]
        threads += [threading.Thread(target=self.list_all) for _ in range(LISTERS)]
        self.began = time.monotonic()
        for t in threads:
            t.start()
        return threads


def check_counters(writers, final):
    for i in range(KEYS):
        n, low = int(final[f"k{i}"]["data"]["n"]), writers.acknowledged[f"k{i}"]
        assert low <= n <= low + writers.unknown[f"k{i}"], f"k{i}: {n}, acknowledged {low}"


def check_watcher(w, final):
    assert w.over.wait(60), f"{w.side} stays at {w.rev}, wanted {w.stop_at}"
    assert not w.problems
    assert w.cache == {n: int(o["metadata"]["resourceVersion"]) for n, o in final.items()
                       if not w.side or labels_of(o).get("side") == w.side}


def check_pages(pages, w):
    """Each list is what the watcher of everything saw at that revision (a list that it had not seen begins later)."""
    first = w.states[0][0]
    compared = [(rev, names) for rev, names in pages if rev >= first][:60]
    assert compared
    for rev, names in compared:
        assert w.state_at(rev) == names, f"at revision {rev}"


def last_change(s, path, key, side):
    """Every watcher gets something to wait for; its revision."""
    status, obj = s.api("PATCH", f"{path}/{key}", {"metadata": {"labels": {"side": side}}, "data": {"at": str(time.time())}},
                        headers={"Content-Type": "application/merge-patch+json"})
    assert status == 200, obj
    return int(obj["metadata"]["resourceVersion"])


@pytest.mark.parametrize("kills", [0, 2])
def test_no_update_is_lost_and_no_watcher_misses_any(workdir, kills):
    s = Sampan(workdir / f"consistency-{kills}", roles="apiserver").start()
    path = "/api/v1/namespaces/default/configmaps"
    try:
        for i in range(KEYS):
            body = {"metadata": {"name": f"k{i}", "labels": {"side": "left"}}, "data": {"n": "0"}}
            assert s.api("POST", path, body)[0] == 201
        watchers = [Watcher(s, path, side) for side in SELECTED]
        writers = Writers(s, path)
        for w in watchers:
            w.start()
        wait_until(lambda: all(w.lists for w in watchers), "the first lists")
        threads = writers.run()
        for _ in range(kills):
            time.sleep(SECONDS / (kills + 1))
            os.kill(wait_until(lambda: s.role_pids().get("apiserver"), "it has come back from the last kill"), signal.SIGKILL)
        for t in threads:
            t.join()
        wait_until(lambda: Client(s).request("GET", "/api/v1/namespaces/default")[0] == 200, "back again")
        last = [last_change(s, path, key, side) for key, side in (("k0", "left"), ("k1", "right")) * 2][2:]
        for w in watchers:
            w.stop_at = last[0] if w.side == "left" else last[1]
        final = {i["metadata"]["name"]: i for i in s.api("GET", path)[1]["items"]}
        print(dict(writers.statuses), len(writers.pages), [(w.side, w.lists, w.events, w.bookmarks) for w in watchers])
        assert not writers.problems
        assert writers.statuses[200] > ENOUGH and not set(writers.statuses) - {0, 200, 201, 404, 409}
        check_counters(writers, final)
        for w in watchers:
            check_watcher(w, final)
            assert kills or w.lists == 1
            assert w.side != "nobody" or (w.bookmarks and not w.events)
        if not kills:
            check_pages(writers.pages, watchers[0])
    finally:
        assert s.stop() == 0, s.logs()


def test_what_is_compacted_is_410(sampan, ns):
    """Superseded values beyond the history's 16 MiB are gone: pages and watches of before begin again."""
    path = f"/api/v1/namespaces/{ns}/configmaps"
    for i in range(3):
        assert sampan.api("POST", path, {"metadata": {"name": f"c{i}"}})[0] == 201
    _, page = sampan.api("GET", f"{path}?limit=1")
    rev, token = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
    for i in range(18):
        big = {"metadata": {"name": "c0"}, "data": {"a": str(i % 10) * (1 << 20)}}
        assert sampan.api("PUT", f"{path}/c0", big)[0] == 200
    status, body = sampan.api("GET", f"{path}?limit=1&continue={token}")
    assert status == 410 and body["reason"] == "Expired" and "new list" in body["message"], body
    status, body = sampan.api("GET", f"{path}?resourceVersion={rev}&resourceVersionMatch=Exact")
    assert status == 410 and body["reason"] == "Expired", body
    event = next(sampan.watch(f"{path}?watch=true&resourceVersion={rev}&timeoutSeconds=5"))
    assert event["type"] == "ERROR" and event["object"]["code"] == 410 and event["object"]["reason"] == "Expired"
