"""Any functional Keras model as a backbone, above all those of `keras.applications`.

Shapes: B batch, H W of the input, C channels of the pictures.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple, Optional

import keras
import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.ops.pixels import PIXEL_MEAN, PIXEL_STD, pixel_statistics

# A size on which the stride of a map can be read off; no map has it by chance.
PROBE_SIZE = (256, 320)
STRIDES = (1, 2, 4, 8, 16, 32)


class FunctionalBackbone(keras.Model):
    """The maps of strides 4, 8, 16 and 32 of a functional Keras model, found by itself.

    Of each stride it takes the last map that everything after it is computed from, so that nothing of the network gets
    lost: the sum at the end of a residual stage, not a convolution on one of its branches. A model with several outputs
    has named its maps already, and these are taken.

    Args:
        network: functional `keras.Model` that takes RGB pictures of any size; becomes part of the backbone.
        preprocess: function from pictures (float32 array [..., 3], RGB, 0..255) to what the network expects, the same
            for every pixel, such as `keras.applications.resnet.preprocess_input`.
        maps: how many to give: 4, or 3 to end with stride 16.
        channels: C of the pictures: 3; 1 for grey, which the network sees as RGB; or 4, where each colour gets a
            trainable share of the fourth channel, at first zero, so that the network begins as on RGB.
        make_trained: function of `weights`, "imagenet" or a file, that gives such a network with these weights; None
            where there is no such function.
        train_norms: whether batch norms learn, and dropout and stochastic depth act, in training. By default the
            network runs in training as it does in use, and batch norms stay as they are.

    Call arguments:
        images: float [B, H, W, C], normalised by `pixel_statistics`; H and W are multiples of 32.
        training: does nothing unless `train_norms`.

    Returns:
        A list of maps [B, H / 4, W / 4, ...], ..., finest first.

    Raises:
        ValueError: the network lacks such maps, or takes no RGB pictures of any size.

    Example:
        >>> network = keras.applications.ResNet50V2(include_top=False, weights=None)
        >>> backbone = FunctionalBackbone(network, keras.applications.resnet_v2.preprocess_input)
        >>> [fmap.shape[1] for fmap in backbone(tf.zeros([1, 64, 64, 3]))]
        [16, 8, 4, 2]
    """

    def __init__(
        self,
        network: keras.Model,
        preprocess: Callable[[np.ndarray], np.ndarray],
        *,
        maps: int = 4,
        channels: int = 3,
        make_trained: Optional[Callable[[str], keras.Model]] = None,
        train_norms: bool = False,
        **kwargs,
    ):
        # Pictures stay in float32 until they are what the network expects; its layers compute in the global policy.
        super().__init__(dtype="float32", **kwargs)
        graph = _read_graph(network)
        chosen = _choose_maps(network, graph, STRIDES[2 : 2 + maps])
        self.body = keras.Model(network.inputs, [graph[index].tensor for index in chosen], name="body")
        self.stage_layers = _stages(graph, chosen)
        self.channels = tuple(int(fmap.shape[-1]) for fmap in self.body.outputs)
        self.make_trained, self.train_norms = make_trained, train_norms
        self.order, self.gain, self.offset = _input_transform(preprocess, channels)
        self.fourth = None
        if channels == 4:
            self.fourth = keras.layers.Conv2D(3, 1, use_bias=False, kernel_initializer="zeros", name="fourth")
        self.freeze(0)

    def call(self, images, training=False):
        rgb = images[..., :3]
        if self.fourth is not None:
            rgb += tf.cast(self.fourth(images[..., 3:]), rgb.dtype)
        if self.order is not None:
            rgb = tf.gather(rgb, self.order, axis=-1)
        # One grey channel becomes three here.
        return list(self.body(rgb * self.gain + self.offset, training=self.train_norms and training))

    def freeze(self, count: int) -> None:
        """Freezes the first `count` stages and makes the others trainable, less batch norms that are to stay.

        Stage 1 is what comes before the maps of stride 4; stages 2, 3, ... end with the maps of stride 4, 8, ...
        """
        if self.fourth is not None:
            self.fourth.trainable = count < 1
        frozen = {name for names in self.stage_layers[:count] for name in names}
        for layer in self.body.layers:
            for _, leaf in leaf_layers(layer):
                kept = isinstance(leaf, keras.layers.BatchNormalization) and not self.train_norms
                leaf.trainable = layer.name not in frozen and not kept


def leaf_layers(layer: keras.layers.Layer, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields (name, layer) of a layer, or of all layers in a model, in order; names of nested ones joined by "."."""
    if not isinstance(layer, keras.Model):
        yield f"{prefix}{layer.name}", layer
        return
    for inner in layer.layers:
        nested = f"{prefix}{inner.name}." if isinstance(inner, keras.Model) else prefix
        yield from leaf_layers(inner, nested)


def make_application(name: str, arguments: dict, weights: Optional[str] = None) -> keras.Model:
    """Returns a network of `keras.applications` for pictures of any size, without its classifier.

    Args:
        name: of the constructor, such as "ConvNeXtTiny".
        arguments: further keyword arguments of it.
        weights: None, "imagenet", or a file.

    Raises:
        ValueError: there is no such network, or it does not take the arguments.
    """
    try:
        return _constructor(name)(include_top=False, weights=weights, input_shape=(None, None, 3), **arguments)
    except TypeError as error:
        raise UserError(f"model.backbone.arguments {arguments}: {name} refuses them: {error}") from error


def preprocessing_of(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the `preprocess_input` that belongs to a network of `keras.applications`."""
    return sys.modules[_constructor(name).__module__].preprocess_input


def preprocessing_by_mode(mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a preprocessing by the name that `keras.applications` has for it, or "raw" for none."""
    if mode == "raw":
        return lambda pictures: pictures
    return lambda pictures: keras.applications.imagenet_utils.preprocess_input(pictures, "channels_last", mode)


def copy_network(network: keras.Model) -> keras.Model:
    """Returns a functional model with weights of its own, which computes in the global dtype policy."""
    config = network.get_config()
    _set_policy(config, keras.mixed_precision.global_policy().name)
    copy = network.__class__.from_config(config)
    copy.set_weights(network.get_weights())
    return copy


def _set_policy(tree, policy):
    """Gives every layer in a model's config, nested ones too, a dtype policy; inputs and tensors stay."""
    if isinstance(tree, (list, tuple)):
        for item in tree:
            _set_policy(item, policy)
    elif isinstance(tree, dict):
        config, kind = tree.get("config"), tree.get("class_name")
        if isinstance(config, dict) and "dtype" in config and kind not in ("InputLayer", "__keras_tensor__"):
            config["dtype"] = policy
        for value in tree.values():
            _set_policy(value, policy)


def _constructor(name):
    constructor = getattr(keras.applications, name, None)
    if constructor is None or not name[:1].isupper():
        names = [each for each in dir(keras.applications) if each[:1].isupper()]
        nearest = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"it has {', '.join(names)}"
        raise UserError(f"model.backbone.name {name}: keras.applications has no such network; {hint}")
    return constructor


class _Step(NamedTuple):
    """One node of a functional graph; its stride is None where its output is no map of a whole number of cells."""

    tensor: object
    layer_name: str
    parents: list[int]
    stride: Optional[int]
    is_output: bool
    is_cut: bool  # whether everything after it is computed from it alone


def _read_graph(network):
    """The steps of a functional model, each after its parents."""
    _check_inputs(network)
    # Neither Keras has a public name for the nodes.
    by_depth = network._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    index = {id(node): i for i, node in enumerate(nodes)}
    parents = [[index[id(parent)] for parent in node.parent_nodes if id(parent) in index] for node in nodes]
    tensors = [tf.nest.flatten(node.outputs)[0] for node in nodes]
    outputs = {id(tensor) for tensor in network.outputs}
    names = [(node.operation if hasattr(node, "operation") else node.layer).name for node in nodes]
    strides, cuts = _strides(network, tensors), _cuts(parents)
    is_output = [id(tensor) in outputs for tensor in tensors]
    return [_Step(*fields) for fields in zip(tensors, names, parents, strides, is_output, cuts)]


def _check_inputs(network):
    inputs = getattr(network, "inputs", None)
    if not inputs or not hasattr(network, "_nodes_by_depth"):
        raise UserError(f"backbone {network!r}: only functional Keras models show their maps; pass one of these")
    if len(inputs) != 1 or tuple(inputs[0].shape) != (None, None, None, 3):
        shapes = ", ".join(str(tuple(each.shape)) for each in inputs)
        raise UserError(
            f"backbone {network.name}: takes {shapes}, and must take RGB pictures of any size; make it with "
            "input_shape=(None, None, 3)"
        )
    for name, layer in leaf_layers(network):
        # What it does is computed when its weights are loaded by Keras, and by nobody else.
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            raise UserError(
                f"backbone {network.name}: layer {name} has preprocessing in its weights, which weight files of ours "
                "cannot restore; give it a constant mean and variance (EfficientNetV2 instead of EfficientNet)"
            )


def _strides(network, tensors):
    probe = keras.Model(network.inputs, tensors)
    try:
        traced = tf.function(probe, autograph=False).get_concrete_function(tf.TensorSpec([1, *PROBE_SIZE, 3]))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"backbone {network.name}: cannot take {PROBE_SIZE} pixels ({reason})") from error
    outputs = tf.nest.flatten(traced.structured_outputs)
    return [_stride_of(tuple(output.shape)) for output in outputs]


def _stride_of(shape):
    cells = [tuple(side // stride for side in PROBE_SIZE) for stride in STRIDES]
    return dict(zip(cells, STRIDES)).get(shape[1:3]) if len(shape) == 4 else None


def _cuts(parents):
    """For each step whether no other before it has a child after it."""
    last_child = list(range(len(parents)))
    for index, own in enumerate(parents):
        for parent in own:
            last_child[parent] = max(last_child[parent], index)
    furthest = np.maximum.accumulate([0, *last_child])
    return [bool(furthest[index] <= index) for index in range(len(parents))]


def _choose_maps(network, graph, strides):
    outputs = [index for index, step in enumerate(graph) if step.is_output]
    candidates = outputs if len(outputs) > 1 else [index for index, step in enumerate(graph) if step.is_cut]
    last = {graph[index].stride: index for index in candidates}
    missing = [str(stride) for stride in strides if stride not in last]
    if missing:
        raise UserError(
            f"backbone {network.name}: has no map of stride {', '.join(missing)}; a backbone needs maps of just a 4th, "
            "an 8th, a 16th and a 32nd of each side of the picture"
        )
    return [last[stride] for stride in strides]


def _stages(graph, chosen):
    """Names of the layers of each stage; each ends with a map, the first with the last cut before stride 4."""
    stem = [i for i, step in enumerate(graph) if step.is_cut and step.stride in STRIDES[:2] and i < chosen[0]]
    stages, seen = [], set()
    for end in (stem[-1], *chosen):
        needed, todo = set(), [end]
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                needed.add(index)
                todo += graph[index].parents
        stages.append(tuple(dict.fromkeys(graph[index].layer_name for index in sorted(needed))))
    return tuple(stages)


def _input_transform(preprocess, channels):
    """Order, gain and offset that make the network's input of our normalised pictures.

    The preprocessing is tried on black and on the three colours, which says all of what it does to a pixel.
    """
    black, *colours = np.float64(preprocess(np.vstack([np.zeros([1, 3]), 255 * np.eye(3)])[None].astype(np.float32)))[0]
    scale = (np.array(colours) - black) / 255  # [from, to]
    order = np.abs(scale).argmax(axis=0)
    if channels == 1:
        (mean,), (std,) = pixel_statistics(1)
        mean, std = np.full(3, mean), np.full(3, std)
    else:
        mean, std = np.array(PIXEL_MEAN), np.array(PIXEL_STD)
    scale = 255 * scale[order, range(3)]
    gain, offset = scale * std[order], scale * mean[order] + black
    kept = channels == 1 or order.tolist() == [0, 1, 2]
    return None if kept else order, gain.astype(np.float32), offset.astype(np.float32)
