"""Users' own data become the batches that our own pipeline makes of the same images, or are refused with a sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from mixed_data import MASK_SIZE, VIEW, write_mixed
from small_training import CLASS_NAMES, small_config, small_model

from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.compact_masks import compact_mask
from keras_mrcnn.data.pipeline import single_samples
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.user_datasets import batches_from, compact_masks
from keras_mrcnn.training.stages import MaskStage

CONFIG = small_config(min_size=32, max_size=64)


def sample(objects=2, **changes):
    """One image of 20 x 30 pixels with that many objects."""
    boxes = np.array([[2, 3, 12, 13], [10, 5, 25, 20], [0, 0, 30, 20]], np.float32)[:objects]
    masks = np.zeros([objects, 20, 30], bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int)):
        mask[y1:y2, x1:x2] = True
    labels = np.arange(objects) % 3 + 1
    fields = {"image": np.full([20, 30, 3], 7, np.uint8), "boxes": boxes, "labels": labels, "masks": masks}
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def dataset(*samples):
    spec = {
        name: tf.TensorSpec([None] * np.ndim(value), np.asarray(value).dtype) for name, value in samples[0].items()
    }
    return tf.data.Dataset.from_generator(lambda: iter(samples), output_signature=spec)


def batches(*samples, batch_size=2, **settings):
    return list(batches_from(dataset(*samples), CONFIG, batch_size=batch_size, **settings))


def test_batches_are_those_of_our_own_pipeline(tmp_path):
    files = write_mixed(tmp_path)
    data = CocoDataset(*files)
    samples = []
    for image_id in data.image_ids:
        truth = data.ground_truth(image_id)
        record = data.coco.imgs[image_id]
        masks = [data.coco.annToMask(annotation) for annotation in data.annotations(image_id)]
        masks = np.array(masks, np.uint8).reshape(-1, record["height"], record["width"])
        image = data.load_image(image_id)
        samples.append({"images": image, "boxes": truth.boxes, "labels": truth.labels, "masks": masks})
    places = np.array([[0, row] for row in range(len(samples))])
    prepared = prepare_dataset(*files, tmp_path / "prepared", mask_size=MASK_SIZE)
    ours = single_samples(prepared, places, Sampling(**VIEW))
    config = small_config(class_names=data.class_names, **VIEW)
    theirs = batches_from(dataset(*samples), config, batch_size=1, mask_size=MASK_SIZE)
    assert len(samples) > 3
    for expected, batch in zip(ours, theirs):
        assert {name: value.dtype for name, value in batch.items()} == {n: v.dtype for n, v in expected.items()}
        for name in ("images", "image_sizes", "original_sizes", "gt_labels", "dropped"):
            np.testing.assert_array_equal(batch[name], expected[name], err_msg=name)
        np.testing.assert_allclose(batch["gt_boxes"], expected["gt_boxes"], rtol=1e-6)
        difference = batch["gt_masks"].numpy().astype(int) - expected["gt_masks"].numpy()
        assert np.abs(difference).max(initial=0) <= 1 and (difference != 0).mean() < 1e-3


def test_compact_masks_are_those_of_numpy():
    random = np.random.default_rng(0)
    masks = random.random([40, 37, 53]) < 0.5
    corners = random.uniform(0, 1, [40, 2, 2]) * [53, 37]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + [[0.0, 0.0]]], axis=1).astype(np.float32)
    expected = np.stack([compact_mask(mask, box, 14) for mask, box in zip(masks, boxes)])
    ours = compact_masks(tf.constant(masks), tf.constant(boxes), 14).numpy()
    assert np.abs(ours.astype(int) - expected).max() <= 1 and (ours != expected).mean() < 1e-3
    assert expected.std() > 10
    assert compact_masks(tf.zeros([0, 5, 5], tf.uint8), tf.zeros([0, 4]), 14).shape == (0, 14, 14)


def test_compact_mask_by_hand():
    """A box of 3 x 2 pixels in two cells: the left one covers pixel 0 and half of pixel 1, which the object fills."""
    mask = tf.constant([[[0, 9, 0], [0, 9, 0]]], tf.uint8)  # any number but 0
    assert compact_masks(mask, tf.constant([[0.0, 0.0, 3.0, 2.0]]), 2).numpy().tolist() == [[[85, 85], [85, 85]]]


def test_images_without_objects_and_a_last_batch_with_fewer():
    first, second = batches(sample(0), sample(2), sample(1))
    assert first["gt_labels"].numpy().tolist() == [[-1, -1], [1, 2]] and second["gt_labels"].numpy().tolist() == [[1]]
    assert first["gt_masks"].shape == (2, 2, 56, 56) and not first["gt_masks"][0].numpy().any()
    assert first["image_ids"].numpy().tolist() == [0, 1] and second["image_ids"].numpy().tolist() == [2]
    assert len(batches(sample(0), sample(2), sample(1), drop_remainder=True)) == 1


def test_seeds_are_those_of_the_place_and_the_seed():
    seeds = [[batch["seeds"].numpy().tolist() for batch in batches(*[sample()] * 4, seed=seed)] for seed in (0, 5)]
    assert seeds == [[[[seed, 0], [seed, 1]], [[seed, 2], [seed, 3]]] for seed in (0, 5)]


def test_what_the_resize_makes_too_small_is_dropped_and_counted():
    boxes = np.array([[2, 3, 12, 13], [5, 5, 5.01, 9]], np.float32)
    (batch,) = batches(sample(boxes=boxes), batch_size=1)
    assert batch["dropped"].numpy().tolist() == [1] and batch["gt_labels"].numpy().tolist() == [[1]]


def test_boxes_are_clipped_to_the_image():
    (batch,) = batches(sample(1, boxes=np.array([[-5, 10, 15, 40]], np.float32)), batch_size=1)
    assert batch["gt_boxes"].numpy().tolist() == [[[0.0, 16.0, 24.0, 32.0]]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "samples have no image; they have boxes, labels, masks"),
        ({"boxes": None, "labels": None}, "samples have no boxes and no labels; they have image, masks"),
        ({"image": np.zeros([20, 30, 3], np.float32)}, "image must hold uint8, not float32"),
        ({"image": np.zeros([1, 20, 30, 3], np.uint8)}, r"image must have the shape .*samples.unbatch"),
        ({"labels": np.zeros(2, np.float32)}, "labels must hold whole numbers, not float32"),
        ({"boxes": np.zeros(4, np.float32)}, r"boxes must have the shape \[G, 4\], not \(None,\)$"),
        ({"masks": np.zeros([2, 20, 30], np.float32)}, "masks must hold bool or uint8, not float32"),
    ],
)
def test_samples_that_cannot_be_used_are_refused_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        batches_from(dataset(sample(**changes)), CONFIG, batch_size=2)


def test_other_elements_and_sizes_are_refused_at_once():
    with pytest.raises(ValueError, match="samples must be dicts with image, boxes, labels and masks, not tuple"):
        batches_from(tf.data.Dataset.from_tensors((1, 2)), CONFIG, batch_size=2)
    with pytest.raises(ValueError, match="boxes must have the shape"):
        batches_from(tf.data.Dataset.from_tensors(sample(boxes=np.zeros([2, 5], np.float32))), CONFIG, batch_size=2)
    with pytest.raises(ValueError, match="boxes must be a dense tensor .*, not RaggedTensorSpec"):
        batches_from(tf.data.Dataset.from_tensors(sample(boxes=tf.ragged.constant([[1.0]]))), CONFIG, batch_size=2)
    with pytest.raises(ValueError, match="batch_size is 0"):
        batches_from(dataset(sample()), CONFIG, batch_size=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([1, 4])}, r"sample.*has labels that are not in 1\.\.3:"),
        ({"labels": np.array([1])}, "has another number of boxes than of labels,"),
        ({"boxes": np.array([[1, 1, 5, 5], [31, 1, 40, 9]], np.float32)}, "has boxes without an area inside the image"),
        ({"masks": np.zeros([2, 30, 20], bool)}, "should have masks of the shape"),
    ],
)
def test_a_sample_whose_fields_do_not_fit_is_named(changes, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        batches(sample(**changes))


def test_a_stage_trains_on_them_and_validates():
    stage = MaskStage(small_model(min_size=32, max_size=64))
    stage.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    data = batches_from(dataset(*[sample(2), sample(3)]).repeat(), stage.mask_rcnn.config, batch_size=2, mask_size=28)
    history = stage.fit(data, steps_per_epoch=1, validation_data=data.take(1), verbose=0).history
    assert set(CLASS_NAMES) and history["mask_loss"][0] > 0 and np.isfinite(history["val_mask_loss"][0])


def test_masks_can_be_left_out():
    (batch,) = batches(sample(masks=None))
    assert batch["gt_masks"].shape == (1, 2, 0, 0)
