"""Training samples from torchvision's reference transforms in a torch DataLoader; prints one line of JSON.

    python scripts/peers/torchvision_data.py ANNOTATIONS IMAGES flip|jitter_crop reference|whole WORKERS SECONDS

flip and jitter_crop are the presets "hflip" and "lsj" of torchvision's references/detection. With "whole" the workers
also normalise and resize, as torchvision's models do it in the training process, so that samples are ready for the
network like those of `training_dataset`. It needs torch, torchvision and pycocotools.
"""

from __future__ import annotations

import itertools
import json
import sys
import time

import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

MIN_SIZE, MAX_SIZE, BATCH = 800, 1333, 2
CANVAS = (800, 1066)
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def reference_transforms(name):
    """The reference's transforms for tensors; images become float32 in 0..1."""
    steps = [v2.PILToTensor()]
    if name == "jitter_crop":
        steps += [
            v2.ScaleJitter(target_size=CANVAS, scale_range=(0.1, 2.0), antialias=True),
            v2.RandomCrop(CANVAS, pad_if_needed=True, fill={tv_tensors.Image: (123, 117, 104), "others": 0}),
        ]
    steps += [v2.RandomHorizontalFlip(0.5), v2.ToDtype(torch.float32, scale=True), v2.ConvertBoundingBoxFormat("XYXY")]
    return v2.Compose([*steps, v2.SanitizeBoundingBoxes(), v2.ToPureTensor()])


class Resized(torch.utils.data.Dataset):
    """Normalises and resizes the samples of another data set."""

    def __init__(self, data):
        self.data = data
        self.resize = GeneralizedRCNNTransform(MIN_SIZE, MAX_SIZE, MEAN, DEVIATION)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        image, target = self.data[row]
        images, targets = self.resize([image], [target])
        return images.tensors[0], targets[0]


def collate(batch):
    return tuple(zip(*batch))


def main(annotations, images, transforms, how, workers, seconds):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = CocoDetection(images, annotations, transforms=reference_transforms(transforms))
    data.ids = [number for number in data.ids if data.coco.getAnnIds(number, iscrowd=False)]
    data = wrap_dataset_for_transforms_v2(data, target_keys=("boxes", "labels", "masks"))
    data = Resized(data) if how == "whole" else data
    loader = DataLoader(
        data, BATCH, shuffle=True, num_workers=int(workers), collate_fn=collate, drop_last=True,
        persistent_workers=int(workers) > 0,
    )  # fmt: skip
    stream = itertools.chain.from_iterable(itertools.repeat(loader))
    for _ in range(2 * max(int(workers), 1)):  # what the workers read before the first was asked for
        next(stream)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < float(seconds):
        next(stream)
        count += BATCH
    print(json.dumps({"pictures_a_second": count / (time.perf_counter() - start)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
