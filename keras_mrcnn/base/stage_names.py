"""The names of the training stages and of the parts of the model that are scored; every module may import them."""

STAGES = ("rpn", "box", "mask", "joint")  # in the order of training
SCORED_PARTS = ("rpn", "box", "mask")  # each has scores of its own
IOU_TYPES = {"box": "bbox", "mask": "segm"}  # COCO's names of the parts that it scores
# The parts to score when a stage ends.
PARTS_OF_STAGE = {"rpn": ("rpn",), "box": ("box",), "mask": ("box", "mask"), "joint": SCORED_PARTS}
# The part and the score by which the epochs of a stage are compared.
SCORE_OF_STAGE = {"rpn": ("rpn", "AR1000"), "box": ("box", "AP"), "mask": ("mask", "AP"), "joint": ("mask", "AP")}
