import annotation_files
import numpy as np
import pytest
from annotation_files import HEIGHT, WIDTH, WITHOUT_HOLES, WRITERS, ring_mask, square_mask
from child_programs import run_child
from pycocotools import mask as mask_api

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.formats import FORMATS, Annotations, detect_format, find_splits, read_annotations


def decoded(annotations: Annotations) -> dict[str, np.ndarray]:
    """The mask of the one object of each class."""
    names = {category["id"]: category["name"] for category in annotations.content["categories"]}
    masks = {}
    for record in annotations.content["annotations"]:
        code = record["segmentation"]
        code = mask_api.merge(mask_api.frPyObjects(code, HEIGHT, WIDTH)) if isinstance(code, list) else code
        code = mask_api.frPyObjects(code, HEIGHT, WIDTH) if isinstance(code["counts"], list) else code
        masks[names[record["category_id"]]] = mask_api.decode(code).astype(bool)
    return masks


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_objects(tmp_path, name):
    format, write = WRITERS[name]
    source = write(tmp_path)
    assert detect_format(source) == format
    annotations = read_annotations(source)
    assert annotations.format == format
    assert annotations.skipped == {}
    dog = ring_mask()
    dog[7, 8] = name in WITHOUT_HOLES
    masks = decoded(annotations)
    cat_name, dog_name = ("person", "car") if name == "cityscapes" else ("cat", "dog")
    np.testing.assert_array_equal(masks[cat_name], square_mask())
    np.testing.assert_array_equal(masks[dog_name], dog)
    dataset = CocoDataset(annotations.content, annotations.image_folder)
    assert dataset.load_image(dataset.image_ids[0]).shape == (HEIGHT, WIDTH, 3)
    truth = dataset.ground_truth(dataset.image_ids[0])
    boxes = dict(zip(truth.class_names, truth.boxes.tolist()))
    assert boxes == {cat_name: [1, 1, 5, 5], dog_name: [7, 6, 10, 9]}
    assert sorted(record["area"] for record in annotations.content["annotations"]) == [dog.sum(), 16]


@pytest.mark.parametrize("name", WRITERS)
def test_splits_are_read_by_name_and_by_place(tmp_path, name):
    source = WRITERS[name][1](tmp_path)
    splits = find_splits(source)
    expected = {"yolo": "train", "cityscapes": "train", "coco": "train", "voc-colours": "default"}.get(name, "")
    assert list(splits) == [expected]
    assert splits == {"": source} or splits[expected] != source
    whole = read_annotations(source)
    place = read_annotations(splits[expected])
    assert place.content == whole.content
    assert place.image_folder.samefile(whole.image_folder)
    if expected:
        assert read_annotations(source, split=expected) == whole
        with pytest.raises(UserError, match=f"has no split summer; choose one of {expected}$"):
            read_annotations(source, split="summer")
    else:
        with pytest.raises(UserError, match="has no split summer; it has no splits$"):
            read_annotations(source, split="summer")


@pytest.mark.parametrize("name", WRITERS)
def test_pictures_may_lie_elsewhere(tmp_path, name):
    source = WRITERS[name][1](tmp_path / "source")
    folders = ("ulm", "images", "train", "JPEGImages", "source")
    files = [path for path in source.rglob("*.*") if path.parent.name in folders and "gtFine" not in path.name]
    picture = next(path for path in files if path.suffix in (".png", ".jpg"))
    (tmp_path / "elsewhere").mkdir()
    picture.rename(tmp_path / "elsewhere" / picture.name)
    annotations = read_annotations(source, images=tmp_path / "elsewhere", format=WRITERS[name][0])
    assert annotations.image_folder == tmp_path / "elsewhere"
    assert [image["file_name"] for image in annotations.content["images"]] == [picture.name]
    assert len(annotations.content["annotations"]) == 2


def test_options_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"nothing does not exist; check the path$"):
        read_annotations(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"nothing does not exist; check the path$"):
        read_annotations(tmp_path / "nothing", format="coco")
    with pytest.raises(UserError, match=r"^there is no format docx; choose one of coco, labelme, .*, cvat$"):
        read_annotations(tmp_path, format="docx")
    annotation_files.coco(tmp_path)
    with pytest.raises(UserError, match=r"^crowds is 'maybe', expected one of ask, objects, regions$"):
        read_annotations(tmp_path, crowds="maybe")
    with pytest.raises(UserError, match=r"^the folder of pictures .*nowhere does not exist; check the path$"):
        read_annotations(tmp_path, images=tmp_path / "nowhere")


def test_one_of_several_splits_has_to_be_chosen(tmp_path):
    for split in ("train", "val"):
        annotation_files.coco(tmp_path)
        annotation_files.save_text(tmp_path / "annotations" / f"{split}.json", annotation_files.coco_content())
    (tmp_path / "annotations" / "instances_train.json").unlink()
    with pytest.raises(UserError, match="has the splits train, val; choose one with --split$"):
        read_annotations(tmp_path)
    assert read_annotations(tmp_path, split="train").image_folder == tmp_path / "images" / "train"
    extra = annotation_files.coco_content(categories=[{"id": 7, "name": "pet"}, {"id": 9, "name": "hound"}])
    annotation_files.save_text(tmp_path / "annotations" / "pets_train.json", extra)
    assert list(find_splits(tmp_path)) == ["train", "val"]
    assert read_annotations(tmp_path, split="pets_train").content["categories"][0]["name"] == "pet"
    assert (
        read_annotations(tmp_path, split="training", images=tmp_path / "images").image_folder
        == tmp_path / "images" / "train"
    )


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_folder(tmp_path, format):
    with pytest.raises(UserError) as error:
        read_annotations(tmp_path, format=format)
    assert str(tmp_path) in str(error.value) and len(str(error.value).splitlines()) == 1


def test_reading_needs_no_tensorflow(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys\nimport keras_mrcnn.data.formats\nprint('tensorflow' in sys.modules)\n")
    child = run_child(program, timeout=120)
    assert (child.stdout.strip(), child.returncode) == ("False", 0), child.stderr
