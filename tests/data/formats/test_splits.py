import annotation_files
import pytest
from annotation_files import coco_content, save_text

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import find_splits
from keras_mrcnn.data.formats.names import split_name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["annotations/train.json", "annotations/val.json"], {"train": 0, "val": 1}),
        (["annotations/instances_val.json", "annotations/instances_train.json"], {"train": 1, "val": 0}),
        (["annotations/instances_train2017.json", "annotations/captions_train2017.json"], {"train": 0}),
        (["annotations/instances_val2014.json", "annotations/instances_val2017.json"], {"val": 0, "val2017": 1}),
        (["train/_annotations.coco.json", "valid/_annotations.coco.json", "test/_annotations.coco.json"],
         {"train": 0, "val": 1, "test": 2}),
        (["annotations/instances_cats.json", "annotations/dogs.json"], {"dogs": 1, "cats": 0}),
        (["train.json", "validation.json"], {"train": 0, "val": 1}),
    ],
)  # fmt: skip
def test_splits_of_coco(tmp_path, names, expected):
    paths = [save_text(tmp_path / name, coco_content()) for name in names]
    splits = find_splits(tmp_path)
    assert splits == {name: paths[place] for name, place in expected.items()}
    assert list(splits) == list(expected)


@pytest.mark.parametrize("name", ["annotations/instances_default.json", "result.json"])
def test_one_coco_file_is_no_split(tmp_path, name):
    path = save_text(tmp_path / name, coco_content())
    assert find_splits(tmp_path) == {"": tmp_path}
    assert find_splits(path) == {"": path}


@pytest.mark.parametrize("name", ["labelme", "labelme-xml", "via", "cvat"])
def test_splits_in_folders(tmp_path, name):
    for folder in ("train", "validation", "other"):
        annotation_files.WRITERS[name][1](tmp_path / folder)
    (tmp_path / "test").mkdir()
    assert find_splits(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "validation"}


def test_format_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"^there is no format docx; choose one of coco, "):
        find_splits(tmp_path, "docx")
    with pytest.raises(UserError, match=r"nothing does not exist; check the path$"):
        find_splits(tmp_path / "nothing", "coco")


def test_names_of_splits():
    names = ["train", "Training", "valid", "VAL2017", "validation", "test2014", "trainval", "default", "2017", ""]
    assert list(map(split_name, names)) == ["train", "train", "val", "val", "val", "test", None, None, None, None]
