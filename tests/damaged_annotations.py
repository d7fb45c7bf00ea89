"""Annotation files that are damaged at random."""

from __future__ import annotations

import copy
import random

from conftest import tiny_content

CODES = ("", "P", "oooooooooooo", "0" * 50, "\u20ac", "~" * 9, "04" * 20_000)
NUMBERS = (0, -1, 1, True, 0.5, 1e10, -1e300, 2**31, 2**32 + 1, 2**63, 2**64, 10**400, float("nan"), float("inf"))
ODD = (None, "", "x", "x" * 300, "\0", "\ud800", [], {}, [[]], [{}], {"size": [40, 60]}, [None], ["1"] * 6)


def nested(depth=200):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def places(value, path=()):
    """Gives the path to each value within a tree of lists and dicts."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


def damaged(seed):
    """The annotations of `tiny_content` with one to three values changed, taken out or repeated."""
    chance, content = random.Random(seed), tiny_content()
    for _ in range(chance.randint(1, 3)):
        *parents, key = chance.choice(list(places(content)))
        parent = content
        for name in parents:
            parent = parent[name]
        kind = chance.random()
        if kind < 0.15:
            del parent[key]
        elif kind < 0.3 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind < 0.45:
            counts = chance.choice(CODES) if chance.random() < 0.7 else [chance.choice(NUMBERS) for _ in range(9)]
            parent["segmentation" if "segmentation" in parent else key] = {"size": [40, 60], "counts": counts}
        else:
            parent[key] = copy.deepcopy(chance.choice([*NUMBERS, *ODD, nested()]))
    return content
