"""Writes tests/golden/*.npz: torchvision's results for the inputs in tests/golden_inputs.py and golden_network.py.

It needs torch and torchvision, and no code of ours except those two files. Run it when an input changes:

    python scripts/make_golden.py
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchvision
from torchvision.models.detection import _utils, anchor_utils, image_list, roi_heads, rpn, transform
from torchvision.ops import batched_nms, box_iou, boxes, generalized_box_iou, generalized_box_iou_loss, nms, poolers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import golden_inputs as inputs  # noqa: E402
import golden_network as network  # noqa: E402

LARGEST_FILE = 100_000
RATIOS = (0.5, 1.0, 2.0)


def anchors() -> dict[str, Any]:
    """Returns some rows of the anchors of each level; `c4` is one map of stride 16 with 9 anchors a cell."""
    pyramid = anchor_utils.AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), (RATIOS,) * 5)
    single = anchor_utils.AnchorGenerator(((128, 256, 512),), (RATIOS,))
    values = {}
    for height, width in inputs.PADDED_SIZES:
        images = image_list.ImageList(torch.zeros(1, 3, height, width), [(height, width)])
        sizes = inputs.map_sizes(height, width)
        for name, generator, maps in (("fpn", pyramid, sizes), ("c4", single, sizes[2:3])):
            generated = generator(images, [torch.zeros(1, 1, *size) for size in maps])[0]
            levels = generated.split([h * w * generator.num_anchors_per_location()[0] for h, w in maps])
            for level, rows in enumerate(levels):
                values[f"{name} {height}x{width} {level}"] = rows[inputs.some_rows(len(rows))]
    return values


def box_arithmetic() -> dict[str, Any]:
    """Returns encoded, decoded and clipped boxes, IoUs and the rows that NMS keeps."""
    references, targets, deltas = map(torch.tensor, inputs.box_case())
    values = {}
    for name, weights in (("rpn", (1.0, 1.0, 1.0, 1.0)), ("head", (10.0, 10.0, 5.0, 5.0))):
        coder = _utils.BoxCoder(weights)
        values[f"encode {name}"] = coder.encode_single(targets, references)
        values[f"decode {name}"] = coder.decode_single(deltas, references)
    values["clip"] = boxes.clip_boxes_to_image(references, (150, 220))
    values["iou"] = box_iou(references, targets)
    values["giou"] = generalized_box_iou(references, targets).diagonal()
    values["giou far"] = generalized_box_iou(references, targets.flip(0)).diagonal()
    values["giou loss"] = generalized_box_iou_loss(references, targets.flip(0))
    crowd, scores, groups = map(torch.tensor, inputs.nms_case())
    values["nms 0.5"], values["nms 0.7"] = nms(crowd, scores, 0.5), nms(crowd, scores, 0.7)
    values["grouped nms 0.5"] = batched_nms(crowd, scores, groups, 0.5)
    return values


def roi_align() -> dict[str, Any]:
    """Returns the levels of RoIs and what RoIAlign pools from them."""
    features, rois = inputs.roi_align_case()
    maps = {str(i): channels_first(fmap) for i, fmap in enumerate(features)}
    per_image, sizes = list(torch.tensor(rois)), [inputs.ROI_INPUT] * 2
    values = {"levels": poolers.LevelMapper(2, 5)(per_image).reshape(2, -1)}
    for side in (7, 14):
        pooled = poolers.MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2)(maps, per_image, sizes)
        pooled = pooled.permute(0, 2, 3, 1).reshape(2, -1, side, side, 3)
        values[str(side)] = pooled if side == 7 else pooled[0, :20, :, :, 1]
    return values


def proposals() -> dict[str, Any]:
    """Returns the number of proposals and some of them, for training and for testing."""
    objectness, deltas = inputs.proposal_case()
    maps = [torch.zeros(1, 1, *size) for size in inputs.map_sizes(128, 160)]
    generator = anchor_utils.AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), (RATIOS,) * 5)
    generated = generator(image_list.ImageList(torch.zeros(2, 3, 128, 160), [(128, 160)] * 2), maps)
    decoded = _utils.BoxCoder((1.0,) * 4).decode(torch.tensor(np.concatenate(deltas, axis=1)).reshape(-1, 4), generated)
    counts = [level.shape[1] for level in objectness]
    values = {}
    for name, training, count in (("train", True, 2000), ("test", False, 1000)):
        network_part = rpn.RegionProposalNetwork(
            generator, None, 0.7, 0.3, 256, 0.5, dict.fromkeys(("training", "testing"), count),
            dict.fromkeys(("training", "testing"), count), 0.7,
        ).train(training)  # fmt: skip
        kept, scores = network_part.filter_proposals(
            decoded.reshape(2, -1, 4),
            torch.tensor(np.concatenate(objectness, axis=1)).reshape(-1, 1),
            [tuple(size) for size in inputs.PROPOSAL_SIZES.tolist()],
            counts,
        )
        for image in range(2):
            values[f"{name} count {image}"] = len(kept[image])
            rows = inputs.some_rows(len(kept[image]))
            values[f"{name} boxes {image}"], values[f"{name} scores {image}"] = kept[image][rows], scores[image][rows]
    return values


def matching() -> dict[str, Any]:
    """Returns the matches of anchors and of RoIs with ground truth."""
    generated, gt_boxes = map(torch.tensor, inputs.matching_case())
    quality = box_iou(gt_boxes, generated)
    return {
        "rpn": _utils.Matcher(0.7, 0.3, allow_low_quality_matches=True)(quality),
        "roi": _utils.Matcher(0.5, 0.5, allow_low_quality_matches=False)(quality),
    }


def detections() -> dict[str, Any]:
    """Returns the final detections from outputs of the box head."""
    logits, deltas, rois = (torch.tensor(value) for value in inputs.detection_case())
    heads = SimpleNamespace(
        box_coder=_utils.BoxCoder((10.0, 10.0, 5.0, 5.0)), score_thresh=0.05, nms_thresh=0.5, detections_per_img=100
    )
    kept = roi_heads.RoIHeads.postprocess_detections(
        heads, logits.reshape(-1, 5), deltas.reshape(-1, 20), list(rois), inputs.DETECTION_SIZES.tolist()
    )
    names = ("boxes", "scores", "labels")
    return {f"{name} {i}": value for name, values in zip(names, kept) for i, value in enumerate(values)}


def losses() -> dict[str, Any]:
    """Returns the losses, their gradients and the mask targets."""
    case = {name: torch.tensor(value) for name, value in inputs.loss_case().items()}
    leaves = ("objectness", "rpn_deltas", "class_logits", "deltas", "mask_logits")
    for name in leaves:
        case[name].requires_grad_(True)
    labels, positives = case["labels"].long(), case["labels"] > 0
    encode = lambda weights: _utils.BoxCoder(weights).encode_single(case["target_boxes"], case["references"])  # noqa: E731
    sampler = SimpleNamespace(fg_bg_sampler=lambda labels: ([labels[0] > 0], [labels[0] == 0]))
    objectness, rpn_box = rpn.RegionProposalNetwork.compute_loss(
        sampler, case["objectness"], case["rpn_deltas"], [positives.float()], [encode((1.0,) * 4)]
    )
    classification, box = roi_heads.fastrcnn_loss(
        case["class_logits"], case["deltas"].reshape(24, -1), [labels], [encode((10.0, 10.0, 5.0, 5.0))]
    )
    own = torch.arange(6)
    rois, logits = case["references"][:6], case["mask_logits"].permute(0, 3, 1, 2)
    mask = roi_heads.maskrcnn_loss(logits, [rois], [case["gt_masks"]], [labels[:6]], [own])
    values = {"objectness": objectness, "rpn_box": rpn_box, "classification": classification, "box": box, "mask": mask}
    gradients = torch.autograd.grad(sum(values.values()), [case[name] for name in leaves])
    gradients = {f"gradient {name}": value for name, value in zip(leaves, gradients)}
    gradients["gradient mask_logits"] = gradients["gradient mask_logits"][:, ::4, ::4]
    targets = roi_heads.project_masks_on_boxes(case["gt_masks"], rois, own, 28)
    return {**values, **gradients, "target_masks": targets}


def pasted() -> dict[str, Any]:
    """Returns masks pasted into an image."""
    masks, corners = map(torch.tensor, inputs.paste_case())
    return {"soft": roi_heads.paste_masks_in_image(masks[:, None], corners, inputs.PASTE_SIZE)[:, 0]}


def transformed() -> dict[str, Any]:
    """Returns a normalised, resized and padded batch, and the sizes of resized images."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    step = transform.GeneralizedRCNNTransform(inputs.TRANSFORM_MIN, inputs.TRANSFORM_MAX, mean, std)
    pictures = [channels_first(inputs.picture(*size)[None])[0] / 255 for size in ((37, 61), (90, 70))]
    batch, _ = step.eval()(pictures)
    full = transform.GeneralizedRCNNTransform(800, 1333, mean, std).eval()
    sizes = [full.resize(torch.zeros(3, *size))[0].shape[1:] for size in inputs.IMAGE_SIZES]
    values = batch.tensors.permute(0, 2, 3, 1)
    return {"batch": values[:, ::3, ::3], "shape": values.shape, "sizes": batch.image_sizes, "full sizes": sizes}


def channels_first(value: np.ndarray) -> torch.Tensor:
    """Moves the channels of an array from the last axis before height and width."""
    return torch.tensor(np.moveaxis(value, -1, -3).copy())


def small_network(version: str) -> dict[str, Any]:
    """Returns the results of each step of a small network, and the gradients of its heads."""
    from golden_torch_network import run

    return run(network, version)


def state_dict_names() -> dict[str, Any]:
    """Returns the names and shapes of the weights of `maskrcnn_resnet50_fpn`, one a line."""
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    lines = [f"{name} {'x'.join(map(str, value.shape))}" for name, value in model.state_dict().items()]
    norms = (".bn", "downsample.1")
    trained = sum(p.numel() for name, p in model.named_parameters() if not any(norm in name for norm in norms))
    lines = [line for line in lines if "num_batches_tracked" not in line]
    return {"names": np.array(lines), "trained": trained}


def main() -> None:
    """Writes all files and prints their sizes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    makers = {
        "anchors": anchors, "boxes": box_arithmetic, "roi_align": roi_align, "proposals": proposals,
        "matching": matching, "detections": detections, "losses": losses, "paste": pasted, "transform": transformed,
        "network_v1": partial(small_network, "v1"), "network_v2": partial(small_network, "v2"),
        "names": state_dict_names,
    }  # fmt: skip
    inputs.FOLDER.mkdir(exist_ok=True)
    for name, make in makers.items():
        path = inputs.FOLDER / f"{name}.npz"
        arrays = {key: value.detach().numpy() if torch.is_tensor(value) else value for key, value in make().items()}
        np.savez_compressed(path, **arrays)
        size = path.stat().st_size
        print(f"{path.name}: {size} bytes")
        if size > LARGEST_FILE:
            raise SystemExit(f"{path} has {size} bytes, more than {LARGEST_FILE}: hold fewer values")


if __name__ == "__main__":
    main()
