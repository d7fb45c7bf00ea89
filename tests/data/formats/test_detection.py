import annotation_files
import pytest
from annotation_files import coco_content, save_picture, save_text

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import FORMATS, detect_format
from keras_mrcnn.data.formats.listing import LOOKED_AT, files_below, has_yolo_lines, json_kind, xml_kind


def test_names_do_not_matter(tmp_path):
    """What is in a file tells its format, not its name or that of its folder."""
    annotation_files.cvat(tmp_path / "coco" / "labels")
    assert detect_format(tmp_path / "coco") == "cvat"
    save_text(tmp_path / "labelme" / "masks" / "yolo.data", coco_content())
    assert detect_format(tmp_path / "labelme" / "masks" / "yolo.data") == "coco"


@pytest.mark.parametrize("name", ["labelme", "labelme-xml", "via", "via-csv", "cvat", "coco"])
def test_single_files(tmp_path, name):
    format, write = annotation_files.WRITERS[name]
    write(tmp_path)
    suffix = {"labelme-xml": ".xml", "via-csv": ".csv", "cvat": ".xml"}.get(name, ".json")
    assert detect_format(files_below(tmp_path, (suffix,))[0]) == format


def test_files_that_are_cut_off_are_recognised(tmp_path):
    for name in ("labelme", "via", "coco"):
        annotation_files.WRITERS[name][1](tmp_path / name)
        path = files_below(tmp_path / name, (".json",))[0]
        path.write_text(path.read_text()[:-20])
        assert detect_format(tmp_path / name) == name


def test_only_both_ends_of_a_file_are_read(tmp_path):
    image = {"id": 1, "file_name": "a.jpg", "height": 1, "width": 1}
    many = LOOKED_AT // 10
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}
    kind = {"id": 1, "name": "cat"}
    for order in (("info", "images", "annotations", "categories"), ("annotations", "images", "categories"),
                  ("categories", "annotations", "images"), ("images", "categories", "annotations")):  # fmt: skip
        values = {"info": {}, "images": [image] * many, "annotations": [box] * many, "categories": [kind] * many}
        assert json_kind(save_text(tmp_path / "a.json", {key: values[key] for key in order})) == "coco"
    data = "A" * 3 * LOOKED_AT
    assert json_kind(save_text(tmp_path / "a.json", {"imageData": data, "shapes": [], "imagePath": "a"})) == "labelme"
    assert json_kind(save_text(tmp_path / "a.json", {"shapes": [], "imageData": data, "imageHeight": 3})) == "labelme"


@pytest.mark.parametrize(
    "content", [{}, [], {"images": []}, {"shapes": []}, [{"image_id": 1, "category_id": 2, "score": 1}]]
)
def test_json_of_other_kinds(tmp_path, content):
    path = save_text(tmp_path / "a.json", content)
    assert json_kind(path) is None
    with pytest.raises(UserError) as error:
        detect_format(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} has no annotations in a format that is known ({', '.join(FORMATS)}); say which with --format"
    )


def test_xml_of_other_kinds(tmp_path):
    assert xml_kind(save_text(tmp_path / "a.xml", "<html><polygon/></html>")) is None
    assert xml_kind(save_text(tmp_path / "a.xml", "<annotations/>")) is None
    assert xml_kind(save_text(tmp_path / "a.xml", "<!-- CVAT --><annotations><meta/></annotations>")) == "cvat"
    save_text(tmp_path / "a.xml", "<annotation><size/><object><bndbox/></object></annotation>")
    for source in (tmp_path, tmp_path / "a.xml"):
        with pytest.raises(UserError, match=r"has boxes of Pascal VOC, which say no masks; export masks or polygons$"):
            detect_format(source)


def test_lines_of_yolo(tmp_path):
    for text, expected in (("0 0.1 0.2 0.3 0.4\n", True), ("", False), ("0 1 2 3", False), ("cat 1 2 3 4", False),
                           ("0 1 2 3 x", False), ("0 1 2 3 nan", False), ("\n3 1 2 3 4 5 6\n", True)):  # fmt: skip
        assert has_yolo_lines(save_text(tmp_path / "a.txt", text)) is expected


def test_several_formats(tmp_path):
    annotation_files.labelme(tmp_path)
    annotation_files.labelme_xml(tmp_path)
    with pytest.raises(
        UserError, match=r"has annotations in several formats \(labelme, labelme-xml\); say which with --format$"
    ):
        detect_format(tmp_path)


def test_folders_further_down_do_not_matter(tmp_path):
    annotation_files.coco(tmp_path)
    annotation_files.labelme(tmp_path / "old" / "export")
    assert detect_format(tmp_path) == "coco"


def test_sources_that_are_no_annotations(tmp_path):
    with pytest.raises(UserError, match=r"nothing does not exist; check the path$"):
        detect_format(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"x does not exist; check the path$"):
        detect_format(tmp_path / ("x" * 5000))
    with pytest.raises(UserError, match="has no annotations in a format that is known"):
        detect_format(tmp_path)
    with pytest.raises(UserError, match="has no annotations in a format that is known"):
        detect_format(save_picture(tmp_path / "a.png"))
    path = tmp_path / "export.zip"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"export\.zip is a zip archive; unpack it and name the folder$"):
        detect_format(path)


def test_listing(tmp_path):
    for name in (
        "b.TXT",
        "a.txt",
        "c.png",
        ".hidden.txt",
        "sub/d.txt",
        "sub/deep/e.txt",
        ".git/f.txt",
        "__MACOSX/g.txt",
    ):
        save_text(tmp_path / name, "")
    names = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, (".txt",))]
    assert names == ["a.txt", "b.TXT", "sub/d.txt", "sub/deep/e.txt"]
    assert len(files_below(tmp_path, (".txt",), deepest=0)) == 2
    assert len(files_below(tmp_path, (".txt",), deepest=1)) == 3
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "sub" / "deep")
    assert len(files_below(tmp_path, (".txt",))) == 4
