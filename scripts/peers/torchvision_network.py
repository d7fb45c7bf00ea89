"""The network of the preset `scenes-small` in torchvision; used by torchvision_scenes.py alone."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.ops import MultiScaleRoIAlign

WIDTHS = (32, 64, 128, 256)  # channels of the four stages; the stem has as many as the first
CHANNELS, BOX_CHANNELS = 64, 384
ANCHOR_SIZES = ((16,), (32,), (64,), (128,), (256,))


def half_resnet18() -> nn.Sequential:
    """torchvision's ResNet-18, without the classifier, at half the width: its own class has no such setting."""
    parts = OrderedDict(
        conv1=nn.Conv2d(3, WIDTHS[0], 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(WIDTHS[0]),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
        layer1=nn.Sequential(BasicBlock(WIDTHS[0], WIDTHS[0]), BasicBlock(WIDTHS[0], WIDTHS[0])),
    )
    for number, (entering, width) in enumerate(zip(WIDTHS, WIDTHS[1:]), start=2):
        shortcut = nn.Sequential(conv1x1(entering, width, 2), nn.BatchNorm2d(width))
        parts[f"layer{number}"] = nn.Sequential(BasicBlock(entering, width, 2, shortcut), BasicBlock(width, width))
    network = nn.Sequential(parts)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def make_model(num_classes: int) -> MaskRCNN:
    """The network of the preset `scenes-small` in torchvision, with random weights."""
    layers = {f"layer{number + 1}": str(number) for number in range(4)}
    box_pool, mask_pool = (MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2, canonical_scale=192) for side in (7, 14))
    return MaskRCNN(
        BackboneWithFPN(half_resnet18(), layers, list(WIDTHS), CHANNELS),
        rpn_anchor_generator=AnchorGenerator(ANCHOR_SIZES, ((0.5, 1.0, 2.0),) * 5),
        box_roi_pool=box_pool,
        box_head=TwoMLPHead(CHANNELS * 7 * 7, BOX_CHANNELS),
        box_predictor=FastRCNNPredictor(BOX_CHANNELS, num_classes + 1),
        mask_roi_pool=mask_pool,
        mask_head=MaskRCNNHeads(CHANNELS, (CHANNELS,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(CHANNELS, CHANNELS, num_classes + 1),
        min_size=256,
        max_size=320,
        rpn_fg_iou_thresh=0.5,
        rpn_batch_size_per_image=128,
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=300,
        box_batch_size_per_image=128,
        box_score_thresh=0.05,
    ).to(memory_format=torch.channels_last)
