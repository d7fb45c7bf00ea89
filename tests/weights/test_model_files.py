"""Weight files into models and back: ours, torchvision's, those of other classes, and refusals that change nothing."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from file_server import publishing
from safetensors.numpy import load_file, save_file
from small_models import fill, inputs, small_config
from state_dicts import COUNTER, filled, mask_rcnn_shapes, old_spelling, resnet_shapes, without_counters

from keras_mrcnn.mask_rcnn.conversion import convert_weights
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.pretrained import PRETRAINED
from keras_mrcnn.weights import WeightsError, keras_applications, load_backbone
from keras_mrcnn.weights.model_files import read_weights
from keras_mrcnn.weights.names import backbone_weights
from keras_mrcnn.weights.native import named_values, read_safetensors
from keras_mrcnn.weights.torch_files import read_state_dict
from keras_mrcnn.weights.torch_writer import write_state_dict


@pytest.fixture(scope="module")
def model():
    """A filled model with the classes a and b. Shared: do not change it."""
    return fill(MaskRCNN(small_config()))


@pytest.fixture(scope="module")
def scratch():
    """A model as `model`, with any weights."""
    return MaskRCNN(small_config())


@pytest.fixture(scope="module")
def three():
    """A model with a third class, with any weights."""
    return MaskRCNN(small_config(class_names=("a", "b", "c")))


@pytest.fixture(scope="module")
def strided():
    """A model with the stride in the first convolution and a large epsilon."""
    return MaskRCNN(small_config(backbone={"stride_in": "1x1", "norm_epsilon": 1e-3}))


@pytest.fixture(scope="module")
def ours(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "new" / "ours.safetensors"
    model.save_pretrained(path)
    return path


@functools.cache
def state_dict(**sizes):
    """The weights of a small torchvision model, with frozen batch norms in the first version as in published files."""
    tensors = filled(mask_rcnn_shapes(**sizes))
    return tensors if sizes.get("v2") else without_counters(tensors)


@pytest.fixture
def theirs(tmp_path):
    """The first version with three outputs, as safetensors; it fits the shapes of `small_config`."""
    path = tmp_path / "theirs.safetensors"
    save_file(state_dict(), path)
    return path


def assert_same(first, second):
    """Equal names, dtypes and bits."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype and value.shape == second[name].shape, name
        assert value.tobytes() == second[name].tobytes(), name


def refused(message, use, file, model=None):
    """`use` raises an error of one line that names the file, and leaves the model as it was."""
    before = None if model is None else named_values(model)
    with pytest.raises(WeightsError, match=message) as caught:
        use()
    assert os.path.basename(file) in str(caught.value) and "\n" not in str(caught.value)
    if model is not None:
        assert_same(named_values(model), before)
    return str(caught.value)


# Our own files.


def test_a_model_is_built_from_our_file_alone(model, ours):
    again = MaskRCNN.from_preset(ours)
    assert again.config == model.config
    assert_same(named_values(again), named_values(model))
    for name, value in model(inputs()).items():
        np.testing.assert_allclose(again(inputs())[name], value, atol=1e-5)


def test_a_given_model_is_filled_and_returned(model, scratch, ours):
    scratch.load_pretrained(str(ours), strict=True)
    assert_same(named_values(scratch), named_values(model))


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_behind(model, ours):
    content = ours.read_bytes()
    model.save_pretrained(ours)
    assert ours.read_bytes() == content
    assert [file.name for file in ours.parent.iterdir()] == [ours.name]


def test_our_file_is_a_state_dict_and_holds_the_config(ours):
    tensors, metadata = read_safetensors(ours)
    assert tensors.keys() == state_dict().keys()
    assert json.loads(metadata["config"])["class_names"] == ["a", "b"]


def test_our_file_needs_no_names_or_epsilon(ours, scratch):
    message = "has its own class names and epsilon"
    refused(message, lambda: MaskRCNN.from_preset(ours, norm_epsilon=1e-5), ours)
    refused(message, lambda: scratch.load_pretrained(ours, class_names=["a", "b"]), ours)
    assert MaskRCNN.from_preset(ours, class_names=["a", "b"]).config.class_names == ("a", "b")


def test_other_classes_get_a_head_of_their_own(ours, theirs):
    for path in (ours, theirs):
        made = MaskRCNN.from_preset(path, class_names=("x", "y", "z"))
        assert made.config.class_names == ("x", "y", "z") and made.config.category_ids == (1, 2, 3)
        stem = MaskRCNN.from_preset(path).backbone.stem.conv.kernel
        np.testing.assert_array_equal(made.backbone.stem.conv.kernel.numpy(), stem.numpy())
    with pytest.raises(ValueError, match="class_names is 'abc', expected a sequence of names"):
        MaskRCNN.from_preset(ours, class_names="abc")


@pytest.mark.parametrize("name", ["model.h5", "model", "model.safetensors.bak"])
def test_files_of_other_suffixes_are_not_written(model, name, tmp_path):
    path = tmp_path / name
    refused(r"name it \*.safetensors", lambda: model.save_pretrained(path), path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "its config cannot be used: Expecting"),
        ('{"depth": 3}', "its config cannot be used: depth: Extra inputs"),
        ("[" * 100_000, "its config cannot be used"),
        ("{}", "no model can be made from its config: class_names is empty"),
        ('{"class_names": ["a", "a"]}', "class_names must differ"),
        ('{"class_names": ["a"], "neck": {"channels": "x"}}', "neck.channels: Input should be a valid integer"),
    ],
)
def test_our_files_with_a_wrong_config(config, message, ours, tmp_path):
    path = tmp_path / "changed.safetensors"
    save_file(read_safetensors(ours)[0], path, {"config": config})
    refused(message, lambda: MaskRCNN.from_preset(path), path)


# State dicts of torchvision.

SMALL = {"base": 4, "channels": 4, "dense": 6}
MODELS = [
    ({"depth": 18, **SMALL}, "frozen_bn"),
    ({"depth": 34, "v2": True, "outputs": 6, **SMALL}, "bn"),
    ({"depth": 50, "v2": True, "box_convs": 4, "mask_convs": 4, "outputs": 91, **SMALL}, "bn"),
    ({"depth": 101, **SMALL}, "frozen_bn"),
]


@pytest.mark.parametrize(("sizes", "norm"), MODELS)
def test_a_model_is_built_from_a_state_dict(sizes, norm, tmp_path):
    path, state = tmp_path / "state.safetensors", state_dict(**sizes)
    save_file(state, path)
    built = MaskRCNN.from_preset(path)
    config = built.config
    assert (config.backbone.depth, config.backbone.width, config.backbone.norm) == (sizes["depth"], 0.0625, norm)
    assert len(config.class_names) == sizes.get("outputs", 3) - 1
    assert config.neck.norm == ("bn" if sizes.get("v2") else None)
    assert_same(named_values(built), without_counters(state))
    built.save_pretrained(path)
    assert_same(load_file(path), without_counters(state))
    assert read_weights(path).config == config


@pytest.mark.parametrize("v2", [False, True])
def test_state_dict_to_ours_and_back_is_bitwise_equal(v2, tmp_path):
    source, middle, end = (tmp_path / f"{name}.safetensors" for name in ("source", "middle", "end"))
    state = state_dict(v2=v2, **SMALL)
    save_file(state, source)
    config = convert_weights(source, middle)
    assert_same(load_file(middle), state)
    assert convert_weights(middle, end) == config
    assert middle.read_bytes() == end.read_bytes()


@pytest.mark.parametrize(("v2", "suffix"), [(False, "pth"), (True, "pt")])
def test_torchs_file_to_ours_and_back_is_bitwise_equal(v2, suffix, tmp_path):
    source, middle, end = (tmp_path / name for name in (f"source.{suffix}", "middle.safetensors", f"end.{suffix}"))
    write_state_dict(source, state_dict(v2=v2, **SMALL))
    config = convert_weights(source, middle)
    assert_same(load_file(middle), state_dict(v2=v2, **SMALL))
    assert convert_weights(middle, end) == config
    assert_same(read_state_dict(end), read_state_dict(source))


def test_torchs_file_by_way_of_a_model(model, scratch, tmp_path):
    path = tmp_path / "new" / "model.pth"
    model.save_pretrained(path)
    scratch.load_pretrained(path, class_names=("a", "b"), strict=True)
    assert_same(named_values(scratch), named_values(model))
    assert read_state_dict(path).keys() == state_dict().keys()


def test_torchs_files_of_wrapped_models_in_the_old_spelling(tmp_path):
    path = tmp_path / "checkpoint.pth"
    write_state_dict(path, {f"module.{name}": value for name, value in old_spelling(state_dict()).items()})
    assert_same(read_weights(path).tensors, state_dict())


def test_group_norms_are_read_again(tmp_path):
    """A state dict has no config, yet the kind of norm follows from its names."""
    kinds = {part: {"norm": "group_norm"} for part in ("backbone", "neck", "box_head", "mask_head")}
    kinds["box_head"].update(convolutions=1, conv_channels=8)
    first = fill(MaskRCNN(small_config(**kinds)))
    path = tmp_path / "group_norm.safetensors"
    save_file(named_values(first), path)
    again = MaskRCNN.from_preset(path, class_names=["a", "b"])
    assert [getattr(again.config, part).norm for part in kinds] == ["group_norm"] * 4
    assert_same(named_values(again), named_values(first))


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_old_spelling_is_read(wrapper, theirs, tmp_path):
    path = tmp_path / "old.safetensors"
    old = old_spelling(state_dict())
    assert "rpn.head.conv.weight" in old and "roi_heads.mask_head.mask_fcn1.weight" in old
    save_file({wrapper + name: value for name, value in old.items()}, path)
    assert_same(read_weights(path).tensors, read_weights(theirs).tensors)
    assert read_weights(path).config == read_weights(theirs).config


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_precisions_are_read_as_float32(kind, tmp_path):
    path, kind = tmp_path / "half.safetensors", tf.as_dtype(kind).as_numpy_dtype
    state = {name: value.astype(kind) for name, value in state_dict().items()}
    save_file(state, path)
    assert_same(read_weights(path).tensors, {name: value.astype(np.float32) for name, value in state.items()})


def test_half_writes_kernels_as_float16_and_the_rest_as_it_is(model, ours, tmp_path):
    path = tmp_path / "half.safetensors"
    convert_weights(ours, path, half=True)
    for name, value in load_file(path).items():
        assert value.dtype == (np.float16 if value.ndim > 1 else np.float32)
        np.testing.assert_allclose(value, named_values(model)[name], rtol=1e-3, atol=1e-7)
    assert MaskRCNN.from_preset(path).config == model.config


def test_half_refuses_what_it_cannot_hold(ours, tmp_path):
    tensors, metadata = read_safetensors(ours)
    tensors["backbone.body.conv1.weight"][0, 0, 0, 0] = 7e4
    save_file(tensors, tmp_path / "large.safetensors", metadata)
    with pytest.raises(WeightsError, match="conv1.weight holds 70000, more than float16 can"):
        convert_weights(tmp_path / "large.safetensors", tmp_path / "half.safetensors", half=True)
    assert not (tmp_path / "half.safetensors").exists()


def test_anchors_of_other_counts_come_from_the_given_model(tmp_path):
    path = tmp_path / "anchors.safetensors"
    shapes = mask_rcnn_shapes()
    for name, count in (("cls_logits", 5), ("bbox_pred", 20)):
        shapes.update({f"rpn.head.{name}.weight": (count, 8, 1, 1), f"rpn.head.{name}.bias": (count,)})
    state = without_counters(filled(shapes))
    save_file(state, path)
    refused("5 anchors a cell", lambda: MaskRCNN.from_preset(path), path)
    given = MaskRCNN(small_config(rpn={"aspect_ratios": (0.25, 0.5, 1, 2, 4)}))
    given.load_pretrained(path, class_names=["a", "b"], strict=True)
    assert_same(named_values(given), state)


# Other classes.


def is_class_layer(name):
    return any(part in name for part in ("cls_score", "box_predictor.bbox_pred", "mask_fcn_logits"))


@pytest.mark.parametrize("names", [("b", "a"), ("a", "b", "c")])
def test_other_classes_get_all_but_the_class_dependent_layers(names, model, three, ours, caplog):
    other = three if len(names) == 3 else MaskRCNN(small_config(class_names=names))
    before = named_values(other)
    refused("load it without strict", lambda: other.load_pretrained(ours, strict=True), ours, other)
    with caplog.at_level(logging.WARNING):
        other.load_pretrained(ours)
    (record,) = caplog.records
    wanted = named_values(model)
    for name, value in named_values(other).items():
        assert value.tobytes() == (before if is_class_layer(name) else wanted)[name].tobytes(), name
        assert (name in record.getMessage()) == is_class_layer(name)
    assert ours.name in record.getMessage() and "6 weights are not loaded" in record.getMessage()
    assert ("other classes" if len(names) == 2 else f"has 2 classes, the model {len(names)}") in record.getMessage()


def test_state_dict_without_names_says_how_to_name_them(theirs, scratch, three, caplog):
    with caplog.at_level(logging.WARNING):
        scratch.load_pretrained(theirs)
    assert "pass class_names" in caplog.text
    caplog.clear()
    scratch.load_pretrained(theirs, class_names=("a", "b"), strict=True)
    assert not caplog.records
    assert_same(named_values(scratch), state_dict())
    refused("has 2 classes .* not 3 as class_names", lambda: three.load_pretrained(theirs, class_names="abc"), theirs)


def test_coco_to_own_classes(three, tmp_path, caplog):
    path = tmp_path / "coco.safetensors"
    save_file({name: value + np.float32(1) for name, value in state_dict(outputs=91).items()}, path)
    with caplog.at_level(logging.WARNING):
        three.load_pretrained(path)
    assert "has 90 classes, the model 3" in caplog.text
    values, wanted = named_values(three), load_file(path)
    assert all(values[name].tobytes() == wanted[name].tobytes() for name in values if not is_class_layer(name))


# Files that are refused.


@pytest.mark.parametrize("same_classes", [True, False])
def test_files_that_do_not_fit_leave_the_model_as_it_was(same_classes, model, three, ours, tmp_path):
    other = model if same_classes else three
    name = "backbone.body.layer4.1.bn2.bias"
    tensors, metadata = read_safetensors(ours)
    path = tmp_path / "changed.safetensors"
    for change, message in (
        ({name: None}, f"lacks 1 weights of the model, first {name}"),
        ({"extra": np.zeros(1, np.float32)}, "holds 1 weights that the model does not have, first extra"),
        ({name: np.zeros(9, np.float32)}, r"bn2.bias has shape \(9,\), the model's is \(64,\)"),
        ({name: np.zeros(64, np.int32)}, "bn2.bias holds int32, no floating-point numbers"),
    ):
        changed = {**tensors, **change}
        save_file({key: value for key, value in changed.items() if value is not None}, path, metadata)
        refused(message, lambda: other.load_pretrained(path), path, other)


def test_another_architecture_is_refused(theirs, model, tmp_path):
    path = tmp_path / "v2.safetensors"
    save_file(state_dict(v2=True), path)
    refused("lacks .* weights of the model", lambda: model.load_pretrained(path), path, model)
    c4 = MaskRCNN(small_config(neck={"kind": "c4"}))
    refused("weights that the model does not have|has shape", lambda: c4.load_pretrained(theirs), theirs, c4)


def hostile(folder):
    """A pickle that makes a folder when something runs it."""

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(folder),)

    return Hostile()


@pytest.mark.parametrize("name", ["hostile.safetensors", "hostile.pth", "hostile.bin"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_file_does_not_run(protocol, name, model, tmp_path):
    path, folder = tmp_path / name, tmp_path / "made by the file"
    path.write_bytes(pickle.dumps(hostile(folder), protocol))
    backbone = model.backbone
    for use in (
        lambda: MaskRCNN.from_preset(path),
        lambda: model.load_pretrained(path),
        lambda: load_backbone(backbone, path),
        lambda: convert_weights(path, tmp_path / "new.safetensors"),
    ):
        refused("safetensors|nothing in it was run", use, path, model)
        assert [file.name for file in tmp_path.iterdir()] == [name]
    pickle.loads(path.read_bytes())
    assert folder.is_dir()  # so the test could fail


def test_missing_and_torn_files(ours, model, tmp_path):
    path = tmp_path / "torn.safetensors"
    refused("no such file", lambda: model.load_pretrained(path), path, model)
    refused("no such file", lambda: model.load_pretrained(tmp_path), tmp_path, model)
    content = ours.read_bytes()
    for length in (0, 1, 8, 9, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused("not a whole safetensors file", lambda: model.load_pretrained(path), path, model)


def test_safetensors_of_something_else(model, tmp_path):
    path = tmp_path / "else.safetensors"
    for tensors in ({}, {"a": np.zeros(3)}, {"backbone.body.conv1.weight": np.zeros(3)}):
        save_file(tensors, path)
        refused("lacks backbone.body.conv1.weight", lambda: model.load_pretrained(path), path, model)


# Epsilon of the batch norms.


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [
        ("maskrcnn_resnet50_fpn_coco-bf2d0c1e.safetensors", 0.0),
        ("maskrcnn_resnet50_fpn_v2_coco-73cbd019.safetensors", 1e-5),
        ("model.safetensors", 1e-5),
    ],
)
def test_published_file_is_known_by_its_name(name, epsilon, tmp_path):
    path = tmp_path / name
    save_file(state_dict(), path)
    assert read_weights(path).config.backbone.norm_epsilon == epsilon
    assert read_weights(path, norm_epsilon=1e-3).config.backbone.norm_epsilon == 1e-3


def test_published_file_is_known_by_its_hash(theirs, monkeypatch):
    assert read_weights(theirs).config.backbone.norm_epsilon == 1e-5
    name, checksum = "maskrcnn_resnet50_fpn_coco", f"sha256:{hashlib.sha256(theirs.read_bytes()).hexdigest()}"
    monkeypatch.setitem(PRETRAINED, name, dataclasses.replace(PRETRAINED[name], checksum=checksum))
    backbone = MaskRCNN.from_preset(theirs).backbone
    assert {norm.epsilon for norm in (backbone.stem.norm, backbone.stages[3][1].convs[1].norm)} == {0}


def test_epsilon_outlives_the_conversion(theirs, tmp_path):
    path = tmp_path / "new.safetensors"
    assert convert_weights(theirs, path, norm_epsilon=0, class_names=["cat", "dog"]).backbone.norm_epsilon == 0
    config = read_weights(path).config
    assert (config.class_names, config.backbone.norm_epsilon) == (("cat", "dog"), 0)


def test_a_model_of_another_epsilon_or_stride_is_refused(theirs, model, strided):
    message = "model.backbone.norm_epsilon 0.0, this one has 1e-05; set model.backbone.norm_epsilon=0.0"
    refused(message, lambda: model.load_pretrained(theirs, norm_epsilon=0.0), theirs, model)
    refused("norm_epsilon: Input should be greater", lambda: MaskRCNN.from_preset(theirs, norm_epsilon=-1), theirs)
    message = "backbone.stride_in 3x3, this one has 1x1"
    refused(message, lambda: strided.load_pretrained(theirs, norm_epsilon=1e-3), theirs, strided)


# Backbones.


def backbone(depth=18, width=0.125, **settings):
    made = ResNet(depth, width, **settings)
    made(tf.zeros([1, 64, 64, 3]))
    return made


def backbone_values(made):
    return {name: entry.to_torch(entry.variable.numpy()) for name, entry in backbone_weights(made).items()}


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_classifiers_fill_backbones(depth, tmp_path):
    state = filled(resnet_shapes(depth, base=4, classes=10))
    path = tmp_path / "resnet.safetensors"
    save_file(state, path)
    made = backbone(depth, 0.0625)
    load_backbone(made, str(path))
    assert_same(backbone_values(made), {k: v for k, v in without_counters(state).items() if not k.startswith("fc.")})


def test_classifiers_of_torch_fill_backbones(tmp_path):
    state = filled(resnet_shapes(18, classes=10))
    path = tmp_path / "resnet18-f37072fd.pth"
    write_state_dict(path, state)
    made = backbone()
    load_backbone(made, path)
    assert backbone_values(made)["layer4.1.conv2.weight"].tobytes() == state["layer4.1.conv2.weight"].tobytes()


def test_backbone_that_ends_at_c4_takes_what_it_has(tmp_path):
    path = tmp_path / "resnet.safetensors"
    state = filled(resnet_shapes(50, classes=10))
    save_file(state, path)
    made = backbone(50, stages=4)
    load_backbone(made, path)
    values = backbone_values(made)
    assert not any(name.startswith("layer4") for name in values) and len(values) == 5 * 43
    assert_same(values, {name: state[name] for name in values})


def test_backbones_of_whole_models(theirs, ours, model):
    for path, tensors in ((theirs, state_dict()), (ours, named_values(model))):
        made = backbone()
        load_backbone(made, path)
        prefix = "backbone.body."
        assert_same(backbone_values(made), {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 34}, "lacks .* weights of the model"),
        ({"width": 0.25}, r"has shape \(8, 3, 7, 7\), the model's is \(16, 3, 7, 7\)"),
        ({"norm": "group_norm"}, "holds .* weights that the model does not have, first bn1.running_mean"),
        ({"stride_in": "1x1"}, "backbone.stride_in 3x3, this one has 1x1"),
        ({"epsilon": 1e-3}, "backbone.norm_epsilon 1e-05, this one has 0.001"),
    ],
)
def test_backbones_that_do_not_fit_stay_as_they_were(settings, message, theirs, tmp_path):
    classifier = tmp_path / "resnet.safetensors"
    save_file(filled(resnet_shapes(18, classes=10)), classifier)
    made = backbone(**settings)
    before = backbone_values(made)
    for path in (classifier, theirs):
        refused(message, lambda file=path: load_backbone(made, file), path)
    assert_same(backbone_values(made), before)


def test_our_models_with_the_stride_in_the_first_convolution(strided, tmp_path):
    path = tmp_path / "ours.safetensors"
    strided.save_pretrained(path)
    load_backbone(backbone(stride_in="1x1", epsilon=1e-3), path)
    refused("stride_in 1x1, this one has 3x3", lambda: load_backbone(backbone(epsilon=1e-3), path), path)


def test_classifiers_are_no_models(model, tmp_path):
    path = tmp_path / "resnet.safetensors"
    save_file(filled(resnet_shapes(18, classes=10)), path)
    for use in (lambda: model.load_pretrained(path), lambda: convert_weights(path, tmp_path / "new.safetensors")):
        refused("ImageNet classifier.*model.backbone.weights", use, path, model)
    assert read_weights(path).config is None and len(read_weights(path).counters) == 20
    assert all(name.endswith(COUNTER) for name in read_weights(path).counters)


# Published weights by name.


def test_a_name_stands_for_its_file(theirs, tmp_path, monkeypatch):
    with publishing("maskrcnn_resnet50_fpn_coco", theirs, monkeypatch, tmp_path) as server:
        made = MaskRCNN.from_preset("maskrcnn_resnet50_fpn_coco")
        assert made.config.backbone.norm_epsilon == 0  # as torchvision has it for these weights alone
        assert_same(named_values(made), without_counters(load_file(theirs)))
        converted = convert_weights("maskrcnn_resnet50_fpn_coco", tmp_path / "ours.safetensors")
        assert converted == made.config and len(server.requests) == 1


def test_a_name_stands_for_a_backbone(tmp_path, monkeypatch):
    state = filled(resnet_shapes(18, base=4, classes=10))
    save_file(state, tmp_path / "resnet.safetensors")
    made = backbone(18, 0.0625)
    with publishing("resnet18_imagenet", tmp_path / "resnet.safetensors", monkeypatch, tmp_path) as server:
        load_backbone(made, "resnet18_imagenet")
        assert len(server.requests) == 1
    assert_same(backbone_values(made), {k: v for k, v in without_counters(state).items() if not k.startswith("fc.")})


def test_a_name_stands_for_a_file_of_keras(scratch, tmp_path, monkeypatch):
    (tmp_path / "notop.h5").write_bytes(b"HDF5")
    name, given = "resnet50_imagenet_keras", []
    monkeypatch.setattr(keras_applications, "load_imagenet", lambda backbone, source: given.append(source))
    with publishing(name, tmp_path / "notop.h5", monkeypatch, tmp_path):
        load_backbone(scratch.backbone, name)
        load_backbone(scratch.backbone, "imagenet")
        assert given == [str(tmp_path / "models" / f"{name}-12345678.h5"), "imagenet"]
        refused("is a file of Keras; only model.backbone.weights", lambda: read_weights(name), Path(name))


def test_names_that_cannot_be_used(scratch, tmp_path, monkeypatch):
    (tmp_path / "nothing.pth").write_bytes(b"")
    with publishing("resnet18_imagenet", tmp_path / "nothing.pth", monkeypatch, tmp_path) as server:
        with pytest.raises(WeightsError, match="resnet18_imagenet: holds an ImageNet classifier, not a Mask R-CNN"):
            scratch.load_pretrained("resnet18_imagenet")
        assert not server.requests  # nothing is downloaded in vain
        server.faults = ["404"]
        with pytest.raises(WeightsError, match="the server answers 404 .* save it as"):
            load_backbone(scratch.backbone, "resnet18_imagenet")
    with pytest.raises(WeightsError, match="did you mean resnet18_imagenet"):
        load_backbone(scratch.backbone, "resnet18_imagnet")
