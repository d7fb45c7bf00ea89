import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as mask_api

from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.data import pipeline
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.check import DataError
from keras_mrcnn.data.pipeline import single_samples, training_dataset, validation_dataset
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.ops import images as image_ops

SETTINGS = {"batch_size": 2, "min_size": 48, "max_size": 96, "seed": 5}
AUGMENTATION = {"scale_jitter": (0.5, 2.0), "crop": True, "rotation": 20.0, "colour_jitter": 0.3, "copy_paste": 0.5}
EVERYTHING = {"min_size": (40, 48), **AUGMENTATION}


@pytest.fixture
def dataset(tiny):
    return tiny


def take(batches, count):
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def assert_same(batches, others):
    for batch, other in zip(batches, others):
        for name, value in batch.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def by_image(batches):
    """Samples by image id, in the order of the stream."""
    samples = {}
    for batch in batches:
        for row, image_id in enumerate(batch["image_ids"].tolist()):
            samples.setdefault(image_id, []).append({name: value[row] for name, value in batch.items()})
    return samples


def test_element_spec(dataset):
    spec = training_dataset(dataset, **SETTINGS).element_spec
    found = {name: (spec.shape.as_list(), spec.dtype) for name, spec in spec.items()}
    assert found == {
        "images": ([2, None, None, 3], tf.float32),
        "image_sizes": ([2, 2], tf.int32),
        "image_ids": ([2], tf.int64),
        "original_sizes": ([2, 2], tf.int32),
        "gt_boxes": ([2, None, 4], tf.float32),
        "gt_labels": ([2, None], tf.int32),
        "gt_masks": ([2, None, 8, 8], tf.uint8),
        "seeds": ([2, 2], tf.int32),
        "dropped": ([2], tf.int32),
    }


def test_pipelines_call_no_python():
    package = Path(pipeline.__file__).parents[1]
    calls = re.compile("numpy_function|py_function|from_generator")
    assert [path.name for path in package.rglob("*.py") if calls.search(path.read_text("utf-8"))] == []


def test_validation_batch_by_hand(dataset):
    batches = validation_dataset(dataset, batch_size=3, min_size=80, max_size=200)
    assert batches.cardinality().numpy() == 2
    first, second = take(batches, 5)
    # By aspect ratio: image 5 (48 / 64), 9 (1), 3 and 8 (60 / 40).
    assert first["image_ids"].tolist() == [5, 9, 3]
    assert second["image_ids"].tolist() == [8]
    assert first["images"].shape == (3, 128, 128, 3)
    assert first["image_sizes"].tolist() == [[106, 80], [80, 80], [80, 120]]
    assert first["original_sizes"].tolist() == [[64, 48], [50, 50], [40, 60]]
    assert first["gt_labels"].tolist() == [[1, -1], [-1, -1], [2, 1]]  # the crowd is not there
    np.testing.assert_allclose(first["gt_boxes"][2], [[20, 20, 60, 60], [80, 10, 100, 30]])
    np.testing.assert_allclose(first["gt_boxes"][0], [[0, 30 * 106 / 64, 50, 60 * 106 / 64], [0] * 4], rtol=1e-6)
    assert first["gt_boxes"][1].max() == 0
    assert first["gt_masks"][2].min() == 255
    assert first["gt_masks"][1].max() == 0
    assert np.abs(first["images"][1, :80, :80]).min() > 0
    assert not first["images"][1, 80:].any()
    assert not first["images"][1, :, 80:].any()


def test_pixels_are_normalised_and_resized(dataset):
    batches = validation_dataset(dataset, batch_size=1, min_size=40, max_size=200)
    (sample,) = by_image(take(batches, 4))[3]
    pixels = dataset.load_image(3) / 255.0
    wanted = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(sample["images"][:40, :60], wanted, atol=1e-5)


def test_image_without_objects_has_one_row_of_padding(dataset):
    (sample,) = by_image(take(validation_dataset(dataset, batch_size=1, min_size=48, max_size=96), 4))[9]
    assert sample["gt_labels"].tolist() == [-1]
    assert sample["gt_boxes"].tolist() == [[0, 0, 0, 0]]


def test_training_stream_is_the_same_each_time_and_differs_by_seed(dataset):
    settings = {**SETTINGS, "scale_jitter": (0.8, 1.2), "min_size": (40, 48, 56)}
    first = take(training_dataset(dataset, **settings), 8)
    assert_same(first, take(training_dataset(dataset, **settings), 8))
    other = take(training_dataset(dataset, **{**settings, "seed": 6}), 8)
    assert [batch["seeds"].tolist() for batch in first] != [batch["seeds"].tolist() for batch in other]


def test_two_iterators_over_one_dataset_are_the_same(dataset):
    batches = training_dataset(dataset, **SETTINGS)
    assert_same(take(batches, 4), take(batches, 4))


@pytest.mark.parametrize("start", [1, 5])
def test_resuming_gives_the_rest_of_the_stream_bit_for_bit(dataset, start):
    settings = {**SETTINGS, "scale_jitter": (0.8, 1.2)}
    whole = take(training_dataset(dataset, **settings), start + 3)
    assert_same(whole[start:], take(training_dataset(dataset, **settings, start_batch=start), 3))


def test_what_is_skipped_is_not_read(dataset, monkeypatch):
    rows, record = [], PreparedDataset._record

    def note(row):
        rows.append(int(row))
        return row

    def noted(self, row):
        return record(self, tf.ensure_shape(tf.numpy_function(note, [row], tf.int64), []))

    monkeypatch.setattr(PreparedDataset, "_record", noted)
    take(training_dataset(dataset, **SETTINGS, start_batch=1000), 1)
    assert 2 <= len(rows) < 100


def test_a_sample_does_not_depend_on_its_batch(dataset):
    settings = {**SETTINGS, "scale_jitter": (0.7, 1.0)}
    alone = by_image(take(training_dataset(dataset, **{**settings, "batch_size": 1}), 12))
    together = by_image(take(training_dataset(dataset, **settings), 6))
    for image_id, samples in together.items():
        for one, other in zip(samples, alone[image_id]):
            height, width = one["image_sizes"]
            np.testing.assert_array_equal(one["image_sizes"], other["image_sizes"])
            np.testing.assert_array_equal(one["seeds"], other["seeds"])
            np.testing.assert_array_equal(one["images"][:height, :width], other["images"][:height, :width])


def test_flip_moves_everything_together(dataset):
    plain, flipped = (
        by_image(take(training_dataset(dataset, **{**SETTINGS, "flip": flip}), 4))[3][0] for flip in (0.0, 1.0)
    )
    height, width = plain["image_sizes"]
    # The image is mirrored before it is resized. The resize is symmetric, but rounds the weights of each side apart.
    mirrored = plain["images"][:height, :width][:, ::-1]
    np.testing.assert_allclose(flipped["images"][:height, :width], mirrored, atol=1e-4)
    rows = plain["gt_labels"] > 0
    x1, y1, x2, y2 = plain["gt_boxes"][rows].T
    np.testing.assert_allclose(flipped["gt_boxes"][rows], np.stack([width - x2, y1, width - x1, y2], 1), atol=1e-4)
    np.testing.assert_array_equal(flipped["gt_masks"], plain["gt_masks"][..., ::-1])
    assert flipped["images"][height:].max(initial=0) == 0


def test_flips_happen_about_as_often_as_asked(dataset):
    lefts = by_image(take(training_dataset(dataset, **{**SETTINGS, "flip": 0.5}), 120))[3]
    share = np.mean([sample["gt_boxes"][0, 0] < 20 for sample in lefts])
    assert 0.25 < share < 0.75


def test_jitter_and_choice_of_sizes(dataset):
    fixed = by_image(take(training_dataset(dataset, **{**SETTINGS, "min_size": (20, 40)}), 40))[9]
    assert {tuple(sample["image_sizes"]) for sample in fixed} == {(20, 20), (40, 40)}
    jittered = by_image(take(training_dataset(dataset, **SETTINGS, scale_jitter=(0.5, 1.5)), 60))[9]
    sides = [sample["image_sizes"][0] for sample in jittered]
    assert 24 <= min(sides) < 34
    assert 62 < max(sides) <= 72


@pytest.mark.parametrize("start", [1, pytest.param(7, marks=pytest.mark.long)])
def test_resuming_with_every_augmentation_is_bit_for_bit_the_same(dataset, start):
    settings = {**SETTINGS, **EVERYTHING}
    whole = take(training_dataset(dataset, **settings), start + 4)
    assert_same(whole[start:], take(training_dataset(dataset, **settings, start_batch=start), 4))
    assert_same(whole, take(training_dataset(dataset, **settings), start + 4))


def test_flip_of_an_augmented_sample_is_exact(dataset):
    settings = {**SETTINGS, **EVERYTHING, "copy_paste": 0.0, "batch_size": 1}
    plain, flipped = (take(training_dataset(dataset, **{**settings, "flip": flip}), 12) for flip in (0.0, 1.0))
    for one, other in zip(plain, flipped):
        height, width = one["image_sizes"][0]
        np.testing.assert_array_equal(other["images"][0, :height, :width], one["images"][0, :height, :width][:, ::-1])
        np.testing.assert_array_equal(other["gt_masks"], one["gt_masks"][..., ::-1])
        valid = one["gt_labels"] > 0
        mirrored = [width, 0, width, 0] - one["gt_boxes"][valid] * [1, -1, 1, -1]
        np.testing.assert_allclose(other["gt_boxes"][valid], mirrored[:, [2, 1, 0, 3]], atol=1e-4)


def test_warped_image_without_a_change_is_the_resized_one(dataset):
    plain = take(training_dataset(dataset, **SETTINGS), 4)
    for batch, other in zip(plain, take(training_dataset(dataset, **SETTINGS, crop=True), 4)):
        for name, value in batch.items():
            np.testing.assert_allclose(other[name], value, atol=1e-3, err_msg=name)


def test_colour_jitter_changes_the_image_alone(dataset):
    plain = take(training_dataset(dataset, **SETTINGS), 4)
    for batch, other in zip(plain, take(training_dataset(dataset, **SETTINGS, colour_jitter=0.5), 4)):
        assert np.abs(batch["images"] - other["images"]).max() > 0.1
        assert_same([{name: value for name, value in batch.items() if name != "images"}], [other])


def test_objects_and_dropped_ones_are_those_that_there_were(dataset):
    settings = {**SETTINGS, "scale_jitter": (0.03, 0.1)}
    for extra in ({}, {"rotation": 10.0}):
        dropped = 0
        for batch in take(training_dataset(dataset, **settings, **extra), 10):
            objects = [len(dataset.annotations(image_id)) for image_id in batch["image_ids"].tolist()]
            np.testing.assert_array_equal((batch["gt_labels"] > 0).sum(axis=1) + batch["dropped"], objects)
            dropped += batch["dropped"].sum()
        assert dropped > 2


COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]])


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Three images of hexagons on black; the colour of an object tells its label."""
    folder = tmp_path_factory.mktemp("coloured")
    random = np.random.default_rng(3)
    content = {"images": [], "annotations": [], "categories": [{"id": n, "name": f"c{n}"} for n in range(1, 5)]}
    for image_id in (1, 2, 3):
        pixels = np.zeros((90, 120, 3), np.uint8)
        for label in range(1, 5):
            centre, radius = np.array([15 + 30 * label - 15, random.integers(30, 60)]), random.integers(12, 20)
            angles = np.arange(6) * np.pi / 3 + random.uniform(0, 1)
            corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            corners = corners.clip(0, [120, 90])
            polygon = [corners.ravel().round(2).tolist()]
            mask = mask_api.decode(mask_api.frPyObjects(polygon, 90, 120))[..., 0].astype(bool)
            code = mask_api.encode(np.asfortranarray(mask & ~pixels.any(axis=2)))  # what earlier ones leave of it
            pixels[mask & ~pixels.any(axis=2)] = COLOURS[label]
            content["annotations"].append({
                "id": 10 * image_id + label, "image_id": image_id, "category_id": label, "iscrowd": 0,
                "bbox": mask_api.toBbox(code).tolist(), "area": float(mask_api.area(code)),
                "segmentation": {"size": [90, 120], "counts": code["counts"].decode()},
            })  # fmt: skip
        content["images"].append({"id": image_id, "file_name": f"{image_id}.png", "height": 90, "width": 120})
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
    return prepare_dataset(content, folder, folder / "prepared")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rotation": 30.0},
        {"crop": True, "scale_jitter": (0.6, 2.0)},
        {"copy_paste": 1.0},
        {"rotation": 30.0, "crop": True, "scale_jitter": (0.6, 2.0), "copy_paste": 1.0},
    ],
)
def test_masks_lie_on_their_objects(coloured, settings):
    overlaps = []
    for batch in take(training_dataset(coloured, batch_size=1, min_size=180, max_size=240, seed=2, **settings), 12):
        height, width = batch["image_sizes"][0]
        image = image_ops.denormalise(batch["images"][0, :height, :width]).numpy().astype(int)
        image[np.abs(image - [124, 116, 104]).max(axis=-1) <= 1] = 0  # where a turned image ends
        shown = np.abs(image[..., None, :] - COLOURS).sum(axis=-1).argmin(axis=-1)
        valid = batch["gt_labels"][0] > 0
        labels = batch["gt_labels"][0][valid]
        names = ("",) * len(labels)
        truth = GroundTruth(batch["gt_boxes"][0][valid], labels, batch["gt_masks"][0][valid], names, (height, width))
        masks = truth.paste_masks()
        for label in set(labels.tolist()):
            # Several objects have this colour where one was pasted.
            mask = masks[labels == label].any(axis=0)
            if mask.sum() > 400:
                overlaps.append((mask & (shown == label)).sum() / (mask | (shown == label)).sum())
        # Nothing that can be seen lacks a mask, nor does one object's mask lie on another object.
        assert (masks.sum(axis=0) > 1).mean() < 0.01
        assert ((shown > 0) & ~masks.any(axis=0)).mean() < 0.02
    assert len(overlaps) > 20
    assert np.mean(overlaps) > 0.95
    assert np.min(overlaps) > 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_size": ()}, "min_size is"),
        ({"min_size": 0}, "min_size is"),
        ({"max_size": 10}, "max_size is 10, less than min_size 48"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"scale_jitter": (1.0, 0.5)}, "scale_jitter is"),
        ({"scale_jitter": (0.0, 0.5)}, "scale_jitter is"),
        ({"rotation": 270}, "rotation is 270"),
        ({"colour_jitter": -1}, "colour_jitter is -1"),
        ({"copy_paste": 2}, "copy_paste is 2"),
        ({"start_batch": -1}, "start_batch is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_out_of_range_are_named(dataset, change, message):
    with pytest.raises(ValueError, match=message):
        training_dataset(dataset, **{**SETTINGS, **change})


def test_single_samples_are_those_of_the_training_stream(dataset):
    settings = {**SETTINGS, **EVERYTHING, "batch_size": 1}
    stream = take(training_dataset(dataset, **settings), 12)
    places = np.array([[epoch, dataset.image_ids.tolist().index(batch["image_ids"][0])]
                       for epoch, batch in zip(np.arange(12) // 4, stream)])  # fmt: skip
    sampling = Sampling((40, 48), 96, seed=5, augmentation=Augmentation(**AUGMENTATION))
    again = single_samples(dataset, places[::-1].copy(), sampling)
    assert_same(stream[::-1], take(again, 12))


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_damaged_shard_ends_the_stream_and_is_named(tiny_prepared, tmp_path, damage):
    folder = tmp_path / "prepared"
    shutil.copytree(tiny_prepared, folder)
    (shard,) = (folder / "shards").glob("*.tfrecord")
    content = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(content[: len(content) // 2])
    else:
        shard.write_bytes(content.replace(b"IHDR", b"IHDX"))
    dataset = PreparedDataset(folder)
    with pytest.raises(tf.errors.OpError):
        take(validation_dataset(dataset, batch_size=4, min_size=48, max_size=96), 4)
    with pytest.raises(DataError, match=shard.name) as caught:
        dataset.check()
    assert "\n" not in str(caught.value)


# Needs a process of its own: devices are set up before TensorFlow starts. The iterator that is alive at the end must
# not keep the process from ending.
TWO_DEVICES = """
import sys
import keras
import tensorflow as tf
from keras_mrcnn.data.pipeline import training_dataset
from keras_mrcnn.data.prepared import PreparedDataset

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
batches = training_dataset(PreparedDataset(sys.argv[1]), batch_size=4, min_size=48, max_size=96, seed=5)

class Scale(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, batch):
        assert batch["images"].shape[0] == 2
        return self.dense(tf.reduce_mean(batch["images"], axis=[1, 2]))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        return tf.reduce_mean(tf.square(y_pred - 1.0))

with strategy.scope():
    model = Scale()
    model.compile(optimizer="sgd", jit_compile=False)
model.fit(batches, steps_per_epoch=3, epochs=2, verbose=0)
distributed = iter(strategy.experimental_distribute_dataset(batches))
parts = strategy.experimental_local_results(next(distributed)["image_ids"])
whole = next(iter(batches))["image_ids"]
assert tf.reduce_all(tf.concat(parts, 0) == whole)
print(int(model.optimizer.iterations.numpy()), [part.shape[0] for part in parts])
"""


def test_fit_over_two_devices(tiny_prepared):
    command = [sys.executable, "-c", TWO_DEVICES, tiny_prepared]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.stdout.strip() == "6 [2, 2]", ended.stderr


def test_real_photographs(photographs):
    seen = []
    for batch in validation_dataset(photographs, batch_size=4, min_size=64, max_size=107).as_numpy_iterator():
        seen += batch["image_ids"].tolist()
        valid = batch["gt_labels"] > 0
        limits = np.tile(batch["image_sizes"][:, None, ::-1], (1, 1, 2))
        assert (batch["gt_boxes"] <= limits + 1e-3)[valid].all()
        assert batch["gt_masks"][valid].max(axis=(1, 2)).min() > 0
    assert sorted(seen) == photographs.image_ids.tolist()


@pytest.mark.parametrize("augmentation", [{}, EVERYTHING])
def test_without_masks_all_else_is_the_same(dataset, augmentation):
    settings = {"batch_size": 2, "min_size": 48, "max_size": 80, "seed": 3, **augmentation}
    with_masks = next(iter(training_dataset(dataset, **settings)))
    without = next(iter(training_dataset(dataset, with_masks=False, **settings)))
    assert without["gt_masks"].shape[2:] == (0, 0)
    for name in with_masks.keys() - {"gt_masks"}:
        np.testing.assert_array_equal(with_masks[name], without[name])
