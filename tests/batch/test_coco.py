"""COCO results from parts: those that `Detections.to_coco` gives."""

import json

import pytest
from fake_detector import detect_one
from pycocotools.coco import COCO

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.batch import PartSettings, open_input, predict_parts
from keras_mrcnn.batch.coco import write_coco


@pytest.fixture(params=["parquet", "jsonl"])
def found(model, pictures, tmp_path, request):
    """A results folder; one of the seven pictures cannot be read."""
    (pictures / "001.png").write_bytes(b"no image")
    predict_parts(model, open_input([pictures]), tmp_path / "found", PartSettings(request.param, part_size=3))
    return tmp_path / "found"


def test_results_are_those_of_the_detections(found, pictures, tmp_path):
    assert write_coco(found, tmp_path / "new" / "results.json") == (6, 8, 0)
    wanted = []
    for image_id, path in enumerate(sorted(pictures.iterdir()), start=1):
        if image_id != 2:
            wanted += detect_one(read_image(path)).to_coco(image_id)
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == wanted


def test_folder_with_the_list_of_images_is_for_pycocotools(found, pictures, tmp_path):
    write_coco(found, tmp_path / "coco")
    coco = COCO(str(tmp_path / "coco" / "images.json"))
    assert sorted(coco.imgs) == [1, 3, 4, 5, 6, 7]
    assert coco.imgs[3] == {"id": 3, "file_name": str(pictures / "002.png"), "height": 12, "width": 10}
    results = coco.loadRes(str(tmp_path / "coco" / "detections.json"))
    assert len(results.anns) == 8 and results.annToMask(results.anns[1]).shape == (12, 10)
    assert {category["name"] for category in coco.cats.values()} == {"cat", "dog"}


def test_no_detections(model, pictures, tmp_path):
    for path in sorted(pictures.iterdir())[1:]:
        path.unlink()
    predict_parts(model, open_input([pictures]), tmp_path / "found")
    write_coco(tmp_path / "found", tmp_path / "coco")
    assert json.loads((tmp_path / "coco" / "detections.json").read_text()) == []
    assert len(json.loads((tmp_path / "coco" / "images.json").read_text())["images"]) == 1


def test_nothing_is_replaced(found, tmp_path):
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(UserError, match="results.json exists and is not replaced; name another file"):
        write_coco(found, tmp_path / "results.json")
    (found / "part-00001.parquet").unlink(missing_ok=True)
    (found / "part-00001.jsonl").unlink(missing_ok=True)
    with pytest.raises(UserError, match="part-00001.* cannot be read"):
        write_coco(found, tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()
