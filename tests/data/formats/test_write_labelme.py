"""LabelMe files: shapes by hand, and every mask back as LabelMe would draw it."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from data.formats.made_content import (
    annotation,
    code_of,
    dots,
    links,
    made_content,
    mask_of,
    masks_of,
    ring,
    square,
    write_pictures,
)
from PIL import Image

from keras_mrcnn.data.formats.labelme import CROWD_FLAG
from keras_mrcnn.data.formats.writing import write_annotations

SHAPE_KEYS = {"label", "points", "group_id", "description", "shape_type", "flags", "mask"}


def written(content, folder, name="b.json"):
    """The content of a file that is written."""
    write_annotations(content, folder / "pictures", folder / "out", "labelme")
    return json.loads((folder / "out" / name).read_text("utf-8"))


def one_shape(folder, **fields):
    """The shapes of an object with these fields."""
    content = {**made_content(), "annotations": [{**annotation(1, [square(1, 1, 3)]), **fields}]}
    return written(content, folder)["shapes"]


def shape_mask(shape, height, width):
    """The mask of a shape, by the rules of LabelMe: the points of a mask are its first and its last pixel."""
    if shape["shape_type"] == "polygon":
        return mask_of([np.ravel(shape["points"]).tolist()], height, width)
    (x0, y0), (x1, y1) = np.int64(shape["points"])
    mask = np.zeros((height, width), bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
    return mask


def test_files_lie_beside_links(tmp_path):
    content = made_content()
    write_pictures(content, tmp_path / "pictures")
    report = write_annotations(content, tmp_path / "pictures", tmp_path / "out", "labelme")
    assert report[2:] == (3, 5, 1, {}, ())
    assert sorted(links(tmp_path / "out")) == ["b.jpg", "empty.jpg", "straße 1/ünïcode ü.png"]
    for name in ("b", "empty", "straße 1/ünïcode ü"):
        path = tmp_path / "out" / f"{name}.json"
        file = json.loads(path.read_text("utf-8"))
        assert (path.parent / file["imagePath"]).is_file()  # as LabelMe opens it
        assert (file["imageHeight"], file["imageWidth"], file["imageData"], file["flags"]) == (12, 17, None, {})
        assert all(set(shape) == SHAPE_KEYS for shape in file["shapes"])
    assert file["shapes"][0]["label"] == "traffic light"


def test_every_mask_comes_back(tmp_path):
    content = made_content()
    found = {}
    for shape in written(content, tmp_path)["shapes"]:
        key = ("b.jpg", shape["label"], bool(shape["flags"].get(CROWD_FLAG)))
        objects = found.setdefault(key, {})
        group = len(objects) + 100 if shape["group_id"] is None else shape["group_id"]
        objects[group] = objects.get(group, False) | shape_mask(shape, 12, 17)
    expected = {key: masks for key, masks in masks_of(content).items() if key[0] == "b.jpg"}
    assert found.keys() == expected.keys()
    for key, masks in expected.items():
        np.testing.assert_array_equal(list(found[key].values()), masks)


def test_polygons_are_kept_and_parts_share_a_group(tmp_path):
    first, *parts = written(made_content(), tmp_path)["shapes"][:3]
    assert first["points"] == [[1.1, 1.3], [5.7, 1.9], [3.3, 6.1]] and first["group_id"] is None
    assert [part["group_id"] for part in parts] == [1, 1]
    assert parts[1]["points"] == [[8, 6], [13, 6], [13, 11], [8, 11]]


def test_groups_of_one_file_differ(tmp_path):
    objects = [annotation(1, [square(0, 0, 2), square(4, 0, 2)]), annotation(2, code_of(dots()))]
    shapes = written({**made_content(), "annotations": objects}, tmp_path)["shapes"]
    assert [shape["group_id"] for shape in shapes] == [1, 1, 2, 2]
    assert [shape["shape_type"] for shape in shapes] == ["polygon"] * 4


def test_mask_with_a_hole_is_a_png(tmp_path):
    (shape,) = one_shape(tmp_path, segmentation=code_of(ring()))
    assert shape["shape_type"] == "mask" and shape["points"] == [[3, 2], [11, 8]]
    image = Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
    np.testing.assert_array_equal(np.array(image), ring()[2:9, 3:12])


def test_box_without_a_mask_is_a_rectangle(tmp_path):
    (shape,) = one_shape(tmp_path, segmentation=[], bbox=[1, 2, 3, 4])
    assert (shape["shape_type"], shape["points"], shape["mask"]) == ("rectangle", [[1, 2], [4, 6]], None)


def test_score_stands_in_the_description(tmp_path):
    (shape,) = one_shape(tmp_path, score=0.87654)
    assert shape["description"] == "score 0.877"


@pytest.mark.parametrize(("crowd", "reason"), [(0, "object"), (1, "crowd region")])
def test_empty_mask_is_counted(tmp_path, crowd, reason):
    empty = annotation(1, code_of(np.zeros((12, 17))), iscrowd=crowd)
    report = write_annotations({**made_content(), "annotations": [empty]}, tmp_path, tmp_path / "out", "labelme")
    assert report.skipped == {f"{reason} whose mask is empty": 1, "picture that does not exist": 3}
    assert (report.objects, report.crowds) == (0, 0)
