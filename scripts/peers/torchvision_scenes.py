"""Trains torchvision's Mask R-CNN on generated scenes for a given time: the peer that our trainer is compared with.

Runs where torch, torchvision and pycocotools are installed; of this project it needs nothing but the scenes.

    keras-mrcnn data scenes data/scenes --train 3000 --val 150 --seed 0
    python scripts/peers/torchvision_scenes.py data/scenes --minutes 10 --json runs/torchvision-10.json

Equal to the preset `scenes-small`: the network (what `resnet_fpn_backbone` builds, with half a ResNet-18 and an FPN
of 64 channels; the same anchors and heads; the same 4,540,039 trainable parameters, all random at the start), the
scenes, input size, flips, batch, proposals, samples of RPN and box head, RPN thresholds, AdamW with its rate, warm-up,
clipping and weight decay, bfloat16 where the processor multiplies in it, and score threshold and metrics.

Not equal:
- All parts are trained jointly, as torchvision does it, under one cosine; ours are trained in three frozen stages and
  then jointly, each stage under a cosine of its own.
- The cosine follows the clock, not the step, so that it ends at zero however fast the machine is.
- The clock runs in the training steps only: images and masks are decoded into memory before, and the network is
  built before; evaluation comes after, in float32. All of this favours torchvision, whose clock shows only what a
  step does with data (scale, flip, resize, pad) and the step itself.
- The RPN's box loss is torchvision's smooth L1, where the preset has GIoU, and the mask head is trained on all positive
  RoIs of the box head (at most 32 an image), where the preset takes 16. Initial values are each library's own.
- torch runs eagerly (channels last, fused AdamW), TensorFlow a compiled graph.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import sys
import time
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
import torchvision
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, read_image
from torchvision.models.detection import MaskRCNN
from torchvision_network import make_model

BATCH_SIZE, WARMUP_STEPS, CLIP_NORM, WEIGHT_DECAY = 8, 100, 5.0, 0.01
BFLOAT16_FEATURES = ("avx512_bf16", "amx_bf16")


class Scenes(Dataset):
    """Images of a COCO file, decoded: uint8 [3, H, W], masks uint8 [G, H, W], xyxy boxes, labels 1..K; no crowds."""

    def __init__(self, annotations: Path, images: Path, flips: bool):
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(str(annotations))
        self.category_ids, self.image_ids = sorted(self.coco.cats), sorted(self.coco.imgs)
        self.flips = flips
        names = [images / self.coco.imgs[image_id]["file_name"] for image_id in self.image_ids]
        self.images = [read_image(str(name), ImageReadMode.RGB) for name in names]
        self.targets = [self._target(image_id) for image_id in self.image_ids]

    def _target(self, image_id: int) -> dict[str, torch.Tensor]:
        annotations = [annotation for annotation in self.coco.imgToAnns[image_id] if not annotation["iscrowd"]]
        size = [self.coco.imgs[image_id][side] for side in ("height", "width")]
        masks = [self.coco.annToMask(annotation) for annotation in annotations]
        boxes = torch.tensor([annotation["bbox"] for annotation in annotations], dtype=torch.float32).reshape(-1, 4)
        labels = [1 + self.category_ids.index(annotation["category_id"]) for annotation in annotations]
        return {
            "boxes": torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": torch.from_numpy(np.stack(masks) if masks else np.zeros([0, *size], np.uint8)),
        }

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index: int):
        image, target = self.images[index] / 255.0, self.targets[index]
        if not self.flips or torch.rand(()) < 0.5:
            return image, target
        left, top, right, bottom = target["boxes"].unbind(1)
        boxes = torch.stack([image.shape[2] - right, top, image.shape[2] - left, bottom], dim=1)
        return image.flip(2), {**target, "boxes": boxes, "masks": target["masks"].flip(2)}


def open_scenes(folder: Path, split: str) -> Scenes:
    """The scenes of one split; those for training are flipped at random."""
    return Scenes(folder / "annotations" / f"{split}.json", folder / "images" / split, flips=split == "train")


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16, by the same rule as `train.precision: auto`."""
    facts = Path("/proc/cpuinfo")
    return facts.is_file() and any(name in facts.read_text(encoding="utf-8").split() for name in BFLOAT16_FEATURES)


def train(
    model: MaskRCNN, scenes: Scenes, optimizer: torch.optim.Optimizer, seconds: float, batch_size: int, bfloat16: bool
) -> dict:
    """Trains until the time is up: a linear warm-up to the optimizer's rate, then a cosine that ends at zero.

    Returns:
        dict of steps, images, training_seconds, steps_per_second, and data_share: in which share of the time
        batches were made, 0..1.
    """
    model.train()
    rate = optimizer.param_groups[0]["lr"]
    loader = DataLoader(scenes, batch_size, shuffle=True, drop_last=True, collate_fn=lambda items: tuple(zip(*items)))
    batches = chain.from_iterable(repeat(loader))  # one pass over the images after the other
    steps, data_seconds, mean_loss = 0, 0.0, None
    start = now = time.perf_counter()
    while now - start < seconds:
        share = (now - start) / seconds
        # The warm-up takes at most a third of a short run, as ours does.
        warmup = min(max((steps + 1) / WARMUP_STEPS, 3 * share), 1.0)
        optimizer.param_groups[0]["lr"] = rate * warmup * 0.5 * (1 + math.cos(math.pi * share))
        images, targets = next(batches)
        data_seconds += time.perf_counter() - now
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        steps, now, value = steps + 1, time.perf_counter(), loss.item()
        if not math.isfinite(value):
            sys.exit(f"the loss is {value} after {steps} steps; take a lower --learning-rate than {rate}")
        mean_loss = value if mean_loss is None else 0.95 * mean_loss + 0.05 * value
        if steps % 50 == 0:
            print(f"{now - start:6.0f} s  step {steps:5d}  loss {mean_loss:.3f}", flush=True)
    spent = now - start
    figures = {"steps": steps, "images": steps * batch_size, "training_seconds": spent}
    return {**figures, "steps_per_second": steps / spent, "data_share": data_seconds / spent}


@torch.no_grad()
def detect(model: MaskRCNN, scenes: Scenes) -> list[dict]:
    """COCO results of the model on all images, boxes and masks, in float32."""
    model.eval()
    results = []
    for image_id, image in zip(scenes.image_ids, scenes.images):
        found = {name: value.numpy() for name, value in model([image / 255.0])[0].items()}
        for box, label, score, mask in zip(found["boxes"], found["labels"], found["scores"], found["masks"][:, 0]):
            result = {"image_id": image_id, "category_id": scenes.category_ids[label - 1], "score": float(score)}
            result["bbox"] = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
            result["segmentation"] = coco_mask.encode(np.asfortranarray(mask >= 0.5, np.uint8))
            results.append(result)
    return results


def evaluate(coco: COCO, results: list[dict]) -> dict:
    """AP and AP50 of boxes and masks, over all classes and for each, 0..1; None where there is nothing to find."""
    names = [coco.cats[category_id]["name"] for category_id in sorted(coco.cats)]
    metrics: dict = {"per_class": {name: {} for name in names}}
    for kind, iou_type, field in (("box", "bbox", "bbox"), ("mask", "segm", "segmentation")):
        # loadRes takes the area of a result from its box if it has one, so a mask goes without.
        kept = [{key: result[key] for key in ("image_id", "category_id", "score", field)} for result in results]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = COCOeval(coco, coco.loadRes(kept) if kept else COCO(), iou_type)
            evaluator.evaluate()
            evaluator.accumulate()
        precision = evaluator.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class]; -1: nothing to find
        for metric, part in ((f"{kind}_ap", precision), (f"{kind}_ap50", precision[:1])):
            metrics[metric] = mean_precision(part)
            for index, name in enumerate(names):
                metrics["per_class"][name][metric] = mean_precision(part[:, :, index])
    return metrics


def mean_precision(precision: np.ndarray) -> float | None:
    """The mean of what COCOeval has values for."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def print_table(report: dict) -> None:
    """What the JSON file says, for people."""
    print(
        f"torchvision {torchvision.__version__}, {report['parameters']:,} parameters, {report['precision']}: "
        f"{report['minutes']:g} minutes, {report['steps']} steps, {report['images']} images, "
        f"{report['steps_per_second']:.2f} steps/s, {report['data_share']:.1%} of the time for data"
    )
    print(f"{'':<12}    box AP  box AP50   mask AP mask AP50")
    for name, row in {"all": report, **report["per_class"]}.items():
        values = (row[metric] for metric in ("box_ap", "box_ap50", "mask_ap", "mask_ap50"))
        print(f"{name:<12}" + "".join(f"{'-' if value is None else format(value, '.3f'):>10}" for value in values))


def write_report(file: Path, report: dict) -> None:
    """Writes the figures as JSON; the file appears whole or not at all."""
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the scenes, with annotations/ and images/")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not 0 < arguments.minutes < math.inf:
        parser.error(f"--minutes {arguments.minutes:g}: must be more than 0, and end")
    if arguments.json and not arguments.json.parent.is_dir():
        parser.error(f"--json {arguments.json}: there is no folder {arguments.json.parent}; make it first")
    for split in ("train", "val"):
        if not (file := arguments.data / "annotations" / f"{split}.json").is_file():
            parser.error(f"{file} is not there; make the scenes with 'keras-mrcnn data scenes {arguments.data}'")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    start = time.perf_counter()
    scenes, val = (open_scenes(arguments.data, split) for split in ("train", "val"))
    if len(scenes) < BATCH_SIZE:
        sys.exit(f"{arguments.data} has {len(scenes)} training images; a batch takes {BATCH_SIZE}, so make more scenes")
    print(f"decoded {len(scenes)} + {len(val)} images and their masks in {time.perf_counter() - start:.0f} s")
    model = make_model(len(scenes.category_ids))
    bfloat16 = has_bfloat16() if arguments.precision == "auto" else arguments.precision == "bf16"
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    figures = train(model, scenes, optimizer, arguments.minutes * 60, BATCH_SIZE, bfloat16)
    report = {
        "minutes": arguments.minutes,
        **figures,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "precision": "bf16" if bfloat16 else "fp32",
        "learning_rate": arguments.learning_rate,
        "seed": arguments.seed,
        **evaluate(val.coco, detect(model, val)),
    }
    print_table(report)
    if arguments.json:
        write_report(arguments.json, report)


if __name__ == "__main__":
    main()
