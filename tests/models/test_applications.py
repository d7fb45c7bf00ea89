"""Functional Keras models as backbones: their maps, input, freezing, weights, precision; and those of Keras by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import picture, uniform
from pydantic import ValidationError
from safetensors.numpy import save_file
from small_models import small_config
from small_training import changed, endless, make_batch, snapshot

from keras_mrcnn.compat import dtype_policy
from keras_mrcnn.config import ApplicationsConfig, ConfigError, ModelConfig, load_config
from keras_mrcnn.export.folding import fold_norms
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.models.applications import (
    FunctionalBackbone,
    copy_network,
    make_application,
    preprocessing_by_mode,
    preprocessing_of,
)
from keras_mrcnn.models.backbones import make_backbone
from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.ops.pixels import pixel_statistics
from keras_mrcnn.training.stages import RPNStage
from keras_mrcnn.weights import WeightsError, load_backbone
from keras_mrcnn.weights.keras_applications import adapt_first_kernel
from keras_mrcnn.weights.names import backbone_weights, named_weights

layers = keras.layers
SMALLEST = {"name": "MobileNetV3Small", "arguments": {"alpha": 0.35, "minimalistic": True}}
RAW = {"preprocessing": "raw"}
SIZES = ((32, 32), (96, 160), (224, 32))


def conv(x, channels, name, stride=1):
    return layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False, name=name)(x)


def small_network(name="small", outputs=None):
    """A convolution for each stride; at stride 4 a residual sum, then a last block whose shortcut strides, too."""
    x = inputs = keras.Input((None, None, 3))
    x = layers.BatchNormalization(name="stem_bn")(conv(x, 4, "Stem", 2))
    x = layers.ReLU(name="stem_relu")(x)
    x = conv(x, 5, "down4", 2)
    x = total = layers.Add(name="sum4")([x, conv(x, 5, "branch4")])
    x = conv(x, 3, "bottleneck4")  # of stride 4, too, and after the sum, but the shortcut goes around it
    x = layers.Add(name="sum8")([conv(x, 5, "down8", 2), layers.MaxPooling2D(1, strides=2)(total)])
    x = layers.LayerNormalization()(x)
    x = keras.Sequential([layers.Conv2D(7, 2, strides=2, name="inner")], name="down16")(x)
    x = conv(x, 8, "down32", 2)
    chosen = {"total": total, "x": x}
    return keras.Model(inputs, x if outputs is None else [chosen[key] for key in outputs], name=name)


def raw(pictures):
    return pictures


def randomised(network):
    for number, weight in enumerate(network.weights):
        weight.assign(uniform(f"{network.name} {number}", tuple(weight.shape), 0.05, 0.3))
    return network


@pytest.fixture(scope="module")
def network():
    """A network with random weights. Shared: copy it."""
    return randomised(small_network())


def normalised(image, channels=3):
    mean, std = pixel_statistics(channels)
    return tf.constant((image[None] / 255 - mean) / std, tf.float32)


def config_with(backbone, **groups):
    return small_config(class_names=("a", "b"), **groups).model_copy(
        update={"backbone": ModelConfig.model_validate({"backbone": backbone}).backbone}
    )


def model_with(network, **backbone):
    return MaskRCNN(config_with({**RAW, **backbone}), backbone=network)


def test_maps_are_the_last_that_all_else_is_computed_from(network):
    backbone = FunctionalBackbone(copy_network(network), raw)
    assert backbone.channels == (5, 5, 7, 8)
    x = normalised(picture(64, 96))
    maps = backbone(x)
    total = keras.Model(network.input, network.get_layer("sum4").output)(picture(64, 96)[None].astype(np.float32))
    np.testing.assert_allclose(maps[0], total, rtol=1e-4)
    for height, width in SIZES:
        sizes = [fmap.shape[1:3] for fmap in backbone(tf.zeros([1, height, width, 3]))]
        assert sizes == [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    assert len(FunctionalBackbone(copy_network(network), raw, maps=3)(x)) == 3


def test_several_outputs_are_the_maps():
    x = inputs = keras.Input((None, None, 3))
    x = conv(x, 2, "stem", 2)
    outputs = []
    for channels in (3, 4, 5, 6):
        x = conv(x, channels, f"down{channels}", 2)
        outputs.append(conv(x, channels + 10, f"lateral{channels}"))  # on no way to the other maps
    backbone = FunctionalBackbone(keras.Model(inputs, outputs), raw)
    assert backbone.channels == (13, 14, 15, 16)
    assert [names[-1] for names in backbone.stage_layers] == ["stem", *(f"lateral{c}" for c in (3, 4, 5, 6))]


def no_graph():
    class Network(keras.Model):
        pass

    return Network()


def one_layer(layer, shape=(None, None, 3)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_graph, "only functional Keras models"),
        (lambda: one_layer(layers.Conv2D(2, 3), (64, 64, 3)), r"64, 64, 3.*input_shape=\(None"),
        (lambda: one_layer(layers.Conv2D(2, 3), (None, None, 1)), "must take RGB pictures"),
        (lambda: one_layer(layers.Conv2D(2, 4, 4)), "no map of stride 8, 16, 32"),
        (lambda: one_layer(layers.Normalization()), "layer normalization.* has preprocessing in its weights"),
        (lambda: small_network(outputs=["total", "x"]), "no map of stride 8, 16"),
    ],
)
def test_networks_without_such_maps_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        FunctionalBackbone(make(), raw)


@pytest.mark.parametrize("mode", ["raw", "tf", "torch", "caffe"])
def test_input_is_what_the_preprocessing_gives(network, mode):
    preprocess, image = preprocessing_by_mode(mode), picture(32, 64)
    maps = FunctionalBackbone(copy_network(network), preprocess)(normalised(image))
    expected = network(preprocess(image[None].astype(np.float32)))
    np.testing.assert_allclose(maps[-1], expected, atol=2e-5 * np.abs(expected).max())


def test_grey_pictures_are_rgb_to_the_network(network):
    grey = picture(32, 64)[..., :1]
    maps = FunctionalBackbone(copy_network(network), preprocessing_by_mode("caffe"), channels=1)(normalised(grey, 1))
    expected = network(preprocessing_by_mode("caffe")(np.repeat(grey, 3, axis=-1)[None].astype(np.float32)))
    np.testing.assert_allclose(maps[-1], expected, atol=2e-5 * np.abs(expected).max())


def test_fourth_channel_begins_without_effect_and_can_be_learnt(network):
    image = np.concatenate([picture(32, 64), picture(32, 64)[..., :1]], axis=-1)
    backbone = FunctionalBackbone(copy_network(network), raw, channels=4)
    x = normalised(image, 4)
    with tf.GradientTape() as tape:
        last = backbone(x)[-1]
        loss = tf.reduce_sum(last)
    np.testing.assert_allclose(last, FunctionalBackbone(copy_network(network), raw)(x[..., :3])[-1], rtol=1e-4)
    assert np.any(tape.gradient(loss, backbone.fourth.trainable_variables)[0].numpy())
    assert "fourth/kernel" in backbone_weights(backbone)
    backbone.freeze(1)
    assert not backbone.fourth.trainable_variables


def test_first_kernels_of_our_resnet():
    kernel = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    assert adapt_first_kernel(kernel, 1).tolist() == [[[[12, 15, 18, 21]]]]
    assert adapt_first_kernel(kernel, 3).tolist() == kernel.tolist()
    assert adapt_first_kernel(kernel, 4)[0, 0].tolist() == [*kernel[0, 0].tolist(), [0, 0, 0, 0]]
    assert pixel_statistics(4)[0] == (0.485, 0.456, 0.406, 0.449)


@pytest.mark.parametrize("channels", [1, 4])
def test_our_resnet_takes_rgb_weights_for_other_channels(channels, tmp_path):
    source, backbone = ResNet(18, 0.0625), ResNet(18, 0.0625)
    source(tf.zeros([1, 32, 32, 3]))
    backbone(tf.zeros([1, 32, 32, channels]))
    state = {name: entry.to_torch(entry.variable.numpy()) for name, entry in backbone_weights(source).items()}
    save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, tmp_path / "rgb.safetensors")
    load_backbone(backbone, tmp_path / "rgb.safetensors")
    expected = adapt_first_kernel(source.stem.conv.kernel.numpy(), channels)
    np.testing.assert_array_equal(backbone.stem.conv.kernel.numpy(), expected)


def test_stages_freeze_by_stride():
    backbone = FunctionalBackbone(small_network(), raw)
    trained = []
    for count in range(6):
        backbone.freeze(count)
        entries = backbone_weights(backbone)
        on = {id(variable) for variable in backbone.trainable_variables}
        trained.append([name.split("/")[0] for name, entry in entries.items() if id(entry.variable) in on])
    stages = [["stem"], ["down4", "branch4"], ["bottleneck4", "down8", *["layer_normalization_0"] * 2]]
    stages += [[*["down16.inner"] * 2], ["down32"]]
    assert trained == [sum(stages[count:], []) for count in range(6)]  # the batch norm never


def test_stage_trains_only_what_is_not_frozen(network):
    model = model_with(network, freeze_stages=3)
    before, own = snapshot(model), network.get_weights()
    stage = RPNStage(model)
    stage.compile(keras.optimizers.SGD(1e-3, weight_decay=0.1), run_eagerly=True)
    stage.fit(endless(make_batch()), steps_per_epoch=1, verbose=0)
    body = {name.split("/")[0] for name in changed(before, snapshot(model)) if name.startswith("backbone.body.")}
    assert body == {"backbone.body.down16.inner", "backbone.body.down32"}
    assert all((old == new).all() for old, new in zip(own, network.get_weights()))  # the model has a copy


@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
def test_batch_norms_move_only_where_they_are_to(norm):
    config = config_with({**RAW, "norm": norm})
    backbone = make_backbone(config, small_network())
    backbone.freeze(0)
    before = snapshot_of(backbone)
    backbone(normalised(picture(32, 32)), training=True)
    moved = {name for name, value in snapshot_of(backbone).items() if (value != before[name]).any()}
    assert moved == (set() if norm == "frozen_bn" else {"stem_bn/moving_mean", "stem_bn/moving_variance"})
    assert any("gamma" in v.name for v in backbone.get_layer("body").get_layer("stem_bn").trainable_weights) == (
        norm == "bn"
    )


def snapshot_of(backbone):
    return {name: np.array(entry.variable.numpy()) for name, entry in backbone_weights(backbone).items()}


def test_weight_files_hold_the_network(network, tmp_path):
    model, other = model_with(network), model_with(small_network("other"))
    names = [name for name in named_weights(model) if name.startswith("backbone.body.")]
    assert names == [name for name in named_weights(other) if name.startswith("backbone.body.")]
    assert names[:3] == [f"backbone.body.{name}" for name in ("stem/kernel", "stem_bn/gamma", "stem_bn/beta")]
    model.save_pretrained(tmp_path / "model.safetensors")
    other.load_pretrained(tmp_path / "model.safetensors")
    assert not changed(snapshot(model), snapshot(other))
    with pytest.raises(WeightsError, match="no model can be made from its config: .*MaskRCNN\\(config, backbone"):
        MaskRCNN.from_preset(tmp_path / "model.safetensors")


def test_mixed_precision(network):
    with dtype_policy("mixed_bfloat16"):
        backbone = FunctionalBackbone(copy_network(network), raw)
    image = normalised(picture(64, 64))
    maps = backbone(image)
    assert {fmap.dtype.name for fmap in maps} == {"bfloat16"}
    assert {tf.as_dtype(weight.dtype).name for weight in backbone.weights} == {"float32"}
    expected = FunctionalBackbone(copy_network(network), raw)(image)
    for fmap, other in zip(maps, expected):
        error, largest = np.abs(np.float32(fmap) - other), np.abs(other).max()
        assert error.mean() < 0.01 * largest and error.max() < 0.08 * largest  # bfloat16 has 8 binary digits


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_folding_keeps_the_network(network, neck):
    model = MaskRCNN(config_with(RAW, neck={"kind": neck, "norm": "frozen_bn"}), backbone=network)
    model.backbone.freeze(2)
    folded, image = fold_norms(model), normalised(picture(64, 96))
    for fmap, expected in zip(folded.extract_features(image), model.extract_features(image)):
        np.testing.assert_allclose(fmap, expected, atol=1e-5 * np.abs(expected).max())


def test_settings_and_instance_must_agree(network):
    for config, instance in ((small_config(), network), (config_with(RAW), None)):
        with pytest.raises(ValueError, match="takes two things"):
            make_backbone(config, instance)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"name": "DenseNet121", "depth": 18}, r"depth belong to the ResNet .*backbone=\{name: DenseNet121\}"),
        ({"name": "DenseNet121", "arguments": {"include_top": True}}, "include_top: set by the detector"),
        ({"name": "DenseNet121", "norm": "group_norm"}, "backbone.ApplicationsConfig.norm"),
        ({"preprocessing": "imagenet"}, "backbone.InstanceConfig.preprocessing"),
    ],
)
def test_settings_that_do_not_fit_the_kind_are_refused(backbone, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({"backbone": backbone})


def test_settings_on_top_of_a_preset():
    config = load_config("scenes-small", ("model.backbone={name: ConvNeXtTiny}",))
    assert config.model.backbone == ApplicationsConfig(name="ConvNeXtTiny")
    assert type(config).model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(ConfigError, match=r"--set: model.backbone: .*replace the whole group"):
        load_config("scenes-small", ("model.backbone.name=ConvNeXtTiny",))
    with pytest.raises(ConfigError, match="unknown key model.backbone.freeze_stage, did you mean .*freeze_stages"):
        load_config("scenes-small", ("model.backbone={name: ConvNeXtTiny, freeze_stage: 1}",))


def test_names_and_arguments_that_keras_does_not_know():
    with pytest.raises(ValueError, match="no such network; did you mean .*EfficientNetV2B0"):
        make_application("EfficientnetV2B0", {})
    with pytest.raises(ValueError, match="MobileNetV3Small refuses them: .*beta"):
        make_application("MobileNetV3Small", {"beta": 2})


def test_network_by_name_with_weights_of_its_own(tmp_path):
    config, path = config_with(SMALLEST), tmp_path / "imagenet.weights.h5"
    trained = make_application(**SMALLEST)
    trained.save_weights(path)
    model = MaskRCNN(config)
    names = [name for name in named_weights(model) if name.startswith("backbone.body.")]
    assert names[1] == "backbone.body.conv_bn/gamma" and names[-1] == "backbone.body.conv_1_bn/moving_variance"
    assert len(names) == len(trained.weights)
    load_backbone(model.backbone, str(path))

    image = picture(64, 96)
    expected = trained(preprocessing_of("MobileNetV3Small")(image[None].astype(np.float32)))
    np.testing.assert_allclose(model.backbone(normalised(image))[-1], expected, atol=1e-4 * np.abs(expected).max())

    model.save_pretrained(tmp_path / "model.safetensors")
    assert not changed(snapshot(model), snapshot(MaskRCNN.from_preset(tmp_path / "model.safetensors")))
    with pytest.raises(WeightsError, match="no such file"):
        load_backbone(model.backbone, str(tmp_path / "nowhere.h5"))


# Channels of the maps.
FAMILIES = {
    "ConvNeXtTiny": (96, 192, 384, 768),
    "EfficientNetV2B0": (32, 192, 672, 1280),
    "MobileNetV3Large": (72, 240, 672, 960),
    "ResNet50V2": (256, 512, 1024, 2048),
    "DenseNet121": (128, 256, 512, 1024),
    "ResNet50": (256, 512, 1024, 2048),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    network, preprocess, image = make_application(name, {}), preprocessing_of(name), picture(64, 96)
    backbone = FunctionalBackbone(network, preprocess)
    maps = backbone(normalised(image))
    assert backbone.channels == FAMILIES[name]
    assert [fmap.shape[1:3] for fmap in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    expected = network(preprocess(image[None].astype(np.float32)))
    np.testing.assert_allclose(maps[-1], expected, atol=1e-4 * np.abs(expected).max())
    assert len(backbone_weights(backbone)) == len(backbone.weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["InceptionV3", "NASNetMobile", "Xception"])
def test_families_without_such_maps(name):
    with pytest.raises(ValueError, match=r"backbone .*: (has no map of stride 4|cannot take)"):
        FunctionalBackbone(make_application(name, {}), preprocessing_of(name))
