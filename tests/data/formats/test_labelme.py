import base64
import io

import numpy as np
import pytest
from annotation_files import SQUARE_POINTS, labelme_content, png_text, ring_mask, save_picture, save_text
from PIL import Image

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import read_annotations, save_embedded_pictures


def shape(kind="polygon", points=SQUARE_POINTS, label="cat", **fields):
    return {"label": label, "points": points, "shape_type": kind, **fields}


def read(tmp_path, *shapes, picture=True, **fields):
    if picture:
        save_picture(tmp_path / "a.png", 20, 30)
    sizes = {"imageHeight": 20, "imageWidth": 30}
    save_text(tmp_path / "a.json", labelme_content(shapes=list(shapes), **{**sizes, **fields}))
    return read_annotations(tmp_path, format="labelme")


def picture_text(height=20, width=30, format="PNG"):
    content = io.BytesIO()
    Image.new("RGB", (width, height)).save(content, format=format)
    return base64.b64encode(content.getvalue()).decode()


def test_shapes_with_an_area(tmp_path):
    annotations = read(
        tmp_path,
        shape("rectangle", [[9, 2], [4, 7]]),
        shape("rectangle", [[1, 1], [3, 1], [3, 2], [1, 2]]),  # all corners, as a variant of LabelMe has them
        shape("circle", [[20, 10], [23, 14]]),
        shape("oriented_rectangle", [[2, 10], [4, 12], [2, 14], [0, 12]]),
        shape("mask", [[7, 6], [9, 8]], mask=png_text(ring_mask()[6:9, 7:10])),
        {"label": "cat", "points": SQUARE_POINTS},  # old files say no type
    )
    records = annotations.content["annotations"]
    assert [record["bbox"] for record in records] == [
        [4, 2, 5, 5], [1, 1, 2, 1], [pytest.approx(15, abs=0.1), pytest.approx(5, abs=0.1), pytest.approx(10, abs=0.1),
        pytest.approx(10, abs=0.1)], [0, 10, 4, 4], [7, 6, 3, 3], [1, 1, 4, 4],
    ]  # fmt: skip
    assert records[0]["area"] == 25 and records[4]["area"] == 8
    assert abs(records[2]["area"] - np.pi * 25) < 5
    assert annotations.skipped == {}
    assert annotations.notes == ("2 rectangles became masks that fill them",)


def test_shapes_that_are_no_objects_are_counted(tmp_path):
    annotations = read(
        tmp_path,
        *(shape(kind, [[1, 1]]) for kind in ("point", "points", "line", "linestrip", "point")),
        shape(label="__ignore__"),
        shape(label=" _background_ "),
        shape("cuboid", [[1, 1]]),
        shape(points=[[1, 1], [2, 2]]),
        shape(points=[]),
        shape("circle", [[5, 5], [5, 5]]),
        shape(points=[[40, 1], [45, 1], [45, 5]]),  # outside
        shape(),
        shape(),
    )
    assert len(annotations.content["annotations"]) == 1
    assert annotations.skipped == {
        "point": 2, "points": 1, "line": 1, "linestrip": 1, "label __ignore__": 1, "label _background_": 1,
        "shape of the unknown type cuboid": 1, "polygon of fewer than 3 points": 2,
        "object that covers no pixel of its picture": 2, "object that is there twice": 1,
    }  # fmt: skip
    assert annotations.content["categories"] == [{"id": 1, "name": "cat"}]


def test_parts_of_a_group_are_one_object(tmp_path):
    triangle = [[10, 10], [14, 10], [14, 14]]
    mask = shape("mask", [[7, 6], [9, 8]], mask=png_text(ring_mask()[6:9, 7:10]), label="dog", group_id=1)
    annotations = read(
        tmp_path,
        shape(group_id=0),
        shape(points=triangle, group_id=0),
        shape(points=triangle, group_id=1),
        shape(points=triangle, label="dog", group_id=1),
        mask,
    )
    records = annotations.content["annotations"]
    assert [record["category_id"] for record in records] == [1, 1, 2]
    assert records[0]["segmentation"] == [[1, 1, 5, 1, 5, 5, 1, 5], [10, 10, 14, 10, 14, 14]]
    assert records[0]["bbox"] == [1, 1, 13, 13]
    assert isinstance(records[2]["segmentation"]["counts"], str)
    assert records[2]["bbox"] == [7, 6, 7, 7]


def test_crowd_regions_have_a_flag(tmp_path):
    annotations = read(tmp_path, shape(flags={"crowd": True}), shape(flags={"crowd": False}), shape(flags=None))
    assert [record["iscrowd"] for record in annotations.content["annotations"]] == [1, 0]


def test_mask_that_reaches_outside_is_cut_off(tmp_path):
    annotations = read(tmp_path, shape("mask", [[-1, -1], [1, 1]], mask=png_text(np.ones((3, 3)))))
    assert annotations.content["annotations"][0]["bbox"] == [0, 0, 2, 2]


@pytest.mark.parametrize("name", ["a.png", "./a.png", "..\\photos\\a.png", "/home/anna/a.png", "C:\\photos\\a.png"])
def test_paths_of_pictures(tmp_path, name):
    annotations = read(tmp_path, shape(), imagePath=name)
    assert annotations.content["images"][0]["file_name"] == "a.png"
    assert bool(annotations.notes) == (name not in ("a.png", "./a.png"))


@pytest.mark.parametrize("name", ["b.jpg", "a.json", "", None])
def test_wrong_paths_of_pictures(tmp_path, name):
    """The picture beside the file is meant, whatever the file calls it."""
    annotations = read(tmp_path, shape(), imagePath=name)
    assert annotations.content["images"][0]["file_name"] == "a.png"
    assert len(annotations.notes) == 1 and annotations.notes[0].endswith("was found as a.png")


def test_files_in_folders(tmp_path):
    for folder in ("one", "two"):
        save_picture(tmp_path / folder / "a.png", 20, 30)
        save_text(tmp_path / folder / "a.json", labelme_content(imageHeight=20, imageWidth=30))
    save_text(tmp_path / "settings.json", {"a": 1})
    annotations = read_annotations(tmp_path)
    assert [image["file_name"] for image in annotations.content["images"]] == ["one/a.png", "two/a.png"]
    assert annotations.skipped == {"JSON file that is not LabelMe's": 1}
    (tmp_path / "labels").mkdir()
    (tmp_path / "one" / "a.json").rename(tmp_path / "labels" / "a.json")
    content = labelme_content(imagePath="../one/a.png", imageHeight=20, imageWidth=30)
    save_text(tmp_path / "labels" / "a.json", content)
    assert read_annotations(tmp_path).content["images"][0]["file_name"] == "one/a.png"


def test_sizes_that_are_not_said(tmp_path):
    annotations = read(tmp_path, shape(), imageHeight=None, imageWidth=None)
    assert annotations.content["images"] == [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}]
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"^1 picture of .* is not in .* \(a\.png\); put what"):
        read_annotations(tmp_path)
    with pytest.raises(UserError, match=r"has no annotated pictures whose files exist in .*; check the path"):
        read_annotations(tmp_path, skip_missing=True)


def test_pictures_that_are_only_embedded(tmp_path):
    text = picture_text()
    annotations = read(tmp_path, shape(), picture=False, imageHeight=None, imageData=text[:50] + "\n" + text[50:])
    assert annotations.content["images"] == [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}]
    assert annotations.notes[0].startswith("1 picture is nowhere else than in LabelMe files, as in ")
    out = tmp_path / "pictures"
    assert save_embedded_pictures(tmp_path, out) == [out / "a.png"]
    assert save_embedded_pictures(tmp_path, out) == []  # what exists stays
    again = read_annotations(tmp_path, images=out)
    assert (again.content, again.notes) == (annotations.content, ())


def test_embedded_pictures_get_the_suffix_of_their_format(tmp_path):
    save_text(tmp_path / "deep" / "b.c.json", labelme_content(imageData=picture_text(format="JPEG")))
    save_text(tmp_path / "none.json", labelme_content())
    assert save_embedded_pictures(tmp_path, tmp_path / "out") == [tmp_path / "out" / "deep" / "b.c.jpg"]


def test_two_files_for_one_picture(tmp_path):
    read(tmp_path, shape())
    save_text(tmp_path / "b.json", labelme_content())
    sentence = r"^.*a\.json and .*b\.json are both for the picture a\.png; take one out$"
    with pytest.raises(UserError, match=sentence):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"shapes": 3}, r"a\.json has the bad value 3 in the field 'shapes'"),
        ({"imageHeight": -1}, r"a\.json has the bad value -1 in the field 'imageHeight'"),
        ({"imagePath": 3}, r"a\.json has the bad value 3 in the field 'imagePath'"),
        ({"imageData": 3}, r"a\.json has the bad value 3 in the field 'imageData'"),
        ({"imageHeight": 2**19, "imageWidth": 2**19}, r"a\.json has 524288 x 524288 pixels, which are more than"),
        ({"shapes": [3]}, r"a\.json, shape 1 is not an object with fields"),
        ({"shapes": [{}]}, r"a\.json, shape 1 lacks the field 'label'"),
        ({"shapes": [shape(label="")]}, r"a\.json, shape 1 has the bad value in the field 'label'"),
        ({"shapes": [shape(points=[[1, 2, 3]])]}, r"a\.json, shape 1 has the bad value .* in the field 'points'"),
        ({"shapes": [shape(points=[["1", 2]])]}, r"a\.json, shape 1 has the bad value .* in the field 'points'"),
        ({"shapes": [shape(points=[[1e300, 2]])]}, r"a\.json, shape 1 has the bad value .* in the field 'points'"),
        ({"shapes": [shape(group_id=[])]}, r"a\.json, shape 1 has the bad value \[\] in the field 'group_id'"),
        ({"shapes": [shape(flags=3)]}, r"a\.json, shape 1 has the bad value 3 in the field 'flags'"),
        ({"shapes": [shape("circle", [[1, 1]])]}, r"a\.json, shape 1 is a circle of 1 points, not of 2; correct it$"),
        ({"shapes": [shape("mask", [[1, 1], [2, 2]])]}, r"a\.json, shape 1 is a mask, but lacks the field 'mask'"),
        ({"shapes": [shape("mask", [[1, 1], [2, 2]], mask="!")]}, r"a\.json, shape 1, mask is not valid base64"),
        ({"shapes": [shape("mask", [[1, 1], [2, 2]], mask="AAAA")]}, r"a\.json, shape 1, mask is not an image that"),
        (
            {"shapes": [shape(points=[[0, 0], [1e9, 0], [0, 5]])]},
            r"shape 1 cannot be used \(polygon 1 has a coordinate far",
        ),
    ],
)
def test_malformed_files(tmp_path, fields, sentence):
    save_picture(tmp_path / "a.png")
    save_text(tmp_path / "a.json", labelme_content(**fields))
    with pytest.raises(UserError, match=sentence):
        read_annotations(tmp_path, format="labelme")


def test_embedded_text_that_is_no_picture(tmp_path):
    save_text(tmp_path / "a.json", labelme_content(imageHeight=None, imageData="AAAA"))
    with pytest.raises(UserError, match=r"^imageData of .*a\.json is not an image that Pillow knows"):
        read_annotations(tmp_path)
    with pytest.raises(UserError, match=r"^imageData of .*a\.json is not an image that Pillow knows"):
        save_embedded_pictures(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_without_labelme_files(tmp_path):
    save_text(tmp_path / "a.json", {"a": 1})
    with pytest.raises(UserError, match=r"has no JSON files of LabelMe; check the path$"):
        read_annotations(tmp_path, format="labelme")
