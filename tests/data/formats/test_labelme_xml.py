import numpy as np
import pytest
from annotation_files import HEIGHT, WIDTH, ring_mask, save_mask, save_picture, save_text

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import read_annotations

TRIANGLE = [(1, 1), (5, 1), (5, 5)]
SIZE = f"<imagesize><nrows>{HEIGHT}</nrows><ncols>{WIDTH}</ncols></imagesize>"


def polygon(points=TRIANGLE):
    return "<polygon>" + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points) + "</polygon>"


def thing(number, inside, name="cat", more=""):
    return f"<object><name>{name}</name><id>{number}</id>{inside}{more}</object>"


def read(tmp_path, *things, file_name="a.png", folder="", size=SIZE, place="a.xml"):
    save_picture(tmp_path / "a.png")
    text = f"<annotation><filename>{file_name}</filename><folder>{folder}</folder>{size}{''.join(things)}</annotation>"
    save_text(tmp_path / place, text)
    return read_annotations(tmp_path, format="labelme-xml")


def test_polygons_and_what_is_no_object(tmp_path):
    annotations = read(
        tmp_path,
        thing(0, polygon()),
        thing(1, polygon(), more="<deleted>1</deleted>"),
        thing(2, "", name="dog"),
        thing(3, polygon([(1, 1), (2, 2)])),
        thing(4, polygon([(6.5, 1), (9, 1), (9, 4), (6.5, 4)]), more="<type>bounding_box</type>"),
    )
    assert [record["bbox"] for record in annotations.content["annotations"]] == [[1, 1, 4, 4], [6.5, 1, 2.5, 3]]
    assert annotations.skipped == {
        "deleted object": 1, "object without a polygon or a mask": 1, "polygon of fewer than 3 points": 1,
    }  # fmt: skip
    assert annotations.notes == ("1 rectangle became a mask that fills it",)


@pytest.mark.parametrize("place", ["Masks/m.png", "m.png"])
@pytest.mark.parametrize("colours", [False, True])
def test_masks_are_files(tmp_path, place, colours):
    mask = ring_mask()
    values = np.dstack([mask * 0, mask * 203, mask * 255, mask * 153]) if colours else mask * 1
    save_mask(tmp_path / place, values)
    annotations = read(tmp_path, thing(0, "<segm><mask>m.png</mask></segm>"))
    assert annotations.content["annotations"][0]["area"] == 8


def test_folders_as_labelme_has_them(tmp_path):
    save_picture(tmp_path / "Images" / "street" / "a.png")
    save_mask(tmp_path / "Masks" / "street" / "m.png", ring_mask() * 1)
    things = thing(0, "<segm><mask>m.png</mask></segm>")
    text = f"<annotation><filename>a.png</filename><folder>street</folder>{things}</annotation>"
    save_text(tmp_path / "Annotations" / "street" / "a.xml", text)
    annotations = read_annotations(tmp_path / "Annotations")
    assert annotations.image_folder == tmp_path / "Images"
    assert annotations.content["images"] == [{"id": 1, "file_name": "street/a.png", "height": HEIGHT, "width": WIDTH}]


def test_parts_with_the_name_of_their_owner_are_one_object(tmp_path):
    other = polygon([(7, 6), (10, 6), (10, 9)])
    annotations = read(
        tmp_path,
        thing(0, polygon(), more="<parts><hasparts>1,2</hasparts><ispartof></ispartof></parts>"),
        thing(1, other, more="<parts><hasparts></hasparts><ispartof>0</ispartof></parts>"),
        thing(2, other, name="wheel"),
        thing(3, other),
    )
    records = annotations.content["annotations"]
    assert [(record["category_id"], len(record["segmentation"])) for record in records] == [(1, 2), (2, 1), (1, 1)]


def test_objects_without_a_number_are_objects_of_their_own(tmp_path):
    other = polygon([(7, 6), (10, 6), (10, 9)])
    parts = "<parts><ispartof>7</ispartof></parts>"
    things = [
        thing("", polygon()),
        thing("", other),
        thing(7, polygon([(0, 0), (3, 0), (3, 3)])),
        thing(8, other, more=parts),
    ]
    assert len(read(tmp_path, *things).content["annotations"]) == 3


@pytest.mark.parametrize("name", ["b.png", "a", ""])
def test_wrong_name_of_the_picture(tmp_path, name):
    annotations = read(tmp_path, thing(0, polygon()), file_name=name)
    assert annotations.content["images"][0]["file_name"] == "a.png"
    assert annotations.notes[0].endswith("was found as a.png")


def test_parts_in_a_circle(tmp_path):
    parts = ["<parts><ispartof>1</ispartof></parts>", "<parts><ispartof>0</ispartof></parts>"]
    annotations = read(tmp_path, thing(0, polygon(), more=parts[0]), thing(1, polygon(), more=parts[1]))
    assert len(annotations.content["annotations"]) >= 1


def test_size_that_is_not_said(tmp_path):
    annotations = read(tmp_path, thing(0, polygon()), size="")
    assert annotations.content["images"][0]["height"] == HEIGHT


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        (thing(7, polygon(), name=" "), "a.xml, object 7 has no name; give it one, or take it out$"),
        (thing(7, polygon([("x", 1)])), "a.xml, object 7, x is 'x', not a number"),
        (thing(7, polygon([("", 1)])), "a.xml, object 7, x is empty, not a number"),
        (
            thing(7, "<segm><mask>no.png</mask></segm>"),
            "object 7 has the mask no.png, which does not exist; put it into",
        ),
        ("<imagesize><nrows>1.5</nrows><ncols>3</ncols></imagesize>", "a.xml, imagesize is '1.5', not a whole number"),
    ],
)
def test_malformed_files(tmp_path, inside, sentence):
    size = inside if inside.startswith("<imagesize>") else SIZE
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, inside, size=size)


def test_masks_never_lead_elsewhere(tmp_path):
    save_mask(tmp_path / "secret.png", ring_mask() * 1)
    with pytest.raises(UserError, match=r"object 0 has the mask \.\./\.\./secret\.png, which does not exist"):
        read(tmp_path / "in" / "deep" / "er", thing(0, "<segm><mask>../../secret.png</mask></segm>"))


def test_mask_of_another_size(tmp_path):
    save_mask(tmp_path / "m.png", np.ones((3, 4)))
    with pytest.raises(UserError, match=r"^mask file .*m\.png is 4 x 3 pixels, but its picture is 12 x 10; replace"):
        read(tmp_path, thing(0, "<segm><mask>m.png</mask></segm>"))


def test_other_xml_files(tmp_path):
    save_text(tmp_path / "other.xml", "<html/>")
    assert read(tmp_path, thing(0, polygon())).skipped == {"XML file that is not LabelMe's": 1}
    with pytest.raises(
        UserError, match=r"other\.xml begins with <html>, not with LabelMe's <annotation>; check the path$"
    ):
        read_annotations(tmp_path / "other.xml", format="labelme-xml")
