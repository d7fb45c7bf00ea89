"""Multiplications and time of each part of one inference: R50-FPN, 91 classes, 800 x 1088, 2 x 10^9 a GFLOP.

    python scripts/measure_parts.py --precision float32

The parts run one after the other as graphs of their own, so their sum is a little more than the whole.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click

HEIGHT, WIDTH, RUNS = 800, 1088, 7


@click.command()
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32")
def main(precision: str) -> None:
    """Print a table of the parts of one inference."""
    import numpy as np
    import tensorflow as tf
    from benchmark_infer import random_model

    from keras_mrcnn.export.folding import fold_norms
    from keras_mrcnn.ops import images as image_ops

    model = fold_norms(random_model(), precision)
    picture = tf.constant(np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8))
    sizes = tf.constant([[HEIGHT, WIDTH]])
    rows = []

    def part(name, gflop, function, *inputs):
        graph = tf.function(function)
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            outputs = graph(*inputs)
            seconds.append(time.perf_counter() - start)
        rows.append((name, gflop, statistics.median(seconds[2:])))
        return outputs

    def resize(images):
        return image_ops.resize_to(image_ops.normalise(images), sizes[0])

    images = part("normalise, resize", 0, resize, picture)
    maps = part("backbone", _backbone(model), lambda x: model.backbone(x), images)
    features = part("FPN", _fpn(model), lambda x: model.neck(x), maps)
    scores = part("RPN", _rpn(model), lambda x: model.rpn(x), features)
    anchors = model.anchors(features, tf.shape(images)[1:3])
    proposals = part("proposals: best, decode, NMS", 0, lambda *x: model.proposals(*x, anchors, sizes), *scores)
    count = int(proposals.valid[0])
    pooled = part("RoIAlign 7 x 7", 0, lambda x, y: model.box_pool(model.roi_features(x), y), features, proposals.boxes)
    head_outputs = part("box head", _box_head(model, count), lambda x: model.box_head(x), pooled)
    detections = part("detections: decode, NMS", 0, lambda *x: model.detections(*x, proposals, sizes), *head_outputs)
    count = int(detections.valid[0])
    boxes = detections.boxes
    masks = part("RoIAlign 14 x 14", 0, lambda x, y: model.mask_pool(model.roi_features(x), y), features, boxes)
    part("mask head", _mask_head(model, count), lambda x, y: model.mask_head(x, y), masks, detections.labels)
    inputs = {"images": images, "image_sizes": sizes}
    whole = tf.function(lambda x: model(x))
    for _ in range(2):
        whole(inputs)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        whole(inputs)
        seconds.append(time.perf_counter() - start)
    click.echo(f"{'':32s}{'GFLOP':>8s}{'ms':>8s}{'GFLOP/s':>9s}")
    rows.append(("sum", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    rows.append(("the whole in one graph", rows[-1][1], statistics.median(seconds)))
    for name, gflop, spent in rows:
        click.echo(f"{name:32s}{gflop:8.1f}{spent * 1e3:8.0f}{gflop / spent:9.0f}")


def _convolution(kernel, cells):
    return 2e-9 * cells * kernel.shape[0] * kernel.shape[1] * kernel.shape[2] * kernel.shape[3]


def _cells(stride):
    return -(-HEIGHT // stride) * -(-WIDTH // stride)


def _backbone(model):
    backbone, total = model.backbone, _convolution(model.backbone.stem.conv.kernel, _cells(2))
    for stage, blocks in enumerate(backbone.stages):
        for block in blocks:
            # With the stride in the 3x3 convolution the first one of a stage works at the resolution before it.
            strided = block.convs[1].conv.strides[0] > 1 or block.convs[1].step > 1
            for index, conv in enumerate(block.convs):
                stride = 4 * 2**stage // (2 if strided and index == 0 else 1)
                total += _convolution(conv.conv.kernel, _cells(stride))
            if block.shortcut is not None:
                total += _convolution(block.shortcut.conv.kernel, _cells(4 * 2**stage))
    return total


def _fpn(model):
    strides = (4, 8, 16, 32)
    return sum(
        _convolution(conv.conv.kernel, _cells(stride))
        for convs in (model.neck.inner, model.neck.layer)
        for conv, stride in zip(convs, strides)
    )


def _rpn(model):
    rpn, cells = model.rpn, sum(_cells(stride) for stride in (4, 8, 16, 32, 64))
    return sum(_convolution(layer.kernel, cells) for layer in (rpn.convs[0].conv, rpn.objectness, rpn.deltas))


def _box_head(model, rois):
    layers = (*model.box_head.dense, model.box_head.classes, model.box_head.deltas)
    return sum(2e-9 * rois * layer.kernel.shape[0] * layer.kernel.shape[1] for layer in layers)


def _mask_head(model, rois):
    head, cells = model.mask_head, rois * 14 * 14
    convolutions = sum(_convolution(conv.conv.kernel, cells) for conv in head.convs)
    upsampling = _convolution(head.upsample.kernel, cells)
    return convolutions + upsampling + 2e-9 * rois * 28 * 28 * head.logits.kernel.shape[2]


if __name__ == "__main__":
    sys.exit(main())
