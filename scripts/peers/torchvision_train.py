"""torchvision's joint training step on the picture of `scripts/benchmark.py train`; prints one line of JSON.

    python scripts/peers/torchvision_train.py fp32|bf16 [channels_last|eager]

Mask R-CNN R50-FPN, the last three stages of the backbone trained, random weights, SGD, eight objects; its convolutions
in channels-last memory unless "eager" is asked for.
"""

import contextlib
import json
import statistics
import sys
import time

import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

HEIGHT, WIDTH, OBJECTS, STEPS, WARM_UP = 800, 1088, 8, 6, 2


def picture():
    """An image and its target, as torchvision takes them."""
    numbers = torch.arange(OBJECTS)
    corners = torch.stack([50 + 60 * numbers, 40 + 50 * numbers, 250 + 80 * numbers, 240 + 60 * numbers], dim=1)
    boxes = corners.float().clamp(max=HEIGHT - 1)
    masks = torch.zeros(OBJECTS, HEIGHT, WIDTH, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1:x2] = 1
    return torch.rand(3, HEIGHT, WIDTH), {"boxes": boxes, "labels": numbers + 1, "masks": masks}


def main(precision="fp32", how="channels_last"):
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, trainable_backbone_layers=3).train()
    if how == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    image, target = picture()
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext():
            loss = sum(model([image], [target]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"precision": precision, "median_s": statistics.median(seconds[WARM_UP:])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
