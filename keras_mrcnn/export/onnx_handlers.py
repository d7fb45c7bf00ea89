"""Converts RoIAlign and NMS to ONNX's own operators, and resizes pictures to the same bits as TensorFlow.

tf2onnx turns `crop_and_resize` into a Loop over boxes, and converts `combined_non_max_suppression` only if all classes
share their boxes. This module writes both as native operators, for any batch and without a Loop.

Shapes: B batch, H W C of a map, R RoIs, N boxes, K groups (levels or classes), D boxes kept, S selected by NMS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LOWEST = np.finfo(np.float32).min
RING = [[0, 0], [1, 1], [1, 1], [0, 0]]  # the repeated row and column that layers/roi_align.py pads maps with


def fuse_roi_align(graph: Any, nodes: list) -> list:
    """Replaces pad by a repeated row and column -> CropAndResize -> average pool by RoiAlign; a rewriter of tf2onnx.

    `layers.roi_align.RoIAlign` writes RoIAlign with these three operators in TensorFlow. RoiAlign follows the same rule
    at borders and averages the samples itself, so pad and pool are removed.

    Args:
        graph: tf2onnx graph that still has TensorFlow's operators.
        nodes: nodes of the graph.

    Returns:
        The nodes after the change. Other uses of CropAndResize stay as they are.
    """
    for crop in nodes:
        if crop.type != "CropAndResize":
            continue
        pad, pools = crop.inputs[0], graph.find_output_consumers(crop.output[0])
        if _is_ring(pad) and len(pools) == 1 and _pool_size(pools[0]):
            _replace_by_roi_align(graph, pad, crop, pools[0])
    return graph.get_nodes()


def convert_combined_nms(graph: Any, node: Any, name: str, args: Any) -> None:
    """Converts CombinedNonMaxSuppression, with shared or class-specific boxes, to NonMaxSuppression.

    NMS gives a list of (image, group, box). Their scores are scattered into an array that is filled with the lowest
    score, and TopK on each image's row sorts, cuts and pads at once.

    Args:
        graph: tf2onnx graph.
        node: with inputs boxes [B, N, 1 or K, 4] and scores [B, N, K].
        name: name of the node.
        args: not used; tf2onnx passes it to every handler.
    """
    ops = _Operators(graph)
    boxes, scores, per_group, _, iou_threshold, score_threshold = node.input
    max_boxes = int(node.inputs[3].get_tensor_value())
    shared, num_groups = graph.get_shape(boxes)[2] == 1, graph.get_shape(scores)[2]
    outputs, dtypes, shapes = list(node.output), node.output_dtypes, node.output_shapes
    graph.remove_node(name)

    batch, count = ops.dimension(scores, 0), ops.dimension(scores, 1)
    by_group = ops("Transpose", scores, perm=[0, 2, 1])
    if shared:
        candidates = ops("Reshape", boxes, ops("Concat", batch, count, ops.const([4]), axis=0))
        nms_boxes, nms_scores = candidates, by_group
        strides = ops("Concat", ops("Mul", count, ops.const([num_groups])), count, ops.const([1]), axis=0)
    else:
        # ONNX has no boxes for single groups: each pair of image and group becomes an image with one group.
        boxes_by_group = ops("Transpose", boxes, perm=[0, 2, 1, 3])
        candidates = ops("Reshape", boxes_by_group, ops("Concat", batch, ops.const([-1, 4]), axis=0))
        nms_boxes = ops("Reshape", boxes_by_group, ops("Concat", ops.const([-1]), count, ops.const([4]), axis=0))
        nms_scores = ops("Reshape", by_group, ops("Concat", ops.const([-1, 1]), count, axis=0))
        strides = ops("Concat", count, ops.const([0, 1]), axis=0)
    limit = ops("Cast", per_group, to=ops.INT64)
    selected = ops("NonMaxSuppression", nms_boxes, nms_scores, limit, iou_threshold, score_threshold)
    dense = _scatter_selected(ops, by_group, selected, strides, batch, max_boxes)

    best, index = ops("TopK", dense, ops.const([max_boxes]), axis=1, output_count=2)
    real = ops("Greater", best, score_threshold)
    index = ops("Where", real, index, ops.const(0))
    group = ops("Div", index, count)
    place = ops("Sub", index, ops("Mul", group, count)) if shared else index
    kept = ops("GatherND", candidates, ops.unsqueeze(place, 2), batch_dims=1)
    zero = ops.const(0, np.float32)
    results = (
        ops("Where", ops.unsqueeze(real, 2), kept, zero),
        ops("Where", real, best, zero),
        ops("Where", real, ops("Cast", group, to=ops.FLOAT), zero),
        ops("ReduceSum", ops("Cast", real, to=ops.INT32), ops.const([1]), keepdims=0),
    )
    for result, output, dtype, shape in zip(results, outputs, dtypes, shapes):
        graph.make_node("Identity", [result], outputs=[output], dtypes=[dtype], shapes=[shape])


def convert_upsampling(graph: Any, node: Any, name: str, args: Any) -> None:
    """Converts the pyramid's nearest-neighbour upsampling to Resize by a constant factor of two.

    It is the only one in the model, and the factor is always two, because the graph pads its input to a multiple of
    the coarsest stride. ONNX does not have TensorFlow's rounding, but at two it makes no difference, and a constant is
    faster.
    """
    ops = _Operators(graph)
    fmap, outputs, dtypes, shapes = node.input[0], list(node.output), node.output_dtypes, node.output_shapes
    graph.remove_node(name)
    enlarged = ops(
        "Resize",
        ops("Transpose", fmap, perm=[0, 3, 1, 2]),
        "",
        ops.const([1, 1, 2, 2], np.float32),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    graph.make_node("Transpose", [enlarged], attr={"perm": [0, 2, 3, 1]}, outputs=outputs, dtypes=dtypes, shapes=shapes)


def convert_bilinear(graph: Any, node: Any, name: str, args: Any) -> None:
    """Converts the picture's bilinear resize (half-pixel centres), with the rounding of TensorFlow.

    ONNX Runtime's Resize rounds positions differently, which changes a pixel of a photograph by up to 1e-4 of its
    deviation: a hundred times the difference of the rest of the network.
    """
    ops = _Operators(graph)
    picture, outputs, dtypes, shapes = node.input[0], list(node.output), node.output_dtypes, node.output_shapes
    size = ops("Cast", node.input[1], to=ops.INT64)
    graph.remove_node(name)
    for axis in (1, 2):
        target = ops("Slice", size, ops.const([axis - 1]), ops.const([axis]))
        picture = _interpolate(ops, picture, axis, target)
    graph.make_node("Identity", [picture], outputs=outputs, dtypes=dtypes, shapes=shapes)


def _interpolate(ops, picture, axis, target):
    """Resizes one axis of [B, H, W, C] to the length `target`, int64 [1]."""
    length, half = ops.dimension(picture, axis), ops.const(0.5, np.float32)
    scale = ops("Div", ops("Cast", length, to=ops.FLOAT), ops("Cast", target, to=ops.FLOAT))
    index = ops("Range", ops.const(0), ops("Squeeze", target), ops.const(1))
    position = ops("Sub", ops("Mul", ops("Add", ops("Cast", index, to=ops.FLOAT), half), scale), half)
    floor = ops("Floor", position)
    lower = ops("Max", ops("Cast", floor, to=ops.INT64), ops.const(0))
    upper = ops("Min", ops("Cast", ops("Ceil", position), to=ops.INT64), ops("Sub", length, ops.const(1)))
    share = ops("Reshape", ops("Sub", position, floor), ops.const([-1] + [1] * (3 - axis)))
    first, second = (ops("Gather", picture, place, axis=axis) for place in (lower, upper))
    return ops("Add", first, ops("Mul", ops("Sub", second, first), share))


def _scatter_selected(ops, scores_by_group, selected, strides, batch, max_boxes):
    """Returns scores float32 [B, K * N + D]: those that NMS selected in their positions, the lowest elsewhere."""
    place = ops("ReduceSum", ops("Mul", selected, strides), ops.const([1]), keepdims=1)
    flat = ops("Reshape", scores_by_group, ops.const([-1]))
    lowest = ops("Expand", ops.const(LOWEST, np.float32), ops("Shape", flat))
    dense = ops("ScatterND", lowest, place, ops("GatherND", flat, place))
    rows = ops("Reshape", dense, ops("Concat", batch, ops.const([-1]), axis=0))
    # D more columns, so that TopK has D values however few boxes there are.
    return ops("Pad", rows, ops.const([0, 0, 0, max_boxes]), ops.const(LOWEST, np.float32))


def _replace_by_roi_align(graph, pad, crop, pool):
    ops = _Operators(graph)
    fmap, size = pad.input[0], _pool_size(pool)
    points = int(crop.inputs[3].get_tensor_value()[0])
    output, dtype, shape = pool.output[0], graph.get_dtype(pool.output[0]), graph.get_shape(pool.output[0])
    rois = _rois(ops, fmap, crop.input[1], points)
    pooled = ops(
        "RoiAlign",
        ops("Transpose", fmap, perm=[0, 3, 1, 2]),
        rois,
        ops("Cast", crop.input[2], to=ops.INT64),
        coordinate_transformation_mode="output_half_pixel",  # torchvision's aligned=False
        output_height=points // size,
        output_width=points // size,
        sampling_ratio=size,
        spatial_scale=1.0,
    )
    graph.remove_node(pool.name)
    graph.remove_node(crop.name)
    graph.make_node(
        "Transpose", [pooled], attr={"perm": [0, 2, 3, 1]}, outputs=[output], dtypes=[dtype], shapes=[shape]
    )


def _rois(ops, fmap, boxes, points):
    """Returns RoIs float32 [R, 4], xyxy in cells of the map, whose outermost sample points are the corners `boxes`.

    `boxes` [R, 4] are in the units of CropAndResize: yxyx, divided by the last index of the padded map.
    """
    ends = ops("Slice", ops("Shape", fmap), ops.const([1]), ops.const([3]))
    last = ops("Add", ops("Cast", ends, to=ops.FLOAT), ops.const(1, np.float32))
    corners = ops("Mul", boxes, ops("Concat", last, last, axis=0))
    # Sample points lie in the middle of their bins: an RoI begins half a bin before the first one.
    half = 0.5 / (points - 1)
    to_xyxy = np.zeros([4, 4], np.float32)
    for first, axis in ((0, 1), (1, 0)):  # rows are y1 x1 y2 x2, columns x1 y1 x2 y2
        to_xyxy[[first, first + 2], axis] = 1 + half, -half
        to_xyxy[[first, first + 2], axis + 2] = -half, 1 + half
    # The padding moved everything by one cell.
    return ops("Sub", ops("MatMul", corners, ops.const(to_xyxy, np.float32)), ops.const(1, np.float32))


def _is_ring(pad):
    if pad.type != "MirrorPad" or not pad.inputs[1].is_const():
        return False
    return pad.get_attr_str("mode") == "SYMMETRIC" and pad.inputs[1].get_tensor_value() == RING


def _pool_size(pool):
    """Returns the side of a square average pool without overlap or padding, 0 for anything else."""
    if pool.type != "AvgPool" or pool.get_attr_str("padding") != "VALID":
        return 0
    size, strides = pool.get_attr_value("ksize"), pool.get_attr_value("strides")
    return size[1] if list(size) == list(strides) == [1, size[1], size[1], 1] else 0


# The custom_op_handlers and custom_rewriter of tf2onnx.
HANDLERS = {
    "CombinedNonMaxSuppression": (convert_combined_nms, []),
    "ResizeBilinear": (convert_bilinear, []),
    "ResizeNearestNeighbor": (convert_upsampling, []),
}
REWRITERS = [fuse_roi_align]


class _Operators:
    """Adds operators to a graph as function calls on tensor names."""

    INT32, INT64, FLOAT = 6, 7, 1  # onnx.TensorProto's numbers

    def __init__(self, graph):
        self.graph = graph

    def __call__(self, kind, *inputs, output_count=1, **attributes):
        """Adds an operator and returns the name of its output, or a list of names."""
        outputs = self.graph.make_node(kind, list(inputs), attr=attributes, output_count=output_count).output
        return outputs[0] if output_count == 1 else list(outputs)

    def const(self, value, dtype=np.int64):
        from tf2onnx.utils import make_name

        return self.graph.make_const(make_name("const"), np.array(value, dtype)).output[0]

    def dimension(self, tensor, axis):
        """Returns the length of an axis, int64 [1]."""
        return self("Slice", self("Shape", tensor), self.const([axis]), self.const([axis + 1]))

    def unsqueeze(self, tensor, axis):
        return self("Unsqueeze", tensor, self.const([axis]))
