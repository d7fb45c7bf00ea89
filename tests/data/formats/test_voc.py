import numpy as np
import pytest
from annotation_files import (
    HEIGHT,
    WIDTH,
    numbers,
    ring_mask,
    save_mask,
    save_picture,
    save_text,
    square_mask,
    voc,
    voc_colours,
)

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import find_splits, read_annotations
from keras_mrcnn.data.formats.voc import palette_colours

PALETTE = list(range(256)) * 3


def summary(annotations):
    """Class and area of each object."""
    names = {category["id"]: category["name"] for category in annotations.content["categories"]}
    return [(names[record["category_id"]], record["area"]) for record in annotations.content["annotations"]]


def test_palette():
    palette = palette_colours()
    assert len(set(palette)) == 256
    colours = [
        (value >> 16, value >> 8 & 255, value & 255) for value in (palette[1], palette[15], palette[20], palette[255])
    ]
    assert colours == [(128, 0, 0), (192, 128, 128), (0, 64, 128), (224, 224, 192)]


def test_names_and_numbers_of_classes(tmp_path):
    annotations = read_annotations(voc(tmp_path))
    assert annotations.content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    assert annotations.image_folder == tmp_path / "JPEGImages"
    (tmp_path / "class_names.txt").unlink()
    annotations = read_annotations(tmp_path)
    assert summary(annotations) == [("bicycle", 16), ("aeroplane", 8)]
    assert len(annotations.content["categories"]) == 20
    annotations = read_annotations(voc_colours(tmp_path / "colours"))
    assert annotations.content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]


def test_colours_of_vocs_palette(tmp_path):
    voc(tmp_path)
    (tmp_path / "class_names.txt").unlink()
    square, ring = square_mask()[..., None], ring_mask()[..., None]
    border = np.zeros((HEIGHT, WIDTH, 1), bool)
    border[9] = True
    void = border * [224, 224, 192]
    save_mask(tmp_path / "SegmentationClass" / "a.png", square * [192, 128, 128] + ring * [0, 0, 128] + void)
    save_mask(tmp_path / "SegmentationObject" / "a.png", square * [128, 0, 0] + ring * [0, 128, 0] + void)
    assert summary(read_annotations(tmp_path)) == [("boat", 8), ("person", 16)]


def test_void_and_background(tmp_path):
    voc(tmp_path)
    objects, classes = numbers(), numbers(cat=2, dog=1)
    objects[0], classes[0] = 255, 255  # the border of things in VOC
    objects[9, :3], classes[9, :3] = 3, 255  # nothing but void
    objects[9, 5:8] = 4  # nothing but background
    classes[1, 1:5] = 255  # a part of the cat
    classes[2, 1] = 1
    save_mask(tmp_path / "SegmentationObject" / "a.png", objects, PALETTE)
    save_mask(tmp_path / "SegmentationClass" / "a.png", classes, PALETTE)
    annotations = read_annotations(tmp_path)
    assert summary(annotations) == [("cat", 16), ("dog", 8)]
    assert annotations.skipped == {"object without a class": 2}


def test_ignored_first_line_of_the_names(tmp_path):
    voc(tmp_path)
    save_text(tmp_path / "class_names.txt", "__ignore__\n_background_\ndog\ncat\n")
    assert summary(read_annotations(tmp_path)) == [("cat", 16), ("dog", 8)]


def test_splits_and_pictures_without_masks(tmp_path):
    voc(tmp_path)
    for name in ("b", "c"):
        save_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    assert find_splits(tmp_path) == {"": tmp_path}
    assert read_annotations(tmp_path).skipped == {"picture without masks": 2}
    lists = tmp_path / "ImageSets" / "Segmentation"
    for name, text in (("train", "a\n"), ("val", "b 1\n"), ("trainval", "a\nb\n"), ("test", "")):
        save_text(lists / f"{name}.txt", text)
    assert find_splits(tmp_path) == {name: lists / f"{name}.txt" for name in ("train", "val", "test")}
    assert summary(read_annotations(tmp_path, split="train")) == [("cat", 16), ("dog", 8)]
    with pytest.raises(UserError, match=r"has no annotated pictures; check the path, --images and --format$"):
        read_annotations(tmp_path, split="val")


def test_folder_within_folders(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2012")
    assert summary(read_annotations(tmp_path)) == [("cat", 16), ("dog", 8)]


def test_old_names_of_labelmes_folders(tmp_path):
    voc(tmp_path)
    for name in ("SegmentationClass", "SegmentationObject"):
        (tmp_path / name).rename(tmp_path / f"{name}PNG")
        save_text(tmp_path / name / "a.npy", "numbers of NumPy")
    assert summary(read_annotations(tmp_path)) == [("cat", 16), ("dog", 8)]


def test_missing_pictures(tmp_path):
    voc(tmp_path)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    assert read_annotations(tmp_path).notes[0].startswith("1 of 1 pictures is not in")
    with pytest.raises(UserError, match=r"has no annotated pictures whose files exist in .*JPEGImages; "):
        read_annotations(tmp_path, skip_missing=True)


def test_class_without_a_name(tmp_path):
    voc(tmp_path)
    save_text(tmp_path / "class_names.txt", "_background_\ndog\n")
    sentence = r"^mask file .*SegmentationClass.a\.png has the class 2, which has no name; add it to class_names\.txt$"
    with pytest.raises(UserError, match=sentence):
        read_annotations(tmp_path)


def test_colour_without_a_name(tmp_path):
    voc_colours(tmp_path)
    save_text(tmp_path / "labelmap.txt", "background:0,0,0::\ncat:250,50,83::\n")
    with pytest.raises(
        UserError, match=r"a\.png has the colour 51,221,255, which is not in labelmap\.txt; correct it$"
    ):
        read_annotations(tmp_path)
    (tmp_path / "labelmap.txt").unlink()
    with pytest.raises(UserError, match=r"a\.png has the colour .*, which is not in VOC's palette; correct it$"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat", r"labelmap\.txt has the line 'cat', not one as cat:64,0,0::; correct it$"),
        ("cat:1,2::", r"labelmap\.txt has the line 'cat:1,2::', not one as"),
        (":1,2,3::", r"labelmap\.txt has the line ':1,2,3::', not one as"),
        ("cat:1,x,3::", r"labelmap\.txt, colour of cat is 'x', not a number"),
    ],
)
def test_malformed_labelmap(tmp_path, text, sentence):
    voc_colours(tmp_path)
    save_text(tmp_path / "labelmap.txt", text)
    with pytest.raises(UserError, match=sentence):
        read_annotations(tmp_path)


def test_masks_of_two_sizes(tmp_path):
    voc(tmp_path)
    save_mask(tmp_path / "SegmentationClass" / "a.png", np.ones((3, 4)), PALETTE)
    with pytest.raises(
        UserError, match=r"^mask file .*SegmentationClass.a\.png is 4 x 3 pixels, but its picture is 12 x 10"
    ):
        read_annotations(tmp_path)


def test_folder_without_masks(tmp_path):
    with pytest.raises(
        UserError, match="has no folders SegmentationClass and SegmentationObject with masks; check the path$"
    ):
        read_annotations(tmp_path, format="voc")
