"""Scores of a model: COCO metrics of its detections, metrics of its proposals, and both as tables or JSON."""

from keras_mrcnn.evaluation.coco_metrics import evaluate_detections
from keras_mrcnn.evaluation.rpn_metrics import RPNMetrics
from keras_mrcnn.evaluation.tables import format_table, read_json, write_json

__all__ = ["RPNMetrics", "evaluate_detections", "format_table", "read_json", "write_json"]
