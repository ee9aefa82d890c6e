"""Is what clients saw of one object explained by some order in which each operation happened at one moment between
its beginning and its end?

The object is a register that is absent or holds a value, with create, compare-and-swap, a write over whatever is
there, delete and read. Every write has a value of its own. An operation whose answer was lost may have happened at
any moment after its beginning, or never. The search is that of Wing and Gong with Lowe's memory of configurations
(what has happened so far, the register), as in Porcupine: try every operation that may be the next one, and go back
where an operation would have had to happen before its answer and cannot.

Where the revision of a write is known, an order in which revisions do not rise is not taken: that makes the search
quick and the question stricter, it answers nothing by itself.
"""
import dataclasses

ABSENT = None
STEPS = 3_000_000  # then the history is undecided, which counts as a failure


@dataclasses.dataclass
class Op:
    kind: str                    # create, cas, put, delete, read
    begin: float
    end: float = None            # None: the answer was lost
    value: str = ABSENT          # written, or read
    expect: str = None           # cas: the value that must be there; delete: the same, None = any
    refused: str = None          # "exists", "missing" or "other": it was answered that it was not done
    rev: int = None              # of the write, of what was read
    who: str = ""

    def happens(self, state):
        """(may it be the next one, the state after it)."""
        if self.kind == "read":
            return state == self.value, state
        if self.refused:
            return {"exists": state is not ABSENT, "missing": state is ABSENT,
                    "other": state is not ABSENT and state != self.expect}[self.refused], state
        fits = {"create": state is ABSENT, "cas": state == self.expect, "put": state is not ABSENT,
                "delete": state is not ABSENT and self.expect in (None, state)}[self.kind]
        return fits, ABSENT if self.kind == "delete" else self.value

    def __str__(self):
        end = "lost" if self.end is None else f"{self.end:.4f}"
        what = {"read": f"read {self.value}", "create": f"create {self.value}", "cas": f"cas {self.expect} -> {self.value}",
                "put": f"put {self.value}", "delete": f"delete {self.expect or 'any'}"}[self.kind]
        return f"{self.begin:.4f} .. {end}  {self.who} {what}" + (f" refused: {self.refused}" if self.refused else "") + (
            f" @{self.rev}" if self.rev else "")


def revisions(ops):
    """(value → its revision as anybody was told, what does not fit)."""
    known, problems = {}, []
    for op in ops:
        if op.rev is None or op.value is ABSENT or op.refused:
            continue
        if known.setdefault(op.value, op.rev) != op.rev:
            problems.append(f"{op.value} has revision {known[op.value]} and {op.rev}: {op}")
    if len(set(known.values())) != len(known):
        problems.append("two values have one revision")
    return known, problems


class Chain:
    """Calls and answers in their order, as a list from which a pair can be taken and put back."""

    def __init__(self, ops):
        events = []
        for n, op in enumerate(ops):
            events.append((op.begin, 0, n))
            if op.end is not None:
                events.append((op.end, 1, n))
        events.sort()
        self.is_call = [False] + [e[1] == 0 for e in events] + [False]
        self.op = [-1] + [e[2] for e in events] + [-1]
        size = len(self.op)
        self.next = list(range(1, size)) + [size - 1]
        self.prev = [0] + list(range(size - 1))
        self.answer = {}  # operation → place of its answer
        for place, (_, kind, n) in enumerate(events, 1):
            if kind:
                self.answer[n] = place
        self.end = size - 1

    def places(self, call):
        answer = self.answer.get(self.op[call])
        return (call,) if answer is None else (call, answer)

    def take(self, call):
        for p in self.places(call):
            self.next[self.prev[p]], self.prev[self.next[p]] = self.next[p], self.prev[p]

    def put_back(self, call):
        for p in reversed(self.places(call)):
            self.next[self.prev[p]] = self.prev[self.next[p]] = p


def explain(ops, order, blocked):
    near = sorted(ops, key=lambda o: abs(o.begin - blocked.begin))[:24]
    lines = [f"no order explains: {blocked}", "the longest order that was found ends with:"]
    lines += [f"  {o}" for o in order[-8:]] + ["operations around it:"]
    return "\n".join(lines + [f"  {'*' if o is blocked else ' '} {o}" for o in sorted(near, key=lambda o: o.begin)])


def check(ops, initial=ABSENT, steps=STEPS):
    """None when there is such an order, else a text that says where there is none."""
    _, problems = revisions(ops)
    if problems:
        return problems[0]
    # A lost write that nobody has seen is hardly ever needed: an order without it is an order, too.
    seen = {op.value for op in ops if op.kind == "read" or op.end is not None} | {op.expect for op in ops}
    likely = [op for op in ops if op.end is not None or op.kind == "delete" or op.rev or op.value in seen]
    wrong = search(likely, initial, steps)
    if wrong is None or len(likely) == len(ops):
        return wrong
    again = search(ops, initial, steps)
    return again and f"{wrong}\n(with the lost writes that nobody has seen: {again})"


def search(ops, initial, steps):
    known, _ = revisions(ops)
    # Of those that were answered, mostly the first ones have happened: what is remembered begins behind them.
    ops = sorted(ops, key=lambda o: (o.end is None, o.begin))
    rev_of = [op.rev if op.kind == "delete" else known.get(op.value) if op.kind != "read" and not op.refused else None for op in ops]
    answered = sum(op.end is not None for op in ops)
    chain = Chain(ops)
    left = answered
    state, done, first, seen, stack = (initial, 0), 0, 0, set(), []
    longest, blocked = [], None
    at = chain.next[0]
    while left:
        steps -= 1
        if not steps:
            return f"undecided after too many steps, {len(ops)} operations"
        if chain.is_call[at]:
            n = chain.op[at]
            fits, value = ops[n].happens(state[0])
            rev = rev_of[n]
            if fits and (rev is None or rev > state[1]):
                after = (value, rev or state[1])
                then, low = done | 1 << n, first
                while then >> low & 1 and low < answered:
                    low += 1
                place = (low, then >> low, after)
                if place not in seen:
                    seen.add(place)
                    stack.append((at, state, first))
                    state, done, first = after, then, low
                    left -= ops[n].end is not None
                    chain.take(at)
                    at = chain.next[0]
                    continue
            at = chain.next[at]
            continue
        # An answer to what has not happened: what happened before it was wrong.
        if blocked is None or len(stack) > len(longest):
            longest, blocked = [chain.op[s[0]] for s in stack], ops[chain.op[at]]
        if not stack:
            return explain(ops, [ops[n] for n in longest], blocked)
        at, state, first = stack.pop()
        done &= ~(1 << chain.op[at])
        left += ops[chain.op[at]].end is not None
        chain.put_back(at)
        at = chain.next[at]
    return None
