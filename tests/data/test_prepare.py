"""A data set is checked and written; problems are those of the check; nothing of anybody else's is touched."""

import copy
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_tiny
from damaged_annotations import damaged
from prepared_folders import files, one_sentence, times

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.check import DataError, check_dataset, drop_bad
from keras_mrcnn.data.coco import CocoDataset, load_annotations
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.data.storage import join


def lines(error):
    """The problems that an error lists."""
    first, *others = str(error.value).splitlines()
    assert f"{len(others)} problems; mend them, or leave them out with --skip-bad" in first
    return others


def test_folder_that_is_written(tiny_coco, tmp_path):
    annotations, images, content = tiny_coco
    steps = []
    data = prepare_dataset(
        annotations, images, tmp_path / "new" / "out", mask_size=8, progress=lambda *step: steps.append(step)
    )
    assert isinstance(data, PreparedDataset) and data.mask_size == 8
    assert steps == [(0, 4), (4, 4)]
    manifest = data.manifest
    (shard,) = manifest["shards"]
    assert shard["file"] == f"{manifest['key'][:8]}-00000-of-00001.tfrecord" and shard["images"] == 4
    shards = [f"shards/{shard['file']}", f"shards/{shard['file']}.json"]
    small = ["annotations.json", "index.safetensors", "manifest.json", "preparing.json"]
    assert sorted(files(tmp_path / "new" / "out")) == [*small, *shards]
    assert (manifest["images"], manifest["objects"], manifest["left_out"], manifest["version"]) == (4, 4, {}, 1)
    assert manifest["categories"] == [{"id": 7, "name": "kite"}, {"id": 18, "name": "dog"}]
    assert load_annotations(tmp_path / "new" / "out" / "annotations.json") == content


def test_content_instead_of_a_file(tiny_coco, tmp_path):
    _, images, content = tiny_coco
    before = copy.deepcopy(content)
    data = prepare_dataset(content, images, tmp_path / "out")
    assert content == before
    assert data.image_ids.tolist() == [3, 5, 8, 9]
    time_of = times(tmp_path / "out")
    assert prepare_dataset(content, images, tmp_path / "out").class_names == ("kite", "dog")
    assert times(tmp_path / "out") == time_of
    content["annotations"][0]["category_id"] = 7
    data = prepare_dataset(content, images, tmp_path / "out")
    assert data.ground_truth(3).labels.tolist() == [1, 1]


def test_codes_as_pycocotools_returns_them(tiny_coco, tmp_path):
    _, images, content = tiny_coco
    plain = prepare_dataset(content, images, tmp_path / "plain")
    dataset = CocoDataset(content, images)
    for annotation in content["annotations"]:
        annotation["segmentation"] = dataset.coco.annToRLE(annotation)  # its counts are bytes
    data = prepare_dataset(content, images, tmp_path / "codes")
    for image_id in (3, 5, 8):
        np.testing.assert_array_equal(data.ground_truth(image_id).masks, plain.ground_truth(image_id).masks)
    assert len(data.coco.anns) == 5


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", "preparing.json", "shards/00000-of-00001.tfrecord"])
@pytest.mark.parametrize("content", ["mine", "{}", "[]"])
def test_folder_that_holds_something_else_is_refused_and_untouched(tiny_coco, tmp_path, name, content):
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(content)
    before = times(folder)
    with pytest.raises(UserError) as error:
        prepare_dataset(*tiny_coco[:2], folder)
    one_sentence(error, f"{folder} holds files that are not prepared data; name an empty folder, or one to make")
    assert files(folder) == {name: content.encode()} and times(folder) == before


def test_folder_of_the_images_is_refused_and_untouched(tiny_coco):
    annotations, images, _ = tiny_coco
    before = files(images.parent)
    for folder in (images, images.parent):
        with pytest.raises(UserError, match="holds files that are not prepared data"):
            prepare_dataset(annotations, images, folder)
    assert files(images.parent) == before


def test_folder_that_cannot_be_written_is_one_sentence(tiny_coco, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError) as error:
            prepare_dataset(*tiny_coco[:2], folder)
        one_sentence(error, f"{folder} cannot be written (", "; name another folder or make room")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_one_sentence(tiny_coco, tmp_path):
    (tmp_path / "out").mkdir(mode=0o555)
    with pytest.raises(UserError) as error:
        prepare_dataset(*tiny_coco[:2], tmp_path / "out" / "data")
    one_sentence(error, "cannot be written")


def spoiled(tiny_coco):
    """The data set with a problem of every kind but those that cannot be skipped. Returns the content."""
    annotations, images, content = tiny_coco
    (images / "image5.png").write_text("no picture")
    rows = content["annotations"]
    rows[0].update(bbox=[0, 0, 0, 0], segmentation=[], category_id=99)
    rows.append({**rows[1], "id": 20, "segmentation": [[1, 2, 3]]})
    rows.append({**rows[1], "id": 21, "bbox": [70, 10, 5, 5]})
    rows.append({**rows[1], "segmentation": [[1, 2, 3]]})
    rows.append({**rows[1], "id": 22, "image_id": 77})
    rows.append({**rows[1], "id": 23, "image_id": 10})
    rows.append({**rows[2], "id": 24, "segmentation": []})
    rows.append("annotation")
    content["images"] += [
        {"id": 10, "file_name": "image10.png"},
        {"id": 11, "file_name": "image11.png", "height": 5, "width": 5},
        {"id": 9, "file_name": "image9.png", "height": 50, "width": 50},
        {"id": 12, "file_name": "image9.png", "height": 51, "width": 50},
    ]
    content["categories"].append({"id": 7, "name": "again"})
    annotations.write_text(json.dumps(content))
    return content


def test_problems_are_those_of_the_check(tiny_coco, tmp_path):
    annotations, images, _ = tiny_coco
    spoiled(tiny_coco)
    wanted = check_dataset(annotations, images)
    assert len({problem.kind for problem in wanted}) == 10
    for _ in range(2):  # the second time from the shards that are there
        with pytest.raises(DataError) as error:
            prepare_dataset(annotations, images, tmp_path / "out")
        assert str(error.value).startswith(f"{annotations}: {len(wanted)} problems; mend them, or leave them out")
        assert sorted(lines(error)) == sorted(map(str, wanted))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_skip_bad_leaves_out_and_counts(tiny_coco, tmp_path):
    annotations, images, _ = tiny_coco
    spoiled(tiny_coco)
    cleaned, counts = drop_bad(annotations, images, check_dataset(annotations, images))
    data = prepare_dataset(annotations, images, tmp_path / "out", skip_bad=True)
    assert data.manifest["left_out"] == counts
    assert load_annotations(tmp_path / "out" / "annotations.json") == cleaned
    plain = CocoDataset(cleaned, images)
    assert data.image_ids.tolist() == plain.image_ids == [3, 8, 9]
    assert data.class_names == plain.class_names
    for image_id in plain.image_ids:
        np.testing.assert_array_equal(data.ground_truth(image_id).boxes, plain.ground_truth(image_id).boxes)
    assert data.manifest["objects"] == sum(data.index["num_objects"]) == len(plain.coco.anns)
    # The same again is there; without the leave to skip, it is not.
    before = times(tmp_path / "out")
    prepare_dataset(annotations, images, tmp_path / "out", skip_bad=True)
    assert times(tmp_path / "out") == before
    with pytest.raises(DataError):
        prepare_dataset(annotations, images, tmp_path / "out")
    prepare_dataset(annotations, images, tmp_path / "out", skip_bad=True)


@pytest.mark.parametrize("kind", ["duplicate name", "no annotations"])
def test_what_cannot_be_skipped(tiny_coco, tmp_path, kind):
    annotations, images, content = tiny_coco
    if kind == "duplicate name":
        content["categories"].append({"id": 8, "name": "dog"})
    else:
        content["annotations"] = []
    annotations.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"{kind}: .*; this cannot be skipped") as error:
        prepare_dataset(annotations, images, tmp_path / "out", skip_bad=True)
    assert "\n" not in str(error.value)


def test_nothing_is_left(tiny_coco, tmp_path):
    annotations, images, content = tiny_coco
    for record in content["images"]:
        (images / record["file_name"]).unlink()
    with pytest.raises(DataError, match="nothing is left in 'images'"):
        prepare_dataset(annotations, images, tmp_path / "out", skip_bad=True)


def test_annotation_file_that_cannot_be_read(tiny_coco, tmp_path):
    _, images, _ = tiny_coco
    with pytest.raises(UserError, match="no.json does not exist; check the path"):
        prepare_dataset(tmp_path / "no.json", images, tmp_path / "out")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="bad.json is not valid JSON"):
        prepare_dataset(tmp_path / "bad.json", images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_annotations_are_refused_as_the_check_refuses_them(tiny_coco, tmp_path):
    annotations, images, _ = tiny_coco
    good = 0
    for seed in range(100):
        annotations.write_text(json.dumps(damaged(seed)))
        problems = check_dataset(annotations, images)
        try:
            prepare_dataset(annotations, images, tmp_path / str(seed), mask_size=2)
        except DataError as error:
            assert sorted(str(error).splitlines()[1:]) == sorted(map(str, problems)), seed
        except UserError as error:
            assert [str(error)] == [problem.message for problem in problems], seed
        else:
            assert not problems, seed
            good += 1
    assert 0 < good < 50


def test_another_file_system(tiny_coco):
    """Folders are named by URLs of any file system that TensorFlow knows; this one is in memory."""
    annotations, images, _ = tiny_coco
    folder = f"ram://{images.parent.name}/out"
    data = prepare_dataset(annotations, images, folder, mask_size=8)
    plain = CocoDataset(annotations, images)
    for image_id in plain.image_ids:
        np.testing.assert_array_equal(data.load_image(image_id), plain.load_image(image_id))
    assert len(data.coco.anns) == 5
    data.check()
    assert PreparedDataset(folder, class_names=["dog"]).ground_truth(3).labels.tolist() == [1]
    # Other data replaces it there, too.
    assert prepare_dataset(annotations, images, folder, mask_size=4).ground_truth(3).masks.shape == (2, 4, 4)
    assert len(tf.io.gfile.listdir(join(folder, "shards"))) == 2


def test_odd_names_of_folders(tmp_path):
    """Names of files and folders with characters that patterns of file names give a meaning to."""
    folder = tmp_path / "[odd] *names?"
    folder.mkdir()
    files_of = write_tiny(folder)
    data = prepare_dataset(*files_of[:2], folder / "out [1]")
    assert len(prepare_dataset(*files_of[:2], folder / "out [1]", mask_size=4)) == len(data) == 4
    assert len(list((folder / "out [1]" / "shards").iterdir())) == 2


def test_ids_that_do_not_rise(tmp_path):
    """Records come in the order of the ids, whatever that of the file is."""
    annotations, images, content = write_tiny(tmp_path)
    content["images"].reverse()
    annotations.write_text(json.dumps(content))
    data = prepare_dataset(annotations, images, tmp_path / "out")
    assert data.image_ids.tolist() == [3, 5, 8, 9]
    assert [len(data.ground_truth(image_id)) for image_id in data.image_ids] == [2, 1, 1, 0]
