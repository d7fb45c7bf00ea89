"""torchvision's side of the whole-model comparison: models with weights, and what they detect in image files.

A program of its own, because torchvision and TensorFlow do not live in one process:

    python tests/torchvision_models.py make v1 --images FOLDER --out FOLDER
    python tests/torchvision_models.py detect v1 --weights FILE --images FOLDER --out FOLDER

`make` writes NAME.pth (the state dict) and NAME.npz (the detections); `detect` reads a .pth or .safetensors file,
strictly, and writes NAME.npz. Images are seen one at a time, all of the folder or the first `limit` of the case.

How random weights come to find distinct objects (`redraw`, `spread`). Nothing is trained and no image is picked; the
constants were chosen by what torchvision alone finds, and by how little its float64 differs from its float32:

1. Every weight is drawn anew (fixed seed) from a normal distribution of variance 2 / fan-in; biases are zero; norms
   get scales of 0.5 to 1 and shifts of -0.2 to 0.2; the norm that ends a residual branch gets a quarter of that, as
   training tends to make it, because a random network of full branches doubles the rounding noise every few blocks.
2. One forward pass over the first `CALIBRATION` photographs, at full size, then fits one layer after the other to
   what it sees there. A norm takes mean and variance of its input as its running statistics. A convolution or fully
   connected layer with bias is scaled and shifted, so that each channel of its output has mean 0 and standard
   deviation 1; so no channel is dead, and what all places have in common does not drown what tells them apart.
3. The last layers have a mean and a standard deviation of their own (`SPREAD`): few anchors are sure, proposals are
   about twice as large as their anchors, boxes move, the classes are about equally frequent, masks are patchy. The
   background's logit is raised until `OBJECTS` of the RoIs are rather an object.

That gives up to 100 detections in a photograph, with scores from 0.05 to 0.99 and more, of most labels.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torchvision.models import detection, resnet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

CALIBRATION = 4
# (means, standard deviation) of the channels that a layer gives; the means repeat from channel to channel.
SPREAD = {
    "rpn.head.cls_logits": ((-3.0,), 2.0),
    "rpn.head.bbox_pred": ((0.0, 0.0, 0.7, 0.7), 0.2),  # dx, dy, dw, dh: twice as large as the anchors
    "roi_heads.box_predictor.cls_score": ((0.0,), 2.8),
    "roi_heads.box_predictor.bbox_pred": ((0.0,), 0.5),
    "roi_heads.mask_predictor.mask_fcn_logits": ((0.0,), 3.0),
}
SMALL_SIZES = (256, 400)  # min_size and max_size of the cases that are not torchvision's ready models
OBJECTS = 0.03  # share of the RoIs that rather hold an object than background
RESIDUAL = 0.25  # scale of the norm that ends a residual branch
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def with_backbone(name, num_classes):
    """A MaskRCNN of small images on `resnet_fpn_backbone`, whose norms are frozen."""
    backbone = resnet_fpn_backbone(backbone_name=name, weights=None)
    return detection.MaskRCNN(backbone, num_classes, min_size=SMALL_SIZES[0], max_size=SMALL_SIZES[1])


NO_WEIGHTS = {"weights": None, "weights_backbone": None, "num_classes": 91}
# Name: (model, how many images of the folder; None is all).
CASES = {
    "v1": (lambda: detection.maskrcnn_resnet50_fpn(**NO_WEIGHTS), None),
    "v2": (lambda: detection.maskrcnn_resnet50_fpn_v2(**NO_WEIGHTS), None),
    "resnet18": (lambda: with_backbone("resnet18", 4), 8),
    "resnet34": (lambda: with_backbone("resnet34", 6), 8),
    "resnet101": (lambda: with_backbone("resnet101", 6), 8),
}


def read_images(folder, limit):
    """The first photographs of a folder by name: a dict of name to float tensor [3, H, W], RGB in 0..1."""
    images = {}
    for path in sorted(Path(folder).glob("*.jpg"))[:limit]:
        with Image.open(path) as image:
            pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        images[path.name] = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    return images


def make(name, images):
    """Model of a case, with weights that detect something, ready for inference."""
    model = CASES[name][0]().eval()
    redraw(model)
    spread(model, list(images.values())[:CALIBRATION])
    return model


def redraw(model):
    """Gives every weight a new value, that depends on the architecture alone."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, WEIGHTED):
            transposed = isinstance(module, nn.ConvTranspose2d)  # 2x2 of stride 2: each input adds to a place once
            fan_in = module.in_channels if transposed else module.weight[0].numel()
            module.weight.data.normal_(0.0, math.sqrt(2 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, NORMS):
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    for module in model.modules():
        if isinstance(module, (resnet.BasicBlock, resnet.Bottleneck)):
            getattr(module, "bn3", module.bn2).weight.data.mul_(RESIDUAL)


@torch.inference_mode()
def spread(model, images):
    """One pass over the images, in which every layer is fitted to what it sees, from the first layer to the last."""
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, NORMS):
            hooks.append(module.register_forward_pre_hook(_fit_norm))
        elif isinstance(module, WEIGHTED) and module.bias is not None:
            hooks.append(module.register_forward_hook(_fit_layer(*SPREAD.get(name, ((0.0,), 1.0)))))
    hooks.append(model.roi_heads.box_predictor.cls_score.register_forward_hook(_raise_background))
    model(images)
    for hook in hooks:
        hook.remove()


def _statistics(values):
    axes = [axis for axis in range(values.ndim) if axis != 1]
    return values.mean(axes), values.var(axes, unbiased=False)


def _fit_norm(module, inputs):
    mean, variance = _statistics(inputs[0])
    module.running_mean.copy_(mean)
    module.running_var.copy_(variance)


def _fit_layer(means, deviation):
    """A hook that scales and shifts the weights of a layer, once, and gives the output that they would have given."""
    fitted = []

    def fit(module, _, output):
        if fitted:  # the RPN's head sees one level after the other; the finest, which comes first, has most anchors
            return None
        fitted.append(True)
        found, variance = _statistics(output)
        factor = deviation / (variance + 1e-8).sqrt()
        outputs_axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        shift = torch.tensor(means).repeat(len(found) // len(means)) - found * factor
        module.weight.mul_(_along(factor, outputs_axis, module.weight))
        module.bias.mul_(factor).add_(shift)
        return output * _along(factor, 1, output) + _along(shift, 1, output)

    return fit


def _along(values, axis, like):
    """Values of the channels, shaped to be multiplied with a tensor that has channels along an axis."""
    return values.reshape([-1 if i == axis else 1 for i in range(like.ndim)])


def _raise_background(module, _, logits):
    """A hook that shifts the background's logit, so that `OBJECTS` of the RoIs are rather an object."""
    lead = logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
    shift = torch.zeros_like(logits[0])
    shift[0] = lead.quantile(1 - OBJECTS)
    module.bias.add_(shift)
    return logits + shift


@torch.inference_mode()
def detect(model, images):
    """Detections of each image, in a dict that `np.savez` takes.

    Keys are IMAGE/boxes float32 [D, 4], IMAGE/scores float32 [D], IMAGE/labels int64 [D], and IMAGE/masks uint8, the
    bits of the masks pasted into the image and cut at 0.5, bool [D, h, w], eight in a byte along the last axis.
    """
    found = {}
    for name, image in images.items():
        result = model([image])[0]
        masks = (result["masks"][:, 0] > 0.5).numpy()
        found[f"{name}/masks"] = np.packbits(masks, axis=-1)
        for field in ("boxes", "scores", "labels"):
            found[f"{name}/{field}"] = result[field].numpy()
    return found


def read_weights(path):
    """The state dict in a .pth or .safetensors file."""
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, weights_only=True)


def _write(path, write):
    """Writes a file under another name first, so that it is whole or not there."""
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    write(unfinished)
    os.replace(unfinished, path)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("make", "detect"))
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--images", type=Path, required=True, help="folder of .jpg files")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets CASE.npz, and CASE.pth from make")
    parser.add_argument("--weights", type=Path, help=".pth or .safetensors file for detect")
    options = parser.parse_args()
    build, limit = CASES[options.case]
    if options.command == "make":
        model = make(options.case, read_images(options.images, CALIBRATION))
        _write(options.out / f"{options.case}.pth", lambda path: torch.save(model.state_dict(), path))
    else:
        model = build().eval()
        model.load_state_dict(read_weights(options.weights))
    found = detect(model, read_images(options.images, limit))
    _write(options.out / f"{options.case}.npz", lambda path: np.savez_compressed(path, **found))


if __name__ == "__main__":
    main()
