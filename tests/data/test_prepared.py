import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from prepared_folders import one_sentence
from safetensors.numpy import save

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.check import DataError
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.prepared import PreparedDataset, is_prepared, open_dataset, read_manifest

MEND = "delete the folder and prepare the data again"


@pytest.fixture
def folder(tiny_prepared, tmp_path):
    """A copy of the prepared data, free to be damaged."""
    shutil.copytree(tiny_prepared, tmp_path / "prepared")
    return tmp_path / "prepared"


def change_manifest(folder, **changes):
    manifest = {**json.loads((folder / "manifest.json").read_text()), **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def shard_of(folder):
    (shard,) = (folder / "shards").glob("*.tfrecord")
    return shard


def test_is_the_data_set_that_was_prepared(tiny, tiny_coco):
    plain = CocoDataset(*tiny_coco[:2])
    assert (tiny.class_names, tiny.category_ids, len(tiny)) == (plain.class_names, plain.category_ids, 4)
    assert tiny.image_ids.tolist() == plain.image_ids
    assert tiny.image_sizes.tolist() == plain.image_sizes.tolist() == tiny.size_table.numpy().tolist()
    assert tiny.index["num_objects"].tolist() == [2, 1, 1, 0]
    for image_id in plain.image_ids:
        np.testing.assert_array_equal(tiny.load_image(image_id), plain.load_image(image_id))
        assert tiny.annotations(image_id) == plain.annotations(image_id)
        assert tiny.file_name(image_id) == plain.file_name(image_id)
        found, wanted = tiny.ground_truth(image_id), plain.ground_truth(image_id, 8)
        for name in ("boxes", "labels", "masks"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
        assert (found.class_names, tuple(found.image_size)) == (wanted.class_names, tuple(wanted.image_size))
    assert tiny.ground_truth(3, mask_size=0).masks is None
    assert len(tiny.coco.anns) == 5  # the crowd region is there for COCOeval


def test_sample_in_a_graph(tiny):
    sample = tf.function(tiny.sample, input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
    for row, image_id in enumerate([3, 5, 8, 9]):
        fields = sample(row)
        assert fields["image_id"] == image_id
        np.testing.assert_array_equal(fields["image"], tiny.load_image(image_id))
    assert set(fields) == {"image", "boxes", "labels", "masks", "image_id"}
    assert {"frames", "starts", "cells"} < set(tiny.sample(tf.constant(0, tf.int64), fine=True))


@pytest.mark.parametrize(
    ("names", "labels", "category_ids"),
    [(["kite"], [[1], [1], [], []], (7,)), (["dog"], [[1], [], [1], []], (18,)),
     (["dog", "kite"], [[2, 1], [1], [2], []], (7, 18)), ([], [[], [], [], []], ())],
)  # fmt: skip
def test_objects_of_chosen_classes(tiny_prepared, names, labels, category_ids):
    data = PreparedDataset(tiny_prepared, class_names=names)
    assert data.category_ids == category_ids
    assert [data.ground_truth(image_id).labels.tolist() for image_id in data.image_ids] == labels
    for row, expected in enumerate(labels):
        fields = data.sample(tf.constant(row, tf.int64), fine=True)
        assert fields["labels"].numpy().tolist() == expected
        assert {len(fields[name]) for name in ("boxes", "masks", "frames", "starts")} == {len(expected)}
        assert len(data.annotations(data.image_ids[row])) == len(expected)


def test_fine_masks_of_a_chosen_class_are_its_own(tiny_prepared):
    every, dogs = (PreparedDataset(tiny_prepared, names).sample(tf.constant(0, tf.int64), fine=True)
                   for names in (None, ["dog"]))  # fmt: skip
    for name in ("boxes", "masks", "frames", "starts"):
        np.testing.assert_array_equal(dogs[name], every[name][:1])


def test_unknown_class_is_named(tiny_prepared):
    with pytest.raises(ValueError) as error:
        PreparedDataset(tiny_prepared, class_names=["dog", "cat"])
    one_sentence(error, f"class_names has 'cat', which {tiny_prepared} does not; it has kite, dog")


@pytest.mark.parametrize("channels", [1, 4])
def test_channels(tiny_prepared, tiny_coco, channels):
    data, plain = PreparedDataset(tiny_prepared, channels=channels), CocoDataset(*tiny_coco[:2], channels=channels)
    np.testing.assert_array_equal(data.load_image(3), plain.load_image(3))


def test_unknown_image_is_named(tiny):
    for image_id in (4, 10, -1):
        with pytest.raises(UserError) as error:
            tiny.load_image(image_id)
        one_sentence(error, tiny.folder, f"has no image with the id {image_id}")


def test_key_is_that_of_what_training_reads(tiny_prepared, folder):
    whole = PreparedDataset(tiny_prepared).key
    assert len(whole) == 64 and set(whole) <= set("0123456789abcdef")
    assert PreparedDataset(folder, class_names=["dog"]).key == whole
    change_manifest(folder, mask_size=9)
    assert PreparedDataset(folder).key != whole


def test_open_dataset(tiny_prepared, tiny_coco):
    data = open_dataset(tiny_prepared, class_names=["dog"], channels=1)
    assert isinstance(data, PreparedDataset) and (data.class_names, data.channels) == (("dog",), 1)
    data = open_dataset(*tiny_coco[:2], class_names=["dog"])
    assert type(data) is CocoDataset and data.class_names == ("dog",)
    assert is_prepared(tiny_prepared) and not is_prepared(tiny_coco[0]) and not is_prepared(tiny_coco[1])


def test_folder_without_a_manifest(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError) as error:
            PreparedDataset(folder)
        one_sentence(error, f"{folder} has no manifest.json; make it with `keras-mrcnn data prepare SOURCE {folder}`")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_damaged_manifest(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_manifest(str(tmp_path))
    one_sentence(error, tmp_path / "manifest.json", "cannot be read", MEND)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "another", "version": 1}', "3"])
def test_another_manifest(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError) as error:
        PreparedDataset(tmp_path)
    one_sentence(error, tmp_path / "manifest.json", "is not the manifest of prepared data; name another folder")


@pytest.mark.parametrize("version", [0, 2, "new", None])
def test_another_version(folder, version):
    change_manifest(folder, version=version)
    with pytest.raises(UserError) as error:
        PreparedDataset(folder)
    one_sentence(error, folder / "manifest.json", f"has version {version}, not 1; {MEND}")


@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_damaged_index(folder, damage):
    index = folder / "index.safetensors"
    if damage == "missing":
        index.unlink()
    elif damage == "truncated":
        index.write_bytes(index.read_bytes()[:-5])
    else:
        index.write_bytes(save({"image_ids": np.zeros(4, np.int64)}))
    with pytest.raises(UserError) as error:
        PreparedDataset(folder)
    one_sentence(error, index, "cannot be read", MEND)


def test_missing_annotations_are_named(folder):
    (folder / "annotations.json").unlink()
    data = PreparedDataset(folder)
    assert len(data.ground_truth(3)) == 2
    with pytest.raises(UserError) as error:
        _ = data.coco
    one_sentence(error, folder / "annotations.json", "cannot be read", MEND)


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_damaged_shard_is_named(folder, damage):
    shard, content = shard_of(folder), shard_of(folder).read_bytes()
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(content[:300])
    else:
        shard.write_bytes(content.replace(b"IHDR", b"IHDX"))
    data = PreparedDataset(folder)
    for call in (data.check, lambda: data.load_image(8), lambda: data.ground_truth(8)):
        with pytest.raises(DataError) as error:
            call()
        one_sentence(error, shard, "cannot be read" if damage == "missing" else "is not as it was written", MEND)


def test_whole_shards_pass_the_check(tiny):
    tiny.check()
