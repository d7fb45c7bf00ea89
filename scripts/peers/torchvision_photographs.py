"""Trains torchvision's Mask R-CNN on photographs for a given time, from the very weights that ours begins with.

Runs where torch, torchvision, safetensors and pycocotools are installed. photographs.py writes the annotation files,
and the run of its recipe `joint` the initial weights, mask.safetensors, before its joint stage begins:

    python scripts/photographs.py train shared/data --data penn-fudan --json results.json --out runs/photographs
    python scripts/peers/torchvision_photographs.py runs/photographs/annotations/penn-fudan --images shared/data \\
        --weights runs/photographs/penn-fudan-joint-0/mask.safetensors --minutes 20 --json runs/torchvision.json

How torchvision's network takes ImageNet values of keras.applications' ResNet-50: the strides of that one stand in the
1x1 convolutions, so they are moved there. Its convolutions have biases and its input is BGR less a mean; our loader
has folded both into the stem and the frozen batch norms, with the other epsilon. Names and layouts of our files are
torchvision's, so that all values are equal at the start, those of FPN, RPN and heads included.

Equal to the preset `photographs`: the network, what is frozen (stem, first residual stage, batch norms), images, input
size, flips, batch, anchors, proposals, samples of the RPN and the box head, gradient clipping, bfloat16 where the
processor multiplies in it, score threshold and metrics.

Not equal:
- The optimizer: torchvision's reference has SGD with momentum 0.9, weight decay 1e-4 and a rate of 0.02 for 16 images,
  so 0.0025 here. `--optimizer adamw` takes that of the preset.
- The rate rises over the warm-up and then follows a cosine over the clock, so that it ends at zero however fast the
  machine is. The clock runs in the training steps only: images and masks are decoded into memory before.
- There is no scale jitter. The mask head is trained on all positive RoIs of the box head (at most 32 an image).
- torch runs eagerly (channels last), TensorFlow a compiled graph.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torchvision
from peak_memory import peak_memory_mb
from safetensors.torch import load_file
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.resnet import resnet50
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision_scenes import Scenes, detect, evaluate, has_bfloat16, print_table, train, write_report

BATCH_SIZE, TRAINED_STAGES = 2, 3
MIN_SIZE, MAX_SIZE, CANONICAL_SIDE = 448, 640, 128
ANCHOR_SIZES = ((16,), (32,), (64,), (128,), (256,))


def make_photograph_model(num_classes: int) -> MaskRCNN:
    """The network of the preset `photographs` in torchvision, with random weights."""
    body = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    for stage in (body.layer2, body.layer3, body.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    box_pool, mask_pool = (
        MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2, canonical_scale=CANONICAL_SIDE) for side in (7, 14)
    )
    return MaskRCNN(
        _resnet_fpn_extractor(body, TRAINED_STAGES),
        num_classes=num_classes + 1,
        rpn_anchor_generator=AnchorGenerator(ANCHOR_SIZES, ((0.5, 1.0, 2.0),) * 5),
        box_roi_pool=box_pool,
        mask_roi_pool=mask_pool,
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=500,
        box_batch_size_per_image=128,
        box_score_thresh=0.05,
    ).to(memory_format=torch.channels_last)


def make_optimizer(model: MaskRCNN, name: str, rate: float | None) -> torch.optim.Optimizer:
    """The optimizer of torchvision's reference training, or that of the preset."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "sgd":
        return torch.optim.SGD(weights, lr=rate or 0.02 * BATCH_SIZE / 16, momentum=0.9, weight_decay=1e-4)
    return torch.optim.AdamW(weights, lr=rate or 1e-4, weight_decay=0.01, fused=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="beginning of the COCO files, without -train.json and -val.json")
    parser.add_argument("--images", type=Path, required=True, help="folder that the names of the images begin in")
    parser.add_argument("--weights", type=Path, required=True, help="file of ours to start from")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    parser.add_argument("--learning-rate", type=float, help="default: 0.0025 for sgd, 0.0001 for adamw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    files = [Path(f"{arguments.annotations}-{split}.json") for split in ("train", "val")]
    photographs, val = (Scenes(file, arguments.images, flips) for file, flips in zip(files, (True, False)))
    if len(photographs) < BATCH_SIZE:
        sys.exit(f"{files[0]} has {len(photographs)} images; a batch takes {BATCH_SIZE}")
    model = make_photograph_model(len(photographs.category_ids))
    model.load_state_dict(load_file(arguments.weights))
    optimizer, bfloat16 = make_optimizer(model, arguments.optimizer, arguments.learning_rate), has_bfloat16()
    rate = optimizer.param_groups[0]["lr"]
    figures = train(model, photographs, optimizer, arguments.minutes * 60, BATCH_SIZE, bfloat16)
    report = {
        "torchvision": torchvision.__version__,
        "annotations": Path(arguments.annotations).name,
        "minutes": arguments.minutes,
        **figures,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "precision": "bf16" if bfloat16 else "fp32",
        "optimizer": arguments.optimizer,
        "learning_rate": rate,
        "seed": arguments.seed,
        "peak_memory_mb": peak_memory_mb(),
        **evaluate(val.coco, detect(model, val)),
    }
    print_table(report)
    if arguments.json:
        write_report(arguments.json, report)


if __name__ == "__main__":
    main()
