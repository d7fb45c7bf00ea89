"""Makes backbones of functional Keras models, above all those of `keras.applications`.

Shapes: B batch, H W of the input, C channels of the pictures.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

import keras
import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.ops.pixels import pixel_statistics

# On an input of this size the size of a map tells its stride.
PROBE_SIZE = (256, 320)
STRIDES = (1, 2, 4, 8, 16, 32)


class FunctionalBackbone(keras.Model):
    """Backbone that finds the maps of strides 4, 8, 16 and 32 in a functional Keras model.

    For each stride it picks the last map on which everything after it depends, so that no part of the network is lost:
    the sum at the end of a residual stage, for example, not a convolution on one of its branches. A model with several
    outputs has chosen its maps already, so the backbone picks among these.

    Args:
        network: functional `keras.Model` that takes RGB pictures of any size; it becomes part of the backbone.
        preprocess: function from pictures (float32 array [..., 3], RGB, 0..255) to the input that the network expects,
            the same for every pixel, such as `keras.applications.resnet.preprocess_input`.
        maps: number of maps to return: 4, or 3 to end with stride 16.
        channels: C of the pictures: 3; 1 for grey, which the network sees as RGB; or 4, where each colour gets a
            trainable share of the fourth channel. The shares begin at zero, so that the network begins as on RGB.
        make_trained: function that takes `weights`, "imagenet" or a file, and returns the network with these weights;
            None where there is no such function.
        train_norms: whether batch norms learn, and dropout and stochastic depth act, in training. By default the
            network runs in training as it does in use, and batch norms stay as they are.

    Call arguments:
        images: float [B, H, W, C], normalised by `pixel_statistics`; H and W are multiples of 32.
        training: has no effect unless `train_norms` is set.

    Returns:
        A list of maps [B, H / 4, W / 4, ...], ..., finest first.

    Raises:
        ValueError: the network lacks such maps, or does not take RGB pictures of any size.

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
        **kwargs: Any,
    ):
        # The input transform computes in float32, the network's layers in the global policy.
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

    def call(self, images: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Returns the maps of the images, finest first."""
        rgb = images[..., :3]
        if self.fourth is not None:
            rgb += tf.cast(self.fourth(images[..., 3:]), rgb.dtype)
        if self.order is not None:
            rgb = tf.gather(rgb, self.order, axis=-1)
        # One grey channel becomes three here.
        return list(self.body(rgb * self.gain + self.offset, training=self.train_norms and training))

    def freeze(self, count: int) -> None:
        """Freezes the first `count` stages and makes the others trainable, except for batch norms that do not train.

        Stage 1 comes before the layers of stride 4; stages 2, 3, ... end with the maps of stride 4, 8, ...
        """
        if self.fourth is not None:
            self.fourth.trainable = count < 1
        frozen = {name for names in self.stage_layers[:count] for name in names}
        for layer in self.body.layers:
            for _, leaf in leaf_layers(layer):
                kept = isinstance(leaf, keras.layers.BatchNormalization) and not self.train_norms
                leaf.trainable = layer.name not in frozen and not kept


def leaf_layers(layer: keras.layers.Layer, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields (name, layer) for a layer, or for all layers of a model in order; a dot joins the names of nested ones."""
    if not isinstance(layer, keras.Model):
        yield f"{prefix}{layer.name}", layer
        return
    for inner in layer.layers:
        nested = f"{prefix}{inner.name}." if isinstance(inner, keras.Model) else prefix
        yield from leaf_layers(inner, nested)


def make_application(name: str, arguments: dict[str, Any], weights: Optional[str] = None) -> keras.Model:
    """Makes a network of `keras.applications` for pictures of any size, without its classifier.

    Args:
        name: of the constructor, such as "ConvNeXtTiny".
        arguments: further keyword arguments of the constructor.
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
    """Returns the preprocessing that `keras.applications` calls `mode`; for "raw", one that changes nothing."""
    if mode == "raw":
        return lambda pictures: pictures
    return lambda pictures: keras.applications.imagenet_utils.preprocess_input(pictures, "channels_last", mode)


def copy_network(network: keras.Model) -> keras.Model:
    """Returns a copy of a functional model, with weights of its own, that computes in the global dtype policy."""
    config = network.get_config()
    _set_policy(config, keras.mixed_precision.global_policy().name)
    copy = network.__class__.from_config(config)
    copy.set_weights(network.get_weights())
    return copy


def _set_policy(tree: Any, policy: str) -> None:
    """Sets the dtype policy of every layer in a model's config, nested ones too; inputs and tensors keep theirs."""
    if isinstance(tree, (list, tuple)):
        for item in tree:
            _set_policy(item, policy)
    elif isinstance(tree, dict):
        config, kind = tree.get("config"), tree.get("class_name")
        if isinstance(config, dict) and "dtype" in config and kind not in ("InputLayer", "__keras_tensor__"):
            config["dtype"] = policy
        for value in tree.values():
            _set_policy(value, policy)


def _constructor(name: str) -> Callable[..., keras.Model]:
    constructor = getattr(keras.applications, name, None)
    if constructor is None or not name[:1].isupper():
        names = [each for each in dir(keras.applications) if each[:1].isupper()]
        nearest = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"it has {', '.join(names)}"
        raise UserError(f"model.backbone.name {name}: keras.applications has no such network; {hint}")
    return constructor


class _Step(NamedTuple):
    """Node of a functional graph; its stride is None where its output is not a map of one of `STRIDES`."""

    tensor: object
    layer_name: str
    parents: list[int]
    stride: Optional[int]
    is_output: bool
    is_cut: bool  # whether everything after it depends on it alone


def _read_graph(network: keras.Model) -> list[_Step]:
    """Returns the steps of a functional model, each after its parents."""
    _check_inputs(network)
    # Neither version of Keras has a public name for the nodes.
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


def _check_inputs(network: keras.Model) -> None:
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
        # Only Keras' own loading of weights updates the constants that this layer computes from them.
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            raise UserError(
                f"backbone {network.name}: layer {name} has preprocessing in its weights, which weight files of ours "
                "cannot restore; give it a constant mean and variance (EfficientNetV2 instead of EfficientNet)"
            )


def _strides(network: keras.Model, tensors: list[Any]) -> list[Optional[int]]:
    probe = keras.Model(network.inputs, tensors)
    try:
        traced = tf.function(probe, autograph=False).get_concrete_function(tf.TensorSpec([1, *PROBE_SIZE, 3]))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"backbone {network.name}: cannot take {PROBE_SIZE} pixels ({reason})") from error
    outputs = tf.nest.flatten(traced.structured_outputs)
    return [_stride_of(tuple(output.shape)) for output in outputs]


def _stride_of(shape: tuple[Optional[int], ...]) -> Optional[int]:
    cells = [tuple(side // stride for side in PROBE_SIZE) for stride in STRIDES]
    return dict(zip(cells, STRIDES)).get(shape[1:3]) if len(shape) == 4 else None


def _cuts(parents: list[list[int]]) -> list[bool]:
    """Returns for each step whether no earlier one has a child after it."""
    last_child = list(range(len(parents)))
    for index, own in enumerate(parents):
        for parent in own:
            last_child[parent] = max(last_child[parent], index)
    furthest = np.maximum.accumulate([0, *last_child])
    return [bool(furthest[index] <= index) for index in range(len(parents))]


def _choose_maps(network: keras.Model, graph: list[_Step], strides: tuple[int, ...]) -> list[int]:
    """Returns the index of the step that gives the map of each stride."""
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


def _stages(graph: list[_Step], chosen: list[int]) -> tuple[tuple[str, ...], ...]:
    """Returns the layer names of each stage; stages end with a map, the first with the last cut before stride 4."""
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


def _input_transform(
    preprocess: Callable[[np.ndarray], np.ndarray], channels: int
) -> tuple[Optional[np.ndarray], np.ndarray, np.ndarray]:
    """Returns the channel order, gain and offset that turn our normalised pictures into the network's input.

    A preprocessing only scales, shifts and reorders the channels, so its values for black, red, green and blue
    determine it.
    """
    black, *colours = np.float64(preprocess(np.vstack([np.zeros([1, 3]), 255 * np.eye(3)])[None].astype(np.float32)))[0]
    scale = (np.array(colours) - black) / 255  # [from, to]
    order = np.abs(scale).argmax(axis=0)
    mean, std = (np.resize(values, 3) for values in pixel_statistics(channels))  # grey repeats, a fourth is left out
    scale = 255 * scale[order, range(3)]
    gain, offset = scale * std[order], scale * mean[order] + black
    kept = channels == 1 or order.tolist() == [0, 1, 2]
    return None if kept else order, gain.astype(np.float32), offset.astype(np.float32)
