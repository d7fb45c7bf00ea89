"""torchvision's pasting of masks into a picture; prints one line of JSON.

    python scripts/peers/torchvision_paste.py FILE.npz        with boxes [D, 4], masks [D, 28, 28] and size [2]

From probabilities inside boxes to masks of the picture's size, cut at one half.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

RUNS, WARM_UP = 9, 2


def main(file):
    with np.load(file) as arrays:
        boxes, masks = torch.from_numpy(arrays["boxes"]), torch.from_numpy(arrays["masks"])[:, None]
        size = tuple(arrays["size"].tolist())
    seconds = []
    with torch.inference_mode():
        for _ in range(RUNS):
            start = time.perf_counter()
            pasted = paste_masks_in_image(masks, boxes, size) > 0.5
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"median_s": statistics.median(seconds[WARM_UP:]), "pixels": int(pasted.sum())}))


if __name__ == "__main__":
    main(sys.argv[1])
