"""Names and layouts of weights: torchvision's, all of them, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import golden, uniform
from small_models import golden_model, small_config
from state_dicts import FULL_SIZE, hollow, mask_rcnn_shapes, resnet_shapes, without_counters

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.weights.architecture import infer_config
from keras_mrcnn.weights.names import backbone_weights, named_weights


def torch_shapes(entries):
    """Shapes in torch's layout, without moving any numbers."""
    return {name: entry.to_torch(np.empty(entry.variable.shape, np.uint8)).shape for name, entry in entries.items()}


@pytest.fixture(scope="module")
def full_size():
    """ResNet-50 FPN with the 90 classes of torchvision's COCO models."""
    return MaskRCNN(ModelConfig(class_names=tuple(f"class {i}" for i in range(90))))


def test_names_shapes_and_order_are_those_of_maskrcnn_resnet50_fpn(full_size):
    shapes = torch_shapes(named_weights(full_size))
    lines = [f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()]
    assert lines == golden("names")["names"].tolist()


def test_number_of_trained_weights_is_torchvisions(full_size):
    full_size.backbone.trainable = True
    count = sum(int(np.prod(variable.shape)) for variable in full_size.trainable_weights)
    assert count == int(golden("names")["trained"]) == 44_401_393


def test_names_and_shapes_are_those_of_maskrcnn_resnet50_fpn_v2():
    expected = without_counters(mask_rcnn_shapes(50, 91, v2=True, **FULL_SIZE))
    trained = {name: shape for name, shape in expected.items() if not name.endswith(("running_mean", "running_var"))}
    # torchvision's own count of the model's parameters
    assert sum(int(np.prod(shape)) for shape in trained.values()) == 46_359_409
    shapes = torch_shapes(named_weights(MaskRCNN(infer_config(hollow(expected)))))
    assert shapes == expected and list(shapes) == list(expected)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_names_and_shapes_of_backbones_are_those_of_torchvisions_classifiers(depth):
    backbone = ResNet(depth, 0.0625)
    backbone(tf.zeros([1, 32, 32, 3]))
    shapes = torch_shapes(backbone_weights(backbone))
    expected = without_counters(resnet_shapes(depth, base=4))
    assert shapes == expected and list(shapes) == list(expected)


def test_every_variable_has_one_name():
    head = {"convolutions": 2, "conv_channels": 8, "norm": "bn"}
    normed = {"neck": {"norm": "bn"}, "box_head": head, "mask_head": {"norm": "bn"}}
    for changes in ({}, {"neck": {"kind": "c4"}}, normed):
        model = MaskRCNN(small_config(**changes))
        named = [id(entry.variable) for entry in named_weights(model).values()]
        assert sorted(named) == sorted(id(variable) for variable in model.weights)


def test_layouts_go_there_and_back():
    for name, entry in named_weights(golden_model()).items():
        value = uniform(name + " layout", entry.variable.shape)
        np.testing.assert_array_equal(entry.from_torch(entry.to_torch(value)), value, err_msg=name)


def test_layouts_by_hand():
    entries = named_weights(golden_model())

    def place(name, index):
        """Where in torch's layout the element `index` of the Keras variable lies."""
        value = np.zeros(entries[name].variable.shape, np.float32)
        value[index] = 1
        return tuple(int(i[0]) for i in np.nonzero(entries[name].to_torch(value)))

    # (h, w, in, out) -> (out, in, h, w); transposed: (h, w, out, in) -> (in, out, h, w)
    assert place("backbone.body.conv1.weight", (1, 2, 0, 3)) == (3, 0, 1, 2)
    assert place("roi_heads.mask_predictor.conv5_mask.weight", (0, 1, 2, 3)) == (3, 2, 0, 1)
    assert place("roi_heads.box_head.fc7.weight", (4, 5)) == (5, 4)
    # Cell (1, 2) of 7 x 7 and channel 3 of 16: Keras counts (h, w, c), torch (c, h, w).
    assert place("roi_heads.box_head.fc6.weight", ((1 * 7 + 2) * 16 + 3, 6)) == (6, 3 * 49 + 1 * 7 + 2)


def test_first_dense_layer_after_convolutions_has_their_channels():
    """Torch's place of cell (1, 2) and channel 3 of the 5 that the convolutions give, where the maps have 8."""
    head = {"convolutions": 2, "conv_channels": 5, "dense_layers": 2}
    entries = named_weights(MaskRCNN(small_config(box_head=head)))
    assert [name for name in entries if "box_head" in name and name.endswith("weight")] == [
        f"roi_heads.box_head.{part}.weight" for part in ("0.0", "1.0", "3", "5")
    ]
    entry = entries["roi_heads.box_head.3.weight"]
    value = np.zeros(entry.variable.shape, np.float32)
    value[(1 * 7 + 2) * 5 + 3, 6] = 1
    assert np.argwhere(entry.to_torch(value)).tolist() == [[6, 3 * 49 + 1 * 7 + 2]]
    np.testing.assert_array_equal(entry.from_torch(entry.to_torch(value)), value)


def test_group_norm_has_no_statistics():
    names = named_weights(MaskRCNN(small_config(backbone={"norm": "group_norm"})))
    assert "backbone.body.bn1.weight" in names and not any("running" in name for name in names)
