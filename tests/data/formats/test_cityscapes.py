import pytest
from annotation_files import cityscapes, numbers, save_mask, save_picture

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import detect_format, find_splits, read_annotations

NAME = "ulm_000000_000019"


def test_things_groups_and_surfaces(tmp_path):
    source = cityscapes(tmp_path)
    mask = source / "gtFine" / "train" / "ulm" / f"{NAME}_gtFine_instanceIds.png"
    values = numbers(cat=24007, dog=26)
    values[0, :] = 7
    values[9, :4] = 5003
    values[9, 5:7] = 24000
    save_mask(mask, values)
    annotations = read_annotations(source)
    names = {category["id"]: category["name"] for category in annotations.content["categories"]}
    assert names[24] == "person" and names[33] == "bicycle" and len(names) == 10
    records = annotations.content["annotations"]
    assert [(names[r["category_id"]], r["area"], r["iscrowd"]) for r in records] == [
        ("car", 8, 1), ("person", 2, 0), ("person", 16, 0),
    ]  # fmt: skip
    assert annotations.skipped == {"object of the unknown class 5": 1}


@pytest.mark.parametrize("below", ["", "gtFine", "gtFine/train", "gtFine/train/ulm"])
def test_any_folder_of_it_is_a_source(tmp_path, below):
    source = cityscapes(tmp_path) / below
    assert detect_format(source) == "cityscapes"
    annotations = read_annotations(source)
    picture = annotations.image_folder / annotations.content["images"][0]["file_name"]
    assert picture.samefile(tmp_path / "leftImg8bit" / "train" / "ulm" / f"{NAME}_leftImg8bit.png")
    assert annotations.notes == ()


def test_splits(tmp_path):
    cityscapes(tmp_path)
    folder = tmp_path / "gtFine"
    (folder / "test").mkdir()
    assert find_splits(tmp_path) == find_splits(folder) == {"train": folder / "train"}
    assert find_splits(folder / "train") == {"": folder / "train"}


def test_pictures_beside_the_masks(tmp_path):
    save_picture(tmp_path / "street.jpg")
    save_mask(tmp_path / "street_instanceIds.png", numbers(cat=24000, dog=24001))
    annotations = read_annotations(tmp_path)
    assert [image["file_name"] for image in annotations.content["images"]] == ["street.jpg"]
    assert len(annotations.content["annotations"]) == 2


def test_missing_pictures(tmp_path):
    save_mask(tmp_path / "street_gtFine_instanceIds.png", numbers(cat=24000, dog=24001))
    annotations = read_annotations(tmp_path)
    assert annotations.content["images"][0]["file_name"] == "street_leftImg8bit.png"
    assert annotations.notes[0].startswith("1 of 1 pictures is not in")


def test_folder_without_masks(tmp_path):
    with pytest.raises(UserError, match=r"has no files that end in _instanceIds\.png; check the path$"):
        read_annotations(tmp_path, format="cityscapes")
