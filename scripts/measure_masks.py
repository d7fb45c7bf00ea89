"""Measures what the compact ground-truth masks cost in target accuracy.

Mask targets cut from the compact masks are compared with torchvision's, which come from the full-size mask, resized
with the image (nearest) and read by RoIAlign, and with the exact average of the original mask over each bin. Last, the
targets of the boxes themselves are pasted back, to see how well they hold the original mask. The RoIs are the objects'
boxes, jittered at random to an IoU of at least 0.5. Figures are means over all objects, in 0..1.

    python scripts/measure_masks.py coco-mini/annotations/instances_train.json coco-mini/images/train
"""

from __future__ import annotations

import argparse

import numpy as np

from keras_mrcnn.base.records import Detections
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.compact_masks import area_average
from keras_mrcnn.ops.masks import crop_mask_targets

TARGET_SIZE = 28
ROIS_PER_OBJECT = 4


def roi_align_weights(start: float, stop: float, num_pixels: int, size: int = TARGET_SIZE) -> np.ndarray:
    """Returns RoIAlign on one axis as weights float64 [size, num_pixels]: scale 1, sampling ratio -1, aligned=False."""
    extent = max(stop - start, 1.0)
    samples = int(np.ceil(extent / size))
    points = start + (np.arange(size * samples) + 0.5) * extent / (size * samples)
    inside = (points >= -1) & (points <= num_pixels)
    clamped = points.clip(0, num_pixels - 1)
    low = np.floor(clamped).astype(int)
    high = np.minimum(low + 1, num_pixels - 1)
    weights = np.zeros((size * samples, num_pixels))
    rows = np.arange(size * samples)
    np.add.at(weights, (rows, low), (1 - (clamped - low)) * inside)
    np.add.at(weights, (rows, high), (clamped - low) * inside)
    return weights.reshape(size, samples, num_pixels).mean(axis=1)


def full_size_target(mask: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Returns torchvision's target, float64 [28, 28], from a mask [H, W] at training size and an RoI in its pixels."""
    rows = roi_align_weights(roi[1], roi[3], mask.shape[0])
    return rows @ mask @ roi_align_weights(roi[0], roi[2], mask.shape[1]).T


def resize_nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a mask from [H, W] to [h, w], as torch's interpolate(mode="nearest")."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, mask.shape))
    return mask[rows][:, columns]


def jittered_box(box: np.ndarray, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Draws a box in the image that overlaps the given one with an IoU of at least 0.5."""
    extent = np.tile(box[2:] - box[:2], 2)
    limits = [size[1], size[0], size[1], size[0]]
    for spread in np.linspace(0.3, 0, 100):
        moved = (box + random.uniform(-spread, spread, 4) * extent).clip(0, limits)
        overlap = np.minimum(moved[2:], box[2:]) - np.maximum(moved[:2], box[:2])
        shared = overlap.clip(0).prod()
        if shared >= 0.5 * ((moved[2:] - moved[:2]).prod() + extent[:2].prod() - shared):
            break
    return moved


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the IoU of two bool arrays; 1 if both are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def pasted_overlap(targets: np.ndarray, boxes: np.ndarray, masks: list[np.ndarray]) -> list[float]:
    """Returns the IoU of each mask with the pasted target of its own box: the best score of any mask head."""
    count = len(boxes)
    detections = Detections(
        boxes.astype(np.float32), np.ones(count), np.ones(count, np.int32), ("",) * count, targets, masks[0].shape
    )
    return [overlap(pasted, mask > 0) for pasted, mask in zip(detections.paste_masks(), masks)]


def measure(dataset: CocoDataset, min_size: int, max_size: int, mask_size: int) -> dict[str, float]:
    """Returns mean figures over all objects, for one size of the image and of the compact masks."""
    random = np.random.default_rng(0)
    columns: dict[str, list[float]] = {}
    for image_id, (height, width) in zip(dataset.image_ids, dataset.image_sizes):
        annotations = dataset.annotations(image_id)
        if not annotations:
            continue
        scale = min(min_size / min(height, width), max_size / max(height, width))
        size = (int(height * scale), int(width * scale))
        truth = dataset.ground_truth(image_id, mask_size)
        boxes = truth.boxes * np.tile([size[1] / width, size[0] / height], 2)
        full = [dataset.coco.annToMask(annotation) for annotation in annotations]
        resized = [resize_nearest(mask, size) for mask in full]
        rois = [jittered_box(box, size, random) for box in boxes for _ in range(ROIS_PER_OBJECT)] + list(boxes)
        matched = np.append(np.repeat(np.arange(len(boxes)), ROIS_PER_OBJECT), np.arange(len(boxes)))
        torchvision = np.stack([full_size_target(resized[index], roi) for index, roi in zip(matched, rois)])
        compact = crop_mask_targets(
            truth.masks[None], np.float32(boxes[None]), np.float32(rois)[None], matched[None], TARGET_SIZE
        )[0].numpy()
        ratio = np.tile([width / size[1], height / size[0]], 2)
        exact = np.stack([area_average(full[index], roi * ratio, TARGET_SIZE) for index, roi in zip(matched, rois)])
        count = len(rois) - len(boxes)
        for name, expected in (("torchvision", torchvision), ("exact", exact)):
            difference = np.abs(compact - expected)[:count].mean(axis=(1, 2))
            columns.setdefault(f"difference to {name}", []).extend(difference)
            pairs = zip(compact[:count] >= 0.5, expected[:count] >= 0.5)
            columns.setdefault(f"IoU with {name}", []).extend(overlap(a, b) for a, b in pairs)
        for name, targets in (("torchvision", torchvision), ("compact", compact)):
            pasted = pasted_overlap(np.float32(targets[count:]), truth.boxes, full)
            columns.setdefault(f"pasted IoU of {name}", []).extend(pasted)
    return {name: float(np.mean(values)) for name, values in columns.items()}


def main() -> None:
    """Prints the figures for several sizes of images and masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotation_file")
    parser.add_argument("image_folder")
    arguments = parser.parse_args()
    dataset = CocoDataset(arguments.annotation_file, arguments.image_folder)
    for min_size, max_size in ((800, 1333), (256, 427)):
        for mask_size in (28, 56, 112):
            figures = measure(dataset, min_size, max_size, mask_size)
            print(f"images {min_size} px, S = {mask_size}, {mask_size**2} bytes an object")
            for name, value in figures.items():
                print(f"    {name:<28}{value:.4f}")


if __name__ == "__main__":
    main()
