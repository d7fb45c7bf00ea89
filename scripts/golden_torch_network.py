"""The small networks of the golden tests in torchvision, step by step; used by make_golden.py alone.

"v1" is built as `maskrcnn_resnet50_fpn`, "v2" as `maskrcnn_resnet50_fpn_v2`, both with a ResNet-18 and few channels.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn import BatchNorm2d
from torchvision.models import resnet18
from torchvision.models.detection import MaskRCNN, roi_heads
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d

STEPS = ("C2", "C3", "C4", "C5")


def build(case: ModuleType, version: str) -> MaskRCNN:
    """Makes the model, with weights that follow from their names."""
    channels, box_channels, outputs = case.CHANNELS, case.BOX_CHANNELS, len(case.CLASS_NAMES) + 1
    convolutions = (channels,) * 4
    if version == "v1":
        norms, body_norm, depth = {}, FrozenBatchNorm2d, 1
        box_head = TwoMLPHead(channels * 49, box_channels)
    else:
        norms, body_norm, depth = {"norm_layer": BatchNorm2d}, BatchNorm2d, 2
        box_head = FastRCNNConvFCHead((channels, 7, 7), convolutions, [box_channels], **norms)
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    body = resnet18(weights=None, norm_layer=body_norm)
    model = MaskRCNN(
        BackboneWithFPN(body, layers, [64, 128, 256, 512], channels, **norms),
        min_size=case.MIN_SIZE,
        max_size=case.MAX_SIZE,
        rpn_head=RPNHead(channels, 3, conv_depth=depth),
        rpn_pre_nms_top_n_test=case.PRE_NMS,
        rpn_post_nms_top_n_test=case.POST_NMS,
        box_detections_per_img=case.MAX_DETECTIONS,
        box_score_thresh=case.SCORE_THRESHOLD,
        box_head=box_head,
        box_predictor=FastRCNNPredictor(box_channels, outputs),
        mask_head=MaskRCNNHeads(channels, convolutions, 1, **norms),
        mask_predictor=MaskRCNNPredictor(channels, channels, outputs),
    )
    shapes = {name: value.shape for name, value in model.state_dict().items() if "num_batches_tracked" not in name}
    model.load_state_dict({name: torch.tensor(value) for name, value in case.weights_like(shapes).items()})
    return model.eval()


def run(case: ModuleType, version: str) -> dict[str, Any]:
    """Returns arrays of every step on `case.images()`, of the whole model on a picture, and gradients of the heads."""
    model = build(case, version)
    images = torch.tensor(case.images()).permute(0, 3, 1, 2)
    with torch.no_grad():
        body, features = model.backbone.body(images), model.backbone(images)
        values = {name: last(fmap) for name, fmap in zip(STEPS, body.values())}
        values.update({f"P{i + 2}": last(fmap) for i, fmap in enumerate(features.values())})
        values = {name: case.thin(value) for name, value in values.items()}
        values.update(_rpn(model, features, case))
        padded = ImageList(images, [tuple(size) for size in case.SIZES.tolist()])
        boxes, _ = model.rpn(padded, features)
        values.update({f"proposals {i}": rows for i, rows in enumerate(boxes)})
        values.update(_heads(model, features, boxes, padded.image_sizes, case))
        values.update(_whole(model, case))
    return {**values, **_gradients(model, {name: fmap.detach() for name, fmap in features.items()}, case)}


def _rpn(model, features, case):
    objectness, deltas = model.rpn.head(list(features.values()))
    deltas = [level.reshape(2, 3, 4, *level.shape[2:]).permute(0, 3, 4, 1, 2).reshape(2, -1, 4) for level in deltas]
    objectness = [last(level).reshape(2, -1) for level in objectness]
    return {"objectness": case.thin(torch.cat(objectness, 1)), "rpn deltas": case.thin(torch.cat(deltas, 1))}


def _heads(model, features, boxes, sizes, case):
    heads = model.roi_heads
    class_logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, sizes)))
    detections = heads.postprocess_detections(class_logits, deltas, boxes, sizes)
    values = {"class logits": class_logits, "deltas": case.thin(deltas)}
    for name, per_image in zip(("boxes", "scores", "labels"), detections):
        values.update({f"{name} {i}": value for i, value in enumerate(per_image)})
    pooled = heads.mask_roi_pool(features, detections[0], sizes)
    logits = heads.mask_predictor(heads.mask_head(pooled))
    labels = torch.cat(detections[2])
    values["mask logits"] = logits[torch.arange(len(labels)), labels][:, ::4, ::4]
    return values


def _whole(model, case):
    """Runs the model from a uint8 picture to detections in its own pixels."""
    outputs = model([torch.tensor(case.picture(50, 71)).permute(2, 0, 1) / 255])[0]
    values = {f"whole {name}": outputs[name] for name in ("boxes", "scores", "labels")}
    return {**values, "whole masks": np.packbits(outputs["masks"][:, 0].numpy() > 0.5)}


def _gradients(model, features, case):
    """Returns some entries of the gradient of each head weight, for the sum of the three losses on fixed RoIs."""
    heads, targets = model.roi_heads, {name: torch.tensor(value) for name, value in case.head_case().items()}
    rois, labels = list(targets["rois"]), list(targets["labels"].long())
    sizes = [tuple(size) for size in case.SIZES.tolist()]
    logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, rois, sizes)))
    encoded = heads.box_coder.encode(list(targets["target_boxes"]), rois)
    losses = list(roi_heads.fastrcnn_loss(logits, deltas, labels, encoded))
    mask_logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, rois, sizes)))
    every = torch.cat(labels)
    own = mask_logits[torch.arange(len(every)), every][every > 0]
    target_masks = targets["target_masks"].flatten(0, 1)[every > 0]
    losses.append(torch.nn.functional.binary_cross_entropy_with_logits(own, target_masks))
    names, parameters = zip(*heads.named_parameters())
    gradients = dict(zip(names, torch.autograd.grad(sum(losses), parameters)))
    values = {f"gradient roi_heads.{name}": case.thin(value, 60) for name, value in gradients.items()}
    return {"head losses": torch.stack(losses), **values}


def last(fmap: torch.Tensor) -> torch.Tensor:
    """Moves the channels of a map to the last axis."""
    return fmap.permute(0, 2, 3, 1)
