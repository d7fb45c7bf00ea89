"""The names of the stages of a training, and of what they are scored by; every part may import them."""

STAGES = ("rpn", "box", "mask", "joint")  # in the order in which they are trained
SCORED_PARTS = ("rpn", "box", "mask")  # what has scores of its own
# What there is to score when a stage ends.
PARTS_OF_STAGE = {"rpn": ("rpn",), "box": ("box",), "mask": ("box", "mask"), "joint": SCORED_PARTS}
