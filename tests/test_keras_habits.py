"""What users do with Keras models works here: on the model first, then on the stages that train it."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_training import CLASS_NAMES, changed, endless, make_batch, small_config, small_model, snapshot
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_mrcnn
from keras_mrcnn import MaskRCNN, batches_from

STAGES = {
    "rpn": keras_mrcnn.RPNStage, "box": keras_mrcnn.BoxStage, "mask": keras_mrcnn.MaskStage,
    "joint": keras_mrcnn.JointStage,
}  # fmt: skip


PICTURES = [
    np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8) for seed, size in enumerate([(40, 60), (70, 50)])
]


@pytest.fixture(scope="module")
def model():
    """A model that calls everything an object. Shared: do not change it."""
    keras.utils.set_random_seed(5)
    return small_model(box_head={"channels": 16, "score_threshold": 0.0, "max_detections": 4})


def assert_same_detections(model, other):
    for one, another in zip(model.predict(PICTURES), other.predict(PICTURES)):
        assert len(one) == 4 and one.class_names == another.class_names and one.image_size == another.image_size
        np.testing.assert_allclose(one.boxes, another.boxes, atol=1e-3)
        np.testing.assert_allclose(one.scores, another.scores, atol=1e-5)
        np.testing.assert_allclose(one.masks, another.masks, atol=1.01 / 255)


def test_predict_takes_arrays_lists_files_and_pillow_images(model, tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    for pictures in (
        [PICTURES[0]], PICTURES[0][None], [tmp_path / "a.png"], [str(tmp_path / "a.png")],
        [Image.fromarray(PICTURES[0])],
    ):  # fmt: skip
        (detections,) = model.predict(pictures)
        assert len(detections) == 4 and set(detections.class_names) <= set(CLASS_NAMES)
        assert detections.image_size == (40, 60) and detections.paste_masks().shape == (4, 40, 60)
    assert [found.image_size for found in model.predict(PICTURES)] == [(40, 60), (70, 50)]
    assert len(model.predict(np.stack([PICTURES[0]] * 3), batch_size=2)) == 3
    assert model.predict([]) == []


def test_a_keras_file_holds_the_whole_model(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    assert_same_detections(model, keras.models.load_model(path))
    assert_same_detections(model, MaskRCNN.from_preset(path))
    with pytest.raises(ValueError, match=r"model\.keras: has the classes vehicle, person, animal; a"):
        MaskRCNN.from_preset(path, class_names=["cat"])


def test_config_makes_the_same_architecture_anew(model):
    again = MaskRCNN.from_config(model.get_config())
    assert again.config == model.config and again.name == model.name
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in model.weights]
    again.set_weights(model.get_weights())
    assert_same_detections(model, again)


def test_clone_model_has_weights_of_its_own(model):
    clone = keras.models.clone_model(model)
    assert type(clone) is MaskRCNN and clone.config == model.config
    assert changed(snapshot(model), snapshot(clone))


def test_keras_weights_go_into_a_file_and_back(model, tmp_path):
    path, clone = tmp_path / "model.weights.h5", keras.models.clone_model(model)
    model.save_weights(path)
    clone.load_weights(path)
    assert changed(snapshot(model), snapshot(clone)) == set()


def test_pretrained_weights_go_into_a_file_and_back(model, tmp_path):
    path, clone = tmp_path / "model.safetensors", keras.models.clone_model(model)
    model.save_pretrained(path)
    clone.load_pretrained(path)
    assert changed(snapshot(model), snapshot(clone)) == set()
    assert_same_detections(model, MaskRCNN.from_preset(path))
    other = MaskRCNN.from_preset(str(path), class_names=("cat", "dog"))
    assert other.config.class_names == ("cat", "dog") and other.config.category_ids == (1, 2)


def test_summary_lists_the_parts(model):
    text = io.StringIO()
    model.summary(print_fn=lambda line, **_: text.write(f"{line}\n"))
    for part in ("backbone", "fpn", "rpn", "box_head", "mask_head"):
        assert part in text.getvalue()
    assert f"{model.count_params():,}".replace(",", "") in text.getvalue().replace(",", "")


def test_dtype_is_of_the_networks_and_is_kept(tmp_path):
    half = MaskRCNN(small_config(), dtype="mixed_bfloat16")
    assert half.dtype_policy.name == "mixed_bfloat16" and half.backbone.stem.conv.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in half.weights} <= {"float32", tf.float32}
    half.save_pretrained(tmp_path / "model.safetensors")
    assert MaskRCNN.from_config(half.get_config()).rpn.compute_dtype == "bfloat16"
    again = MaskRCNN.from_preset(tmp_path / "model.safetensors", dtype="mixed_bfloat16")
    assert again.mask_head.compute_dtype == "bfloat16" and again.predict(PICTURES)[0].boxes.dtype == np.float32
    assert MaskRCNN.from_preset(tmp_path / "model.safetensors").mask_head.compute_dtype == "float32"


def test_settings_make_a_new_model_for_classes_of_the_users():
    new = MaskRCNN.from_preset("scenes-small", class_names=("cat", "dog"))
    assert new.config.class_names == ("cat", "dog") and new.config.min_size == 256
    with pytest.raises(ValueError, match="class_names: this preset has no classes of its own; name those"):
        MaskRCNN.from_preset("scenes-small")


def network_of_the_users():
    """A functional model with maps at strides 4, 8, 16 and 32."""
    x = inputs = keras.Input([None, None, 3])
    for level, stride in enumerate((4, 2, 2, 2)):
        x = keras.layers.Conv2D(8, 3, stride, padding="same", activation="relu", name=f"stage{level}")(x)
    return keras.Model(inputs, x, name="mine")


def test_backbone_of_the_users_is_saved_with_the_model(tmp_path):
    config = small_config(backbone={"preprocessing": "tf"}, box_head={"channels": 8, "score_threshold": 0.0,
                                                                       "max_detections": 4})  # fmt: skip
    own = MaskRCNN(config, backbone=network_of_the_users())
    own.save(tmp_path / "own.keras")
    assert_same_detections(own, keras.models.load_model(tmp_path / "own.keras"))
    assert changed(snapshot(own), snapshot(keras.models.clone_model(own)))


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_other_channels(channels):
    grey = small_model(channels=channels, box_head={"channels": 8, "score_threshold": 0.0, "max_detections": 4})
    (detections,) = grey.predict([np.zeros((40, 60, channels), np.uint8)])
    assert len(detections) == 4
    with pytest.raises(ValueError, match=rf"expected a uint8 array \[H, W, {channels}\]"):
        grey.predict([PICTURES[0]])


def test_data_of_the_users_trains_a_stage():
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:20, 10:30] = masks[1, 20:35, 30:50] = True
    sample = {"image": PICTURES[0], "boxes": np.float32([[10, 5, 30, 20], [30, 20, 50, 35]]), "labels": [1, 3],
              "masks": masks}  # fmt: skip
    samples = tf.data.Dataset.from_tensors(sample).repeat(4)
    stage = compiled(keras_mrcnn.MaskStage)
    history = stage.fit(batches_from(samples, stage.mask_rcnn.config, batch_size=2), verbose=0).history
    assert np.isfinite(history["mask_loss"]).all()


def finite(*batches):
    return endless(*batches).take(len(batches))


def compiled(kind, model=None, optimizer=None):
    stage = kind(small_model() if model is None else model)
    # A few steps are faster without a graph.
    stage.compile(optimizer or keras.optimizers.SGD(1e-3, momentum=0.9), run_eagerly=True)
    return stage


@pytest.mark.parametrize("name", STAGES)
def test_validation_losses_are_in_the_history_and_come_from_evaluate(name):
    stage = compiled(STAGES[name], small_model(norm="bn"))
    validation = finite(make_batch(seed=1), make_batch(seed=2))
    history = stage.fit(
        endless(make_batch()), steps_per_epoch=1, epochs=2, validation_data=validation, verbose=0
    ).history
    assert set(history) == {f"{prefix}{loss}" for prefix in ("", "val_") for loss in ("loss", *stage.loss_names)}
    before = snapshot(stage.mask_rcnn)
    scores = stage.evaluate(validation, verbose=0, return_dict=True)
    assert changed(before, snapshot(stage.mask_rcnn)) == set()
    assert {f"val_{loss}": [pytest.approx(value, rel=1e-5)] for loss, value in scores.items()} == {
        loss: values[-1:] for loss, values in history.items() if loss.startswith("val_")
    }
    assert all(np.isfinite(values).all() and len(values) == 2 for values in history.values())


def test_validation_is_the_same_every_time_and_leaves_the_norms_alone():
    """At a learning rate of zero, norms in training mode would still move between the epochs."""
    stage = compiled(STAGES["rpn"], small_model(norm="bn", freeze_stages=5), keras.optimizers.SGD(0.0))
    history = stage.fit(
        endless(make_batch()), steps_per_epoch=1, epochs=3, validation_data=finite(make_batch(seed=1)), verbose=0
    ).history
    assert len(set(history["val_loss"])) == 1


def test_every_image_counts_the_same_in_a_validation_loss():
    """The last batch has one image, the one before it three."""
    stage = compiled(STAGES["box"])
    three, one = make_batch((2, 3, 1), seed=1), make_batch((3,), seed=2)

    def stream():
        yield three
        yield one

    spec = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in three.items()}
    data = tf.data.Dataset.from_generator(stream, output_signature=spec)
    together = stage.evaluate(data.apply(tf.data.experimental.assert_cardinality(2)), verbose=0)
    parts = [stage.evaluate(finite(batch), verbose=0) for batch in (three, one)]
    np.testing.assert_allclose(together, (3 * np.array(parts[0]) + np.array(parts[1])) / 4, rtol=1e-5)


def test_early_stopping_ends_the_training_and_restores_the_best_weights():
    stage = compiled(STAGES["mask"], optimizer=keras.optimizers.SGD(0.0))  # so that no epoch is better than the first
    before = snapshot(stage.mask_rcnn)
    stopping = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    settings = {"steps_per_epoch": 1, "validation_data": finite(make_batch(seed=1)), "verbose": 0}
    history = stage.fit(endless(make_batch()), epochs=9, callbacks=[stopping], **settings)
    assert len(history.epoch) == 2 and changed(before, snapshot(stage.mask_rcnn)) == set()


def test_tensorboard_writes_every_step(tmp_path):
    stage = compiled(STAGES["mask"])
    board = keras.callbacks.TensorBoard(str(tmp_path), update_freq=1)
    # Without a bar (verbose=0) Keras 2.15 does not tell TensorBoard of steps.
    stage.fit(
        endless(make_batch()), steps_per_epoch=3, callbacks=[board], verbose=1,
        validation_data=finite(make_batch(seed=1)),
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "train"), {"tensors": 0}).Reload()
    assert len(events.Tensors("batch_loss")) == 3 and list((tmp_path / "validation").glob("*tfevents*"))


def test_weights_of_a_checkpoint_callback_come_back(tmp_path):
    stage, path = compiled(STAGES["box"]), tmp_path / "best.weights.h5"
    saving = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_best_only=True)
    stage.fit(
        endless(make_batch()), steps_per_epoch=2, callbacks=[saving], verbose=0,
        validation_data=finite(make_batch(seed=1)),
    )  # fmt: skip
    again = compiled(STAGES["box"])
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn))
    again.load_weights(path)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()


@pytest.mark.parametrize("name", ["mask", "joint"])
def test_a_whole_stage_is_saved_and_trains_on_as_if_it_had_not_been(tmp_path, name):
    stage = compiled(STAGES[name], small_model(), keras.optimizers.AdamW(1e-3))
    path, data = str(tmp_path / "stage.keras"), endless(make_batch())
    stage.fit(data, steps_per_epoch=2, callbacks=[keras.callbacks.ModelCheckpoint(path)], verbose=0)
    again = keras.models.load_model(path)
    assert type(again) is STAGES[name] and type(again.optimizer) is keras.optimizers.AdamW
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()
    if name == "joint":
        return  # the gradient of RoIAlign adds up in any order, so two steps of it are never quite the same
    for one in (stage, again):
        one.fit(data, steps_per_epoch=1, verbose=0)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()


def test_a_loss_of_the_user_is_refused():
    with pytest.raises(ValueError, match="MaskStage has losses of its own, mask_loss; leave loss out"):
        keras_mrcnn.MaskStage(small_model()).compile("sgd", loss="mse")
