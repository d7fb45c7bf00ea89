import numpy as np
import pytest
from annotation_files import save_picture, save_text
from pycocotools import mask as mask_api

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import read_annotations

LABELS = "<labels><label><name>dog</name></label><label><name>cat</name></label></labels>"
HEAD = f"<version>1.1</version><meta><task>{LABELS}</task></meta>"
TRIANGLE = "1,1;5,1;5,5"


def shape(tag="polygon", label="cat", **attributes):
    attributes = attributes or {"points": TRIANGLE}
    text = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f'<{tag} label="{label}" occluded="0" {text}></{tag}>'


def mask(rle="0, 4, 1, 4", left=7, top=6, width=3, height=3):
    return shape("mask", rle=rle, left=left, top=top, width=width, height=height)


def read(tmp_path, *shapes, image='id="0" name="a.png" width="30" height="20"', head=HEAD):
    save_picture(tmp_path / "images" / "a.png", 20, 30)
    inside = f"<image {image}>{''.join(shapes)}</image>" if image else "".join(shapes)
    save_text(tmp_path / "annotations.xml", f"<annotations>{head}{inside}</annotations>")
    return read_annotations(tmp_path, format="cvat")


def test_all_shapes(tmp_path):
    annotations = read(
        tmp_path,
        shape(),
        shape("box", xtl=1, ytl=2, xbr=4, ybr=8.5),
        shape("box", xtl=10, ytl=10, xbr=14, ybr=12, rotation=90),
        shape("ellipse", cx=20, cy=10, rx=5, ry=3),
        shape("ellipse", cx=20, cy=10, rx=5, ry=3, rotation="90.00"),
        mask(),
        *(f'<{tag} label="cat" points="1,1"/>' for tag in ("polyline", "points", "cuboid", "skeleton", "tag", "tag")),
        "<hexagon/>",
    )
    boxes = [[round(value, 1) for value in record["bbox"]] for record in annotations.content["annotations"]]
    assert boxes == [[1, 1, 4, 4], [1, 2, 3, 6.5], [11, 9, 2, 4], [15, 7, 10, 6], [17, 5, 6, 10], [7, 6, 3, 3]]
    assert annotations.skipped == {
        "polyline": 1, "points": 1, "cuboid": 1, "skeleton": 1, "tag": 2, "shape of the unknown type hexagon": 1,
    }  # fmt: skip
    assert annotations.content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    assert annotations.notes == ("2 rectangles became masks that fill them",)


def test_mask_is_counted_row_by_row(tmp_path):
    code = read(tmp_path, mask("1,2,3", width=3, height=2)).content["annotations"][0]["segmentation"]
    expected = np.zeros((20, 30))
    expected[6, 8:10] = 1
    np.testing.assert_array_equal(mask_api.decode(code), expected)
    assert read(tmp_path, mask("1,2", width=3, height=2)).content["annotations"][0]["segmentation"] == code


@pytest.mark.parametrize(
    "attributes",
    [{"rle": "0,10"}, {"rle": "-1,4"}, {"left": -1}, {"left": 28}, {"top": 18}, {"width": 0}, {"height": -3}],
)
def test_mask_that_does_not_fit(tmp_path, attributes):
    with pytest.raises(
        UserError, match=r"annotations\.xml, a\.png, mask 1 does not fit: its box must lie in the picture"
    ):
        read(tmp_path, mask(**attributes))


def test_shapes_of_a_group_are_one_object(tmp_path):
    other = {"points": "7,6;10,6;10,9"}
    annotations = read(
        tmp_path,
        shape(points=TRIANGLE, group_id=3),
        shape(group_id=3, **other),
        shape(label="dog", group_id=3, **other),
        shape(group_id=0, points="0,0;3,0;3,3"),
        shape(group_id=0, **other),
    )
    records = annotations.content["annotations"]
    assert [(record["category_id"], len(record["segmentation"])) for record in records] == [
        (2, 2),
        (1, 1),
        (2, 1),
        (2, 1),
    ]


def test_label_that_the_task_does_not_list(tmp_path):
    categories = read(tmp_path, shape(label="horse"), shape(label="cat")).content["categories"]
    assert categories == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "horse"}]


def test_pictures_of_a_project_are_in_folders(tmp_path):
    save_picture(tmp_path / "images" / "Train" / "b.png")
    annotations = read(tmp_path, image='name="b.png" subset="Train" width="12" height="10"')
    assert annotations.content["images"][0]["file_name"] == "Train/b.png"


def test_size_that_is_not_said(tmp_path):
    assert read(tmp_path, image='name="a.png"').content["images"][0]["width"] == 30


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        (shape(label=""), r"annotations\.xml, a\.png, polygon 1 lacks the attribute 'label'; export it again$"),
        (shape(points="1,1;2"), r"polygon 1, points, is not a list of pairs x,y with a ; between them"),
        (shape(points="1,1;2,x"), r"polygon 1, points is 'x', not a number"),
        (shape("box", xtl=1), r"box 1, ytl is empty, not a number"),
        (shape("ellipse", cx="nan"), r"ellipse 1, cx is 'nan', not a number"),
        (mask(rle="1;2"), r"mask 1, rle is '1;2', not a number"),
        (mask(width=2.5), r"mask 1, width is '2\.5', not a whole number"),
    ],
)
def test_malformed_shapes(tmp_path, inside, sentence):
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, inside)


def test_malformed_pictures(tmp_path):
    with pytest.raises(UserError, match=r"annotations\.xml, picture 1 lacks the attribute 'name'; export it again$"):
        read(tmp_path, image='id="0"')
    with pytest.raises(UserError, match=r"annotations\.xml, a\.png, size is 'x', not a number"):
        read(tmp_path, image='name="a.png" width="x" height="20"')
    with pytest.raises(UserError, match=r"a\.png has the bad value 0 in the field 'width'; correct it$"):
        read(tmp_path, image='name="a.png" width="0" height="20"')
    with pytest.raises(
        UserError, match=r"annotations\.xml has no pictures in CVAT's format for images; check the path$"
    ):
        read(tmp_path, image="")
    twice = '<image name="a.png" width="30" height="20"/>' * 2
    with pytest.raises(UserError, match=r"a\.png and .*a\.png are both for the picture a\.png; take one out$"):
        read(tmp_path, twice, image="")


def test_tracks_of_a_video(tmp_path):
    with pytest.raises(
        UserError, match=r"has the tracks of a video; export it from CVAT in the format 'CVAT for images"
    ):
        read(tmp_path, '<track id="0" label="cat"/>', image="")


def test_several_files(tmp_path):
    read(tmp_path, shape())
    save_text(tmp_path / "b.xml", (tmp_path / "annotations.xml").read_text())
    with pytest.raises(UserError, match=r"has 2 XML files of CVAT; name the one to read$"):
        read_annotations(tmp_path)
    assert len(read_annotations(tmp_path / "b.xml").content["annotations"]) == 1
    with pytest.raises(UserError, match=r"has no XML files of CVAT; name the one to read$"):
        read_annotations(tmp_path / "images", format="cvat")
