"""Clients of an API that is being disturbed: writers and readers that note what they asked and what they were told,
watchers that keep what a cache would, and one that asks until it is answered.

Nobody here asks twice by himself, but for the last one: an answer that is lost, or a 5xx, means that the operation
may have happened at any time after its beginning, or never.
"""
import http.client
import json
import random
import ssl
import threading
import time

from chaos_machines import API_PORT, PORT, VIP, address
from linearizable import ABSENT, Op

CONFIGS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
JSON, MERGE = "application/json", "application/merge-patch+json"
NOT_SENT, LOST = -1, 0


class Client:
    """One connection that is kept until it fails."""

    def __init__(self, world, host=VIP, port=PORT, timeout=3):
        self.host, self.port, self.timeout, self.conn = host, port, timeout, None
        self.tls = ssl.create_default_context(cafile=world.dir / "ca.crt")

    def connect(self, timeout=None):
        conn = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=timeout or self.timeout)
        conn.connect()
        return conn

    def drop(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def call(self, method, path, body=None, kind=JSON):
        """(status, document): NOT_SENT when there was no connection, LOST when there was no answer."""
        headers = {"Authorization": "Bearer tok", "Content-Type": kind}
        try:
            self.conn = self.conn or self.connect()
        except (OSError, http.client.HTTPException):
            return NOT_SENT, None
        try:
            self.conn.request(method, path, body and json.dumps(body), headers)
            answer = self.conn.getresponse()
            document = json.loads(answer.read())
            if answer.will_close:
                self.drop()
            return answer.status, document
        except (OSError, http.client.HTTPException, ValueError):
            self.drop()
            return LOST, None


def direct(world, number, timeout=10):
    return Client(world, address(number), API_PORT, timeout)


def until_done(client, method, path, body=None, kind=JSON, seconds=60, good=(200,)):
    """For what may be asked again."""
    end = time.monotonic() + seconds
    while True:
        status, document = client.call(method, path, body, kind)
        if status in good:
            return document
        assert time.monotonic() < end, f"{method} {path}: {status} {document}"
        time.sleep(0.1)


class History:
    """What all of them did, by key."""

    def __init__(self, keys):
        self.ops, self.lock, self.problems = {k: [] for k in keys}, threading.Lock(), []
        self.statuses, self.said = {}, set()  # how many of each; what was said with those above 500

    def add(self, key, op):
        with self.lock:
            self.ops[key].append(op)

    def count(self, status, document):
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status >= 500 and document:
                self.said.add((status, document["message"][:240]))

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def all(self):
        return [op for ops in self.ops.values() for op in ops]


def value_of(obj):
    return obj["data"]["v"]


def rev_of(obj):
    return int(obj["metadata"]["resourceVersion"])


class Actor(threading.Thread):
    """Does one thing after the other, at random."""

    def __init__(self, world, history, name, seed, over, client=None):
        super().__init__(daemon=True)
        self.history, self.name, self.over = history, name, over
        self.client, self.dice = client or Client(world), random.Random(seed)
        self.known, self.count = {}, 0  # key → the object as it was seen last

    def value(self):
        self.count += 1
        return f"{self.name}.{self.count}"

    def ask(self, op, key, method, path, body=None, kind=JSON):
        """Asks and notes when; (status, document), or (LOST, None) when nobody knows."""
        op.who, op.begin = self.name, time.monotonic()
        status, document = self.client.call(method, path, body, kind)
        end = time.monotonic()
        self.history.count(status, document)
        if status == NOT_SENT or (op.kind == "read" and (status == LOST or status >= 500 or status == 429)):
            return LOST, None
        if status == LOST or status >= 500 or status == 429:
            self.history.add(key, op)
            return LOST, None
        op.end = end
        return status, document

    def learn(self, key, op, obj):
        op.rev, self.known[key] = rev_of(obj), obj
        self.history.add(key, op)

    def refused(self, key, op, status, document, reasons):
        op.refused = reasons.get(status)
        if op.refused is None:
            self.history.problem(f"{op}: {status} {document}")
            return
        self.history.add(key, op)
        if op.refused == "missing":
            self.known.pop(key, None)

    def read(self, key):
        op = Op("read", 0)
        status, obj = self.ask(op, key, "GET", f"{CONFIGS}/{key}")
        if status == 200:
            op.value = value_of(obj)
            self.learn(key, op, obj)
        elif status == 404:
            self.known.pop(key, None)
            self.history.add(key, op)
        elif status != LOST:
            self.history.problem(f"{op}: {status} {obj}")

    def list(self, _):
        """One read of every key."""
        op = Op("read", 0)
        status, page = self.ask(op, None, "GET", CONFIGS)
        if status != 200:
            if status != LOST:
                self.history.problem(f"list: {status} {page}")
            return
        there = {i["metadata"]["name"]: i for i in page["items"]}
        for key in self.history.ops:
            obj = there.get(key)
            one = Op("read", op.begin, op.end, value_of(obj) if obj else ABSENT, rev=rev_of(obj) if obj else None, who=f"{self.name} (list)")
            self.history.add(key, one)
            if obj and rev_of(obj) > rev_of(page):
                self.history.problem(f"a list at revision {rev_of(page)} holds {rev_of(obj)}")

    def create(self, key):
        op = Op("create", 0, value=self.value())
        status, obj = self.ask(op, key, "POST", CONFIGS, {"metadata": {"name": key}, "data": {"v": op.value}})
        if status == 201:
            self.learn(key, op, obj)
        elif status != LOST:
            self.refused(key, op, status, obj, {409: "exists"})

    def cas(self, key):
        if key not in self.known:
            self.read(key)
        if key not in self.known:
            self.create(key)
            return
        seen = self.known[key]
        op = Op("cas", 0, value=self.value(), expect=value_of(seen))
        if self.dice.random() < 0.3:
            patch = {"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}, "data": {"v": op.value}}
            status, obj = self.ask(op, key, "PATCH", f"{CONFIGS}/{key}", patch, MERGE)
        else:
            status, obj = self.ask(op, key, "PUT", f"{CONFIGS}/{key}", {**seen, "data": {"v": op.value}})
        if status == 200:
            self.learn(key, op, obj)
        elif status != LOST:
            self.known.pop(key, None)
            self.refused(key, op, status, obj, {409: "other", 404: "missing"})

    def put(self, key):
        """Over whatever is there."""
        op = Op("put", 0, value=self.value())
        status, obj = self.ask(op, key, "PATCH", f"{CONFIGS}/{key}", {"data": {"v": op.value}}, MERGE)
        if status == 200:
            self.learn(key, op, obj)
        elif status != LOST:
            self.refused(key, op, status, obj, {404: "missing"})

    def delete(self, key):
        seen = self.known.get(key)
        op, body = Op("delete", 0), None
        if seen and self.dice.random() < 0.8:
            op.expect = value_of(seen)
            body = {"preconditions": {"resourceVersion": seen["metadata"]["resourceVersion"]}}
        status, obj = self.ask(op, key, "DELETE", f"{CONFIGS}/{key}", body)
        self.known.pop(key, None)
        if status == 200:
            self.history.add(key, op)
        elif status != LOST:
            self.refused(key, op, status, obj, {409: "other", 404: "missing"})

    def step(self):
        key = self.dice.choice(list(self.history.ops))
        what = self.dice.choices((self.read, self.cas, self.create, self.put, self.delete, self.list), (30, 40, 10, 6, 8, 6))[0]
        what(key)

    def run(self):
        while not self.over.is_set():
            self.step()
            time.sleep(self.dice.uniform(0, 0.03))
        self.client.drop()


class Asker(threading.Thread):
    """Asks for what is always there, again where that is allowed, until it is answered."""

    def __init__(self, world, over):
        super().__init__(daemon=True)
        self.client, self.over = Client(world, timeout=2), over
        self.asked, self.again, self.slowest, self.wrong = 0, 0, 0.0, []

    def run(self):
        while not self.over.is_set():
            begin = time.monotonic()
            self.asked += 1
            while True:
                status, said = self.client.call("GET", "/api/v1/namespaces/default")
                if status == 200:
                    break
                if 0 < status < 500 and status != 429:
                    self.wrong.append((status, said))
                    break
                self.again += 1
                time.sleep(0.05)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            time.sleep(0.05)
        self.client.drop()


class Watcher(threading.Thread):
    """Lists, watches, and takes the watch up again where it broke off."""

    def __init__(self, world, path, seed):
        super().__init__(daemon=True)
        self.world, self.path, self.dice = world, path, random.Random(seed)
        self.cache, self.rev, self.first = {}, 0, 0
        self.events = []          # (revision, type, name, object)
        self.names = set()        # of all that ever was there, by events and lists
        self.gaps = []            # (from, to): what was skipped by a new list
        self.lists = self.watches = 0
        self.problems, self.stop_at, self.over = [], None, threading.Event()

    def problem(self, text):
        self.problems.append(text)

    def list(self):
        status, page = Client(self.world, timeout=5).call("GET", self.path)
        if status != 200:
            time.sleep(0.1)
            return False
        rev = rev_of(page)
        if rev < self.rev:
            self.problem(f"listed revision {rev} after {self.rev} was seen")
        if self.lists:
            self.gaps.append((self.rev, rev))
        else:
            self.first = rev
        self.cache = {i["metadata"]["name"]: i for i in page["items"]}
        self.names.update(self.cache)
        self.rev, self.lists = rev, self.lists + 1
        return True

    def take(self, event):
        """False: a new list is needed."""
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            return obj["code"] != 410
        rev = rev_of(obj)
        if rev < self.rev or (rev == self.rev and kind != "BOOKMARK"):
            self.problem(f"{kind} of revision {rev} after {self.rev}")
        self.rev = rev
        if kind == "BOOKMARK":
            return True
        name = obj["metadata"]["name"]
        if (name in self.cache) != (kind != "ADDED"):
            self.problem(f"{kind} of {name}@{rev}, which was {'not ' if kind != 'ADDED' else ''}there")
        self.events.append((rev, kind, name, obj))
        self.names.add(name)
        if kind == "DELETED":
            self.cache.pop(name, None)
        else:
            self.cache[name] = obj
        return True

    def done(self):
        return self.stop_at is not None and self.rev >= self.stop_at

    def watch(self):
        """False when a new list is needed."""
        client = Client(self.world)
        path = f"{self.path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={self.dice.randint(2, 6)}&resourceVersion={self.rev}"
        try:
            client.conn = client.connect(timeout=7)
            client.conn.request("GET", path, headers={"Authorization": "Bearer tok"})
            answer = client.conn.getresponse()
            if answer.status != 200:
                time.sleep(0.1)
                return answer.status != 410
            self.watches += 1
            for line in answer:
                if not self.take(json.loads(line)):
                    return False
                if self.done():
                    return True
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.1)
        finally:
            client.drop()
        return True

    def run(self):
        good = False
        while not self.done():
            good = self.watch() if good else self.list()
        self.over.set()

    def saw(self, rev):
        """It has, or should have, seen what happened at that revision."""
        return self.first < rev <= self.rev and not any(a < rev <= b for a, b in self.gaps)
