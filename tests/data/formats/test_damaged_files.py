"""Damaged files of every format: each is read as good annotations, or refused in one sentence."""

import copy
import json
import random

import pytest
from annotation_files import WRITERS

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import read_annotations
from keras_mrcnn.data.records import FAULT_OF, box_faults
from keras_mrcnn.data.segmentations import segmentation_fault

NUMBERS = (0, -1, 1, True, 0.5, 1e10, -1e300, 2**31, 2**64, 10**400, float("nan"), float("inf"), "1e999", "1_0")
ODD = (None, "", " ", "x", "x" * 300, "\0", "\ud800", "a\nb", "../../a.png", "/etc/passwd", [], {}, [[]], [{}], [None])
BYTES = (
    b"",
    b"\xff\xfe",
    b"<",
    b"&",
    b'"',
    b"{",
    b"]",
    b"-",
    b"9" * 400,
    b"nan",
    b"\0",
    b"\xed\xa0\x80",
    b" ",
    b"\n",
    b"<!DOCTYPE a>",
)
TEXTS = (".json", ".xml", ".csv", ".txt", ".yaml")


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


def damage_tree(content, chance):
    """Changes, takes out or repeats one to three values of a JSON tree."""
    for _ in range(chance.randint(1, 3)):
        *parents, key = chance.choice(list(places(content)) or [("x",)])
        parent = content
        for name in parents:
            parent = parent[name]
        kind = chance.random()
        if kind < 0.15:
            parent.pop(key, None) if isinstance(parent, dict) else parent.pop(key)
        elif kind < 0.3 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(chance.choice([*NUMBERS, *ODD, nested()]))
    return content


def damage_bytes(content, chance):
    """Cuts a file off, or puts other bytes into it."""
    if chance.random() < 0.2:
        return content[: chance.randrange(len(content))]
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(content) + 1)
        end = min(start + chance.choice((0, 1, 4, 30)), len(content))
        content = content[:start] + chance.choice([*BYTES, content[start:end] * 2]) + content[end:]
    return content


def damage(path, chance):
    """Damages one file, in its structure or byte by byte."""
    content = path.read_bytes()
    if path.suffix == ".json" and chance.random() < 0.7:
        path.write_text(json.dumps(damage_tree(json.loads(content), chance)))
    else:
        path.write_bytes(damage_bytes(content, chance))


def assert_good(annotations):
    """Asserts that annotations need no further check."""
    content = annotations.content
    images = {image["id"]: image for image in content["images"]}
    assert images
    for name, fault_of in FAULT_OF.items():
        assert [fault for fault in map(fault_of, content[name]) if fault] == []
    for record in content["annotations"]:
        height, width = (images[record["image_id"]][side] for side in ("height", "width"))
        assert list(box_faults(record["bbox"], height, width)) == []
        assert segmentation_fault(record["segmentation"], height, width) is None
    for image in images.values():
        path = (annotations.image_folder / image["file_name"].replace("\0", "")).resolve()
        assert path.is_relative_to(annotations.image_folder.resolve())


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_are_read_or_refused(tmp_path, name):
    format, write = WRITERS[name]
    source = write(tmp_path)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    originals = {path: path.read_bytes() for path in files}
    texts = [path for path in files if path.suffix in TEXTS]
    outcomes = {True: 0, False: 0}
    for seed in range(150):
        chance = random.Random(f"{name} {seed}")
        path = chance.choice(texts if texts and chance.random() < 0.8 else files)
        damage(path, chance)
        try:
            annotations = read_annotations(source, format=format, skip_missing=chance.random() < 0.3)
        except UserError as error:
            assert 20 < len(str(error)) < 700 and str(error).isprintable(), (seed, str(error))
            outcomes[False] += 1
        else:
            json.dumps(annotations.content, allow_nan=format == "coco")
            if format != "coco":  # the check of a data set lists what is wrong with records of COCO
                assert_good(annotations)
            assert all(note.isprintable() for note in annotations.notes), seed
            outcomes[True] += 1
        path.write_bytes(originals[path])
    assert min(outcomes.values()) > 5, outcomes
