import numpy as np
import pytest
from annotation_files import save_picture
from pycocotools import mask as mask_api

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.collector import Collector
from keras_mrcnn.data.formats.shapes import Shape, run_length_codes

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


def collector(tmp_path, **options):
    collector = Collector("via", tmp_path / "a.json", **options)
    collector.look_in([tmp_path], [])
    return collector


def test_records(tmp_path):
    save_picture(tmp_path / "a.png", 4, 6)
    collecting = collector(tmp_path)
    collecting.declare({"dog": 5})
    picture = collecting.picture(["a.png"], "picture 1")
    mask = run_length_codes(np.eye(4, 6, dtype=bool), 4, 6)[1]
    collecting.add(picture, Shape(" cat ", [SQUARE], "shape 1"))
    collecting.add(picture, Shape("dog", [mask, [4, 0, 6, 0, 6, 1, 4, 1]], "shape 2", is_crowd=True))
    content, folder, format, skipped, notes = collecting.finish()
    assert (folder, format, skipped, notes) == (tmp_path, "via", {}, ())
    assert content["images"] == [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}]
    assert content["categories"] == [{"id": 5, "name": "dog"}, {"id": 6, "name": "cat"}]
    cat, dog = content["annotations"]
    assert cat == {
        "id": 1, "image_id": 1, "category_id": 6, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0,
        "segmentation": [SQUARE],
    }  # fmt: skip
    expected = np.eye(4, 6)
    expected[0, 4:] = 1
    np.testing.assert_array_equal(mask_api.decode(dog.pop("segmentation")), expected)
    assert dog == {"id": 2, "image_id": 1, "category_id": 5, "bbox": [0, 0, 6, 4], "area": 6, "iscrowd": 1}


def test_objects_that_are_left_out_are_counted(tmp_path):
    save_picture(tmp_path / "a.png", 4, 6)
    collecting = collector(tmp_path)
    picture = collecting.picture(["a.png"], "picture 1")
    for parts in ([SQUARE], [SQUARE], [SQUARE, [1, 1]], [[1, 1, 2, 2]], [], [[7, 0, 8, 0, 8, 1]], [[1, 1, 1, 3, 1, 1]]):
        collecting.add(picture, Shape("cat", parts, "shape"))
    collecting.add(picture, Shape("dog", [SQUARE], "shape"))
    annotations = collecting.finish()
    assert len(annotations.content["annotations"]) == 2
    assert annotations.skipped == {
        "object that is there twice": 2,
        "polygon of fewer than 3 points": 2,
        "object that covers no pixel of its picture": 2,
    }


def test_parts_that_pycocotools_cannot_take(tmp_path):
    save_picture(tmp_path / "a.png", 4, 6)
    collecting = collector(tmp_path)
    picture = collecting.picture(["a.png"], "picture 1")
    for part, fault in (([0, 0, 1e9, 0, 1, 1], "polygon 1 has a coordinate far outside the image"),
                        ({"size": [4, 6], "counts": "P"}, "the compressed run-length code is malformed")):  # fmt: skip
        with pytest.raises(UserError, match=rf"^shape 1 cannot be used \({fault}\); correct it$"):
            collecting.add(picture, Shape("cat", [part], "shape 1"))


def test_no_picture_is_there(tmp_path):
    with pytest.raises(UserError, match=r"a\.json has no annotated pictures; check the path, --images and --format$"):
        collector(tmp_path).finish()
