from pathlib import Path

import numpy as np
import pytest
from annotation_files import HEIGHT, WIDTH, numbers, ring_mask, save_mask, save_picture, save_text, square_mask
from PIL import Image

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import detect_format, find_splits, read_annotations
from keras_mrcnn.data.formats.mask_files import check_same_size, packed, read_numbers


def summary(annotations):
    """Class and area of each object."""
    names = {category["id"]: category["name"] for category in annotations.content["categories"]}
    return [(names[record["category_id"]], record["area"]) for record in annotations.content["annotations"]]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("images/a.jpg", "masks/a_mask.png"),
        ("PNGImages/a.png", "PedMasks/a_mask.png"),
        ("images/a.b.png", "instances/a.b-cp.tif"),
        ("images/deep/a.png", "masks/deep/a.png"),
        ("photographs/a.png", "instance_masks/a.png"),
    ],
)
def test_numbers_of_objects(tmp_path, image, mask):
    save_picture(tmp_path / image)
    save_mask(tmp_path / mask, numbers(1, 300))
    assert detect_format(tmp_path) == "masks"
    annotations = read_annotations(tmp_path)
    assert summary(annotations) == [("object", 16), ("object", 8)]
    assert (annotations.image_folder / annotations.content["images"][0]["file_name"]).samefile(tmp_path / image)
    assert annotations.notes == ()


def test_longest_name_of_a_picture_counts(tmp_path):
    for name in ("a", "a_1"):
        save_picture(tmp_path / "images" / f"{name}.png")
    save_mask(tmp_path / "masks" / "a_mask.png", square_mask() * 1)
    save_mask(tmp_path / "masks" / "a_1_mask.png", numbers())
    content = read_annotations(tmp_path).content
    files = {image["id"]: image["file_name"] for image in content["images"]}
    assert sorted(files[record["image_id"]] for record in content["annotations"]) == ["a.png", "a_1.png", "a_1.png"]


def test_a_file_for_each_object(tmp_path):
    save_picture(tmp_path / "images" / "a.jpg")
    for name, mask in (("x", square_mask()), ("y", ring_mask()), ("empty", np.zeros((HEIGHT, WIDTH)))):
        save_mask(tmp_path / "masks" / "a" / f"{name}.png", mask * 255)
    assert summary(read_annotations(tmp_path)) == [("object", 16), ("object", 8)]


def test_a_folder_for_each_picture(tmp_path):
    for name in ("c0", "d1"):
        save_picture(tmp_path / name / "images" / f"{name}.png")
        save_mask(tmp_path / name / "masks" / "1f.png", square_mask() * 255)
        save_mask(tmp_path / name / "masks" / "2e.png", ring_mask() * 255)
    annotations = read_annotations(tmp_path)
    assert [image["file_name"] for image in annotations.content["images"]] == ["c0/images/c0.png", "d1/images/d1.png"]
    assert [area for _, area in summary(annotations)] == [16, 8, 16, 8]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ("nucleus", [("nucleus", 16), ("nucleus", 8)]),
        ({"a": "nucleus"}, [("nucleus", 16), ("nucleus", 8)]),
        ({"a": {"1": "cat", "2": "dog"}}, [("cat", 16), ("dog", 8)]),
    ],
)
@pytest.mark.parametrize("place", ["classes.json", "masks/classes.json"])
def test_classes(tmp_path, classes, expected, place):
    save_picture(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a.png", numbers())
    path = tmp_path / place
    path.write_text(f'"{classes}"' if isinstance(classes, str) else str(classes).replace("'", '"'))
    assert summary(read_annotations(tmp_path)) == expected


def test_classes_of_all_splits(tmp_path, monkeypatch):
    for split in ("train", "val"):
        save_picture(tmp_path / "images" / split / "a.png")
        save_mask(tmp_path / "masks" / split / "a.png", numbers())
    (tmp_path / "classes.json").write_text('"nucleus"')
    for split in ("train", "val"):
        assert summary(read_annotations(tmp_path, split=split)) == [("nucleus", 16), ("nucleus", 8)]
    monkeypatch.chdir(tmp_path / "images")
    assert summary(read_annotations(Path(".."), split="val")) == [("nucleus", 16), ("nucleus", 8)]


@pytest.mark.parametrize(
    "classes", [{"a": {"1": "cat"}}, {}, {"a": 3}, {"a": {"1": "cat", "2": ""}}, [], 3, {"a": [1]}]
)
def test_objects_without_a_name(tmp_path, classes):
    save_picture(tmp_path / "images" / "a.png")
    mask = save_mask(tmp_path / "masks" / "a.png", numbers())
    path = save_text(tmp_path / "classes.json", classes)
    with pytest.raises(UserError) as error:
        read_annotations(tmp_path, format="masks")
    number = 2 if isinstance(classes, dict) and isinstance(classes.get("a"), dict) else 1
    assert str(error.value) == f"{path} has no name for the object {number} of the picture a (in {mask}); add it"


def test_pictures_and_masks_without_each_other(tmp_path):
    for name in ("a", "b"):
        save_picture(tmp_path / "images" / f"{name}.png")
    save_mask(tmp_path / "masks" / "a.png", numbers())
    save_mask(tmp_path / "masks" / "c.png", numbers())
    annotations = read_annotations(tmp_path)
    assert annotations.skipped == {"picture without a mask": 1}
    assert annotations.notes[0].startswith("1 of 2 pictures is not in")
    annotations = read_annotations(tmp_path, skip_missing=True)
    assert annotations.skipped == {"picture without a mask": 1, "missing picture": 1}


def test_masks_in_black_and_white(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a.png", numbers(255, 255))
    annotations = read_annotations(tmp_path)
    assert summary(annotations) == [("object", 24)]
    assert annotations.notes == ("1 mask has no values but 0 and 255, so all that is white in a mask is one object",)


def test_colours_stand_for_numbers(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a.png", square_mask()[..., None] * [9, 0, 0] + ring_mask()[..., None] * [0, 0, 9])
    assert summary(read_annotations(tmp_path)) == [("object", 8), ("object", 16)]


def test_splits(tmp_path):
    for split in ("train", "val"):
        save_picture(tmp_path / "images" / split / f"{split}.png")
        save_mask(tmp_path / "masks" / split / f"{split}.png", numbers())
    assert find_splits(tmp_path) == {"train": tmp_path / "masks" / "train", "val": tmp_path / "masks" / "val"}
    annotations = read_annotations(tmp_path, split="val")
    assert [image["file_name"] for image in annotations.content["images"]] == ["val.png"]
    assert annotations.image_folder == tmp_path / "images" / "val"


def test_splits_in_folders_of_their_own(tmp_path):
    for split in ("train", "valid"):
        save_picture(tmp_path / split / "images" / "a.png")
        save_mask(tmp_path / split / "masks" / "a.png", numbers())
    assert find_splits(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "valid"}


def test_a_photograph_is_no_mask(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a.png", np.arange(1, 120 * 110 + 1).reshape(120, 110))
    with pytest.raises(
        UserError, match=r"^mask file .*a\.png has more than 10000 values, so it is no mask; take it out$"
    ):
        read_annotations(tmp_path)


def test_files_of_one_picture_have_one_size(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a" / "1.png", square_mask())
    save_mask(tmp_path / "masks" / "a" / "2.png", np.ones((3, 3)))
    with pytest.raises(
        UserError, match=r"^mask file .*2\.png is 3 x 3 pixels, but its picture is 12 x 10; replace the one"
    ):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    "folders", [(), ("images",), ("masks",), ("masks", "masks2", "images"), ("masks", "one", "two")]
)
def test_folders_that_do_not_fit(tmp_path, folders):
    for folder in folders:
        save_mask(tmp_path / folder / "a.png", numbers())
    with pytest.raises(
        UserError, match=r"has no folder of masks \(such as masks\) beside one of pictures \(such as images"
    ):
        read_annotations(tmp_path, format="masks")


def test_numbers_of_every_kind_of_image(tmp_path):
    values = np.array([[0, 1], [200, 3]])
    for mode, name in (("L", "a.png"), ("I;16", "b.png"), ("I", "c.tif"), ("F", "d.tif")):
        dtype = {"L": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        Image.fromarray(values.astype(dtype)).save(tmp_path / name)
        assert read_numbers(tmp_path / name).tolist() == values.tolist()
    Image.fromarray(values > 1).save(tmp_path / "e.png")
    assert read_numbers(tmp_path / "e.png").tolist() == [[False, False], [True, True]]
    palette = Image.fromarray(values.astype(np.uint8))
    palette.putpalette([0, 0, 0, 0, 0, 9] + [7] * 762)
    palette.save(tmp_path / "f.png")
    assert read_numbers(tmp_path / "f.png").tolist() == values.tolist()
    assert read_numbers(tmp_path / "f.png", colours=True).tolist() == [[0, 9], [packed(7, 7, 7)] * 2]
    rgba = np.array([[[1, 2, 3, 255], [1, 2, 3, 0]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "g.png")
    assert read_numbers((tmp_path / "g.png").read_bytes()).tolist() == [[65536 + 512 + 3, 0]]
    grey_alpha = Image.merge("LA", [Image.new("L", (1, 1), 5), Image.new("L", (1, 1), 1)])
    grey_alpha.save(tmp_path / "h.png")
    assert read_numbers(tmp_path / "h.png").tolist() == [[5]]


def test_files_that_are_no_masks(tmp_path):
    with pytest.raises(UserError, match=r"^mask file .*a\.png does not exist; check the path$"):
        read_numbers(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"^mask file .* cannot be read \(Is a directory\); check the path"):
        read_numbers(tmp_path)
    with pytest.raises(UserError, match=r"^shape 1, mask is not an image that Pillow knows"):
        read_numbers(b"x", "shape 1, mask")
    for value in (0.5, np.nan, 1e12):
        Image.fromarray(np.array([[value]], np.float32)).save(tmp_path / "f.tif")
        with pytest.raises(
            UserError, match=r"^mask file .*f\.tif has values that are not whole numbers; save it with int"
        ):
            read_numbers(tmp_path / "f.tif")
    with pytest.raises(
        UserError, match=r"^mask file a\.png is 3 x 2 pixels, but its picture is 5 x 4; replace the one that"
    ):
        check_same_size(np.ones((2, 3)), "a.png", (4, 5))
