"""Pictures of images, objects and every stage of the model.

There are two kinds of functions, and none of them opens a window or saves a file:
    draw_...(image, ...) draws on a copy of an image and returns a uint8 array [H, W, 3] of the same size;
    show_...(outputs) and stage_panels(outputs) return a matplotlib `Figure` of titled panels. `outputs` is the
        `StageOutputs` of one image, from `keras_mrcnn.inspection.inspect_stages`.

Example:
    >>> outputs = inspect_stages(model, image, ground_truth)  # doctest: +SKIP
    >>> show_proposals(outputs).savefig("proposals.png")  # doctest: +SKIP
"""

from keras_mrcnn.visualize.anchors import show_anchors
from keras_mrcnn.visualize.box_results import show_boxes
from keras_mrcnn.visualize.masks import show_masks
from keras_mrcnn.visualize.objectness import show_objectness
from keras_mrcnn.visualize.objects import draw_detections, draw_ground_truth, show_detections, show_ground_truth
from keras_mrcnn.visualize.palette import PALETTE
from keras_mrcnn.visualize.proposals import draw_proposals, show_proposals
from keras_mrcnn.visualize.rois import show_rois
from keras_mrcnn.visualize.sheet import contact_sheet
from keras_mrcnn.visualize.stage_outputs import AnchorLevel, MaskOutputs, SampledRoIs, ScoredBoxes, StageOutputs
from keras_mrcnn.visualize.stages import stage_panels

__all__ = [
    "PALETTE",
    "AnchorLevel",
    "MaskOutputs",
    "SampledRoIs",
    "ScoredBoxes",
    "StageOutputs",
    "contact_sheet",
    "draw_detections",
    "draw_ground_truth",
    "draw_proposals",
    "show_anchors",
    "show_boxes",
    "show_detections",
    "show_ground_truth",
    "show_masks",
    "show_objectness",
    "show_proposals",
    "show_rois",
    "stage_panels",
]
