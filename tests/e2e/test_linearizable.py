"""The checker of histories itself: it takes what can be, and refuses what cannot."""
import itertools
import random

import pytest

from linearizable import ABSENT, Op, check


def create(begin, end, value, **more):
    return Op("create", begin, end, value, **more)


def read(begin, end, value, **more):
    return Op("read", begin, end, value, **more)


def cas(begin, end, expect, value, **more):
    return Op("cas", begin, end, value, expect, **more)


def delete(begin, end, expect=None, **more):
    return Op("delete", begin, end, ABSENT, expect, **more)


def put(begin, end, value, **more):
    return Op("put", begin, end, value, **more)


GOOD = {
    "one after the other": [create(0, 1, "a"), read(2, 3, "a"), cas(4, 5, "a", "b"), read(6, 7, "b"), delete(8, 9), read(10, 11, ABSENT)],
    "a read during a write sees the old value": [create(0, 1, "a"), cas(2, 9, "a", "b"), read(3, 4, "a"), read(5, 6, "b")],
    "a read before the answer": [create(0, 9, "a"), read(1, 2, "a")],
    "lost and made": [create(0, 1, "a"), cas(2, None, "a", "b"), read(3, 4, "b")],
    "lost and made later": [create(0, 1, "a"), cas(2, None, "a", "b"), read(3, 4, "a"), read(5, 6, "b")],
    "lost and never made": [create(0, 1, "a"), cas(2, None, "a", "b"), read(3, 4, "a"), cas(5, 6, "a", "c"), read(7, 8, "c")],
    "lost, and then it exists": [create(0, None, "a"), create(1, 2, "b", refused="exists"), read(3, 4, "a")],
    "lost twice, both made": [create(0, None, "a"), delete(1, None), read(2, 3, "a"), read(4, 5, ABSENT)],
    "a lost delete makes room": [create(0, 1, "a"), delete(2, None), create(3, 4, "b"), read(5, 6, "b")],
    "refused": [create(0, 1, "a"), create(2, 3, "b", refused="exists"), cas(4, 5, "x", "c", refused="other"), delete(6, 7),
                cas(8, 9, "a", "d", refused="missing")],
    "revisions rise": [create(0, 1, "a", rev=4), put(2, 3, "b", rev=9), read(2, 3, "b", rev=9)],
    "begun at the moment of the answer": [create(0, 1, "a"), read(1, 2, "a")],
}

BAD = {
    "a lost write": [create(0, 1, "a"), cas(2, 3, "a", "b"), read(4, 5, "a")],
    "an old read": [create(0, 1, "a"), cas(2, 3, "a", "b"), read(4, 5, "b"), read(6, 7, "a")],
    "read back and forth during a write": [create(0, 1, "a"), cas(2, 20, "a", "b"), read(3, 4, "b"), read(5, 6, "a")],
    "made twice": [create(0, 1, "a"), delete(2, 3), read(4, 5, "a")],
    "made twice, by the one whose answer was lost": [create(0, None, "a"), read(1, 2, "a"), delete(3, 4), read(5, 6, "a")],
    "two winners": [create(0, 1, "a"), cas(2, 3, "a", "b"), cas(2, 3, "a", "c")],
    "both made it": [create(0, 5, "a"), create(0, 5, "b")],
    "refused, but done": [create(0, 1, "a"), cas(2, 3, "a", "b", refused="other"), read(4, 5, "b")],
    "refused without a reason": [create(0, 1, "a"), cas(2, 3, "a", "b", refused="other"), read(4, 5, "a")],
    "it exists, says one; nobody made it": [create(0, 1, "a", refused="exists")],
    "it is missing, and is not": [create(0, 1, "a"), cas(2, 3, "a", "b", refused="missing"), read(4, 5, "a")],
    "from the future": [read(0, 1, "a"), create(2, 3, "a")],
    "a lost write is no excuse for another value": [create(0, 1, "a"), cas(2, None, "a", "b"), read(3, 4, "c")],
    "deleted and there": [create(0, 1, "a"), delete(2, 3), cas(4, 5, "a", "b")],
    "revisions fall": [create(0, 1, "a", rev=9), put(2, 3, "b", rev=4)],
    "one value, two revisions": [create(0, 1, "a", rev=4), read(2, 3, "a", rev=5)],
    "two values, one revision": [create(0, 1, "a", rev=4), put(2, 3, "b", rev=4)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be(name):
    assert check(GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be(name):
    assert check(BAD[name])


def by_all_orders(ops):
    """The same question, answered by trying everything."""
    lost = [o for o in ops if o.end is None]
    for n in range(len(lost) + 1):
        for left_out in itertools.combinations(lost, n):
            made = [o for o in ops if not any(o is x for x in left_out)]
            for order in itertools.permutations(made):
                if any(b.end is not None and b.end < a.begin for i, a in enumerate(order) for b in order[i + 1:]):
                    continue
                state = ABSENT
                for op in order:
                    fits, state = op.happens(state)
                    if not fits:
                        break
                else:
                    return True
    return False


def random_history(dice, count, clients, register=True):
    """What clients of a real register would see (or of one that answers as it likes)."""
    state, ops, busy = ABSENT, [], [0.0] * clients
    now = 0.0
    for n in range(count):
        who = dice.randrange(clients)
        begin = max(busy[who], now - dice.random() * 2)
        now = max(now, begin) + dice.random()
        end = now + dice.random()
        busy[who] = end + 0.001
        kind, value = dice.choice(("create", "cas", "put", "delete", "read")), f"v{n}"
        expect = dice.choice((state, "v0")) if kind == "cas" else None
        op = Op(kind, begin, end, ABSENT if kind in ("delete", "read") else value, expect, who=str(who))
        if kind == "read":
            op.value = state if register else dice.choice((ABSENT, *(o.value for o in ops)))
        else:
            fits, after = op.happens(state)
            if not fits:
                op.refused = "missing" if state is ABSENT else "exists" if kind == "create" else "other"
            lost = dice.random() < 0.2
            if fits and not (lost and dice.random() < 0.5):
                state = after
            if lost:
                op.end, op.refused = None, None
        ops.append(op)
    return ops


def test_a_register_is_always_taken():
    for seed in range(60):
        dice = random.Random(seed)
        ops = random_history(dice, 200, dice.randint(1, 6))
        assert check(ops) is None, seed


def test_it_agrees_with_trying_everything():
    answers = []
    for seed in range(400):
        dice = random.Random(seed)
        ops = random_history(dice, dice.randint(2, 6), 3, register=False)
        answers.append(check(ops) is None)
        assert answers[-1] == by_all_orders(ops), (seed, [str(o) for o in ops])
    assert 40 < sum(answers) < 360


def test_one_wrong_read_among_many_is_found():
    found = 0
    for seed in range(40):
        ops = random_history(random.Random(seed), 60, 3)
        reads = [o for o in ops if o.kind == "read" and o.value is not ABSENT]
        if reads:
            reads[-1].value = "never written"
            found += 1
            assert check(ops), seed
    assert found > 20
