import json

import pytest
from annotation_files import SQUARE, save_picture, save_text, via_csv, via_region

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import read_annotations

POLYGON = {"name": "polygon", "all_points_x": SQUARE[::2], "all_points_y": SQUARE[1::2]}
RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


def read(tmp_path, *regions, project=False, **options):
    save_picture(tmp_path / "a.png", 20, 30)
    content = {"a.png7": {"filename": "a.png", "size": 7, "file_attributes": {}, "regions": list(regions)}}
    if project:
        content = {"_via_settings": {}, "_via_attributes": {"region": {}}, "_via_img_metadata": content}
    save_text(tmp_path / "via.json", content)
    return read_annotations(tmp_path, format="via", **options)


def names(annotations):
    return [category["name"] for category in annotations.content["categories"]]


@pytest.mark.parametrize("project", [False, True])
def test_all_shapes(tmp_path, project):
    shapes = [
        POLYGON,
        RECT,
        {"name": "circle", "cx": 20, "cy": 10, "r": 5},
        {"name": "ellipse", "cx": 10, "cy": 10, "rx": 4, "ry": 2, "theta": 1.5707963267948966},
        {"name": "ellipse", "cx": 10, "cy": 10, "rx": 4, "ry": 2},
        {"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]},
        {"name": "point", "cx": 1, "cy": 1},
        {"name": "star"},
    ]
    annotations = read(tmp_path, *(via_region(shape, label="cat") for shape in shapes), project=project)
    boxes = [[round(value) for value in record["bbox"]] for record in annotations.content["annotations"]]
    assert boxes == [[1, 1, 4, 4], [1, 2, 3, 4], [15, 5, 10, 10], [8, 6, 4, 8], [6, 8, 8, 4]]
    assert annotations.skipped == {"polyline": 1, "point": 1, "shape of the unknown type star": 1}
    assert annotations.notes == ("1 rectangle became a mask that fills it",)
    assert annotations.content["images"] == [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}]


def test_regions_of_via_1_have_keys(tmp_path):
    save_picture(tmp_path / "a.png")
    regions = {"0": via_region(POLYGON, name="cat"), "1": via_region(RECT, name="dog")}
    save_text(tmp_path / "via.json", {"a.png7": {"filename": "a.png", "regions": regions, "fileref": ""}})
    assert names(read_annotations(tmp_path)) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"anything": "cat"}, "cat"),
        ({"colour": "red", "Label": " cat\n"}, "cat"),
        ({"type": "big", "class": "cat"}, "cat"),
        ({"label": {"cat": True, "dog": False}}, "cat"),
        ({"label": 3}, "3"),
    ],
)
def test_class_attribute(tmp_path, attributes, expected):
    annotations = read(tmp_path, via_region(POLYGON, **attributes))
    assert names(annotations) == [expected]
    assert len(annotations.notes) == (len(attributes) > 1)


def test_note_about_the_class_attribute(tmp_path):
    annotations = read(tmp_path, via_region(POLYGON, colour="red", name="cat"))
    assert annotations.notes == ("the class of a region is its attribute 'name'; not used: colour",)


def test_attributes_of_which_none_is_known(tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, via_region(POLYGON, colour="red", form="round"))
    assert str(error.value) == (
        f"the regions of {tmp_path / 'via.json'} have the attributes colour, form, and none is called name, label, "
        "labels, class, type; give that with the class one of these names in VIA"
    )


def test_regions_without_attributes_are_of_one_class(tmp_path):
    annotations = read(tmp_path, via_region(POLYGON))
    assert names(annotations) == ["object"]
    assert annotations.notes == ("the regions have no attributes, so all are of one class, called 'object'",)


def test_regions_without_a_class_are_counted(tmp_path):
    labels = ({}, {"label": ""}, {"label": None}, {"label": {"cat": False}}, {"label": "cat"})
    annotations = read(tmp_path, *(via_region(POLYGON, **label) for label in labels))
    assert annotations.skipped == {"region without a class": 4}
    assert len(annotations.content["annotations"]) == 1


def test_pictures_without_regions(tmp_path):
    annotations = read(tmp_path)
    assert len(annotations.content["images"]) == 1 and annotations.content["annotations"] == []


def test_missing_pictures(tmp_path):
    entries = {f"{n}.png7": {"filename": f"{n}.png", "regions": [via_region(RECT, name="cat")]} for n in range(3)}
    path = save_text(tmp_path / "via.json", entries)
    save_picture(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"^2 pictures of .*via\.json are not in .* \(0\.png and others\); put"):
        read_annotations(path)
    annotations = read_annotations(path, skip_missing=True)
    assert annotations.skipped == {"missing picture": 2}
    assert annotations.content["images"] == [{"id": 1, "file_name": "1.png", "height": 10, "width": 12}]


def test_json_is_preferred_to_the_same_as_csv(tmp_path):
    via_csv(tmp_path)
    read(tmp_path, via_region(RECT, label="horse"))
    assert names(read_annotations(tmp_path)) == ["horse"]
    save_text(tmp_path / "b.json", {"a.png7": {"filename": "a.png", "regions": [], "file_attributes": {}}})
    with pytest.raises(UserError, match=r"has 2 files of VIA \(b\.json, via\.json\); name the one to read$"):
        read_annotations(tmp_path)


def test_csv_of_via_1_and_pictures_without_regions(tmp_path):
    via_csv(tmp_path)
    text = (tmp_path / "via.csv").read_text().replace("filename,", "#filename,", 1)
    save_picture(tmp_path / "b.png")
    save_text(tmp_path / "via.csv", text + 'b.png,7,"{}",0,0,"{}","{}"\n')
    content = read_annotations(tmp_path).content
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    assert {record["image_id"] for record in content["annotations"]} == {1}


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        (3, r"via\.json, a\.png7, region 0 is not an object with fields"),
        ({"shape_attributes": {}}, r"region 0 lacks the field 'region_attributes'"),
        (via_region([]), r"region 0 has the bad value \[\] in the field 'shape_attributes'"),
        (via_region({}), r"region 0 lacks the field 'name'"),
        (via_region({"name": "rect", "x": 1}), r"region 0 lacks the field 'y'"),
        (via_region({**RECT, "width": "3"}), r"region 0 has the bad value 3 in the field 'width'"),
        (
            via_region({**POLYGON, "all_points_x": [1, None, 2]}),
            r"region 0 has the bad value .* in the field 'all_points_x'",
        ),
        (via_region({**POLYGON, "all_points_x": [1, 2, 3]}), r"region 0 has 3 values of x and 4 of y; correct it$"),
        (via_region(RECT, label=[]), r"region 0 has the bad value \[\] in the field 'label'"),
        (via_region(RECT, label={"cat": True, "dog": True}), r"region 0 is of several classes, cat and dog; mark one"),
        (
            via_region({**RECT, "x": 1e12}, label="cat"),
            r"region 0 cannot be used \(polygon 1 has a coordinate far outside",
        ),
    ],
)
def test_malformed_regions(tmp_path, region, sentence):
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, region)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], r"via\.json is not an object with fields"),
        ({"a": 3}, r"via\.json, a is not an object with fields"),
        ({"a": {"regions": []}}, r"via\.json, a lacks the field 'filename'"),
        ({"a": {"filename": "a.png", "regions": 3}}, r"via\.json, a has the bad value 3 in the field 'regions'"),
        ({"_via_img_metadata": 3}, r"_via_img_metadata is not an object with fields"),
    ],
)
def test_malformed_files(tmp_path, content, sentence):
    path = save_text(tmp_path / "via.json", json.dumps(content))
    with pytest.raises(UserError, match=sentence):
        read_annotations(path, format="via")


def test_malformed_csv(tmp_path):
    via_csv(tmp_path)
    text = (tmp_path / "via.csv").read_text()
    save_text(tmp_path / "via.csv", text.replace('"{""name', '"{name', 1))
    with pytest.raises(
        UserError, match=r"via\.csv, row 2, region_shape_attributes is not valid JSON \(.+\); export it again$"
    ):
        read_annotations(tmp_path)
    save_text(tmp_path / "via.csv", text.replace("a.png", "", 1))
    with pytest.raises(UserError, match=r"via\.csv, row 2 has the bad value .*in the field 'filename'"):
        read_annotations(tmp_path)
