"""Detections in files: sizes, formats, batches, and files that cannot be read."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.config import make_config
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.predict import predict_files

SETTINGS = {
    "class_names": ["cat", "dog"],
    "category_ids": [7, 3],
    "min_size": 64,
    "max_size": 96,
    "backbone": {"depth": 18, "width": 0.125},
    "neck": {"channels": 8},
    "rpn": {"pre_nms_test": 20, "post_nms_test": 10},
    "box_head": {"channels": 8, "score_threshold": 0.0},
    "mask_head": {"channels": 8, "convolutions": 1},
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return MaskRCNN(make_config({"model": SETTINGS}).model)


def save_image(path, height, width, mode="RGB", **options):
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def rotated_exif():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return exif


def test_any_mixture_of_sizes_and_formats_in_one_call(model, tmp_path):
    paths = [
        save_image(tmp_path / "wide.jpg", 40, 90),
        save_image(tmp_path / "tall.png", 90, 40, "RGBA"),
        save_image(tmp_path / "grey.png", 50, 50, "L"),
        save_image(tmp_path / "turned.jpg", 40, 70, exif=rotated_exif()),
        save_image(tmp_path / "small.bmp", 5, 3),
    ]
    found = {path: detections for path, _, detections in predict_files(model, paths, batch_size=2)}
    assert list(found) == paths
    sizes = {path.name: detections.image_size for path, detections in found.items()}
    assert sizes == {
        "wide.jpg": (40, 90), "tall.png": (90, 40), "grey.png": (50, 50), "turned.jpg": (70, 40), "small.bmp": (5, 3),
    }  # fmt: skip
    for detections in found.values():
        height, width = detections.image_size
        assert len(detections) and detections.masks.shape == (len(detections), 28, 28)
        assert set(zip(detections.class_names, detections.category_ids.tolist())) <= {("cat", 7), ("dog", 3)}
        assert (detections.boxes >= 0).all() and (detections.boxes <= [width, height, width, height]).all()


def test_gives_what_evaluation_gives(model, tmp_path):
    shapes = [(48, 64), (64, 48), (60, 60), (64, 50), (48, 70)]
    paths = [save_image(tmp_path / f"{number}.png", *shape) for number, shape in enumerate(shapes)]
    images = [
        {"id": number, "file_name": path.name, "height": height, "width": width}
        for number, (path, (height, width)) in enumerate(zip(paths, shapes))
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    one = {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    one["segmentation"] = [[1, 1, 10, 1, 10, 10, 1, 10]]
    dataset = CocoDataset({"images": images, "annotations": [one], "categories": categories}, tmp_path)
    _, expected = evaluate_model(model, dataset, ("box", "mask"), progress=False)
    found = {path: detections for path, _, detections in predict_files(model, paths, batch_size=2)}
    for number, path in enumerate(paths):
        detections = found[path]
        wanted = [result for result in expected if result["image_id"] == number]
        assert len(wanted) == len(detections)
        np.testing.assert_allclose([result["score"] for result in wanted], detections.scores, atol=1e-5)
        got = [result["bbox"] for result in detections.to_coco(number)]
        np.testing.assert_allclose([result["bbox"] for result in wanted], got, atol=1e-2)


def test_no_files_give_nothing(model):
    assert list(predict_files(model, [])) == []


def test_one_path_need_not_be_a_list(model, tmp_path):
    path = save_image(tmp_path / "one.png", 20, 30)
    assert [given for given, *_ in predict_files(model, str(path))] == [path]


def test_unreadable_files_are_named_after_all_others(model, tmp_path):
    good = [save_image(tmp_path / name, 30, 40) for name in ("a.png", "b.png", "c.png")]
    (tmp_path / "text.jpg").write_text("no image")
    whole = save_image(tmp_path / "torn.jpg", 60, 80).read_bytes()
    (tmp_path / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    bad = [tmp_path / name for name in ("text.jpg", "torn.jpg", "missing.png")]
    found = []
    with pytest.raises(ImageError) as caught:
        for path, *_ in predict_files(model, [bad[0], good[0], bad[1], good[1], bad[2], good[2]]):
            found.append(path)
    assert found == good
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(str(path) in line for path, line in zip(bad, lines))


def test_only_unreadable_files(model, tmp_path):
    with pytest.raises(ImageError, match="missing.png"):
        list(predict_files(model, [tmp_path / "missing.png"]))


def test_batch_size_must_be_positive(model, tmp_path):
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(predict_files(model, [tmp_path / "a.png"], batch_size=0))


def test_category_ids_count_from_one_where_the_model_has_none(tmp_path):
    plain = MaskRCNN(make_config({"model": {**SETTINGS, "category_ids": []}}).model)
    ((_, _, detections),) = predict_files(plain, [save_image(tmp_path / "a.png", 30, 40)])
    assert set(zip(detections.class_names, detections.category_ids.tolist())) <= {("cat", 1), ("dog", 2)}
    assert len(detections)


def test_pixels_come_with_the_detections(model, tmp_path):
    path = save_image(tmp_path / "turned.jpg", 20, 30, exif=rotated_exif())
    ((_, image, detections),) = predict_files(model, [path])
    assert image.shape == (30, 20, 3) and detections.image_size == (30, 20)
    np.testing.assert_array_equal(image, read_image(path))
