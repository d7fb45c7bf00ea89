"""Reports of a run as one HTML file: scores, pictures, mistakes, training, data and settings.

`read_run`, `data_statistics` and `suspect_panels` read the run and its data, `Evaluation` and `picture_panels` hold the
results of the model, and `write_report` writes the page. This package never runs the model itself.
"""

from keras_mrcnn.report.page import write_report
from keras_mrcnn.report.panels import PicturePanels, picture_panels
from keras_mrcnn.report.pictures import PictureScore, best_and_worst, score_pictures
from keras_mrcnn.report.run_folder import RunFolder, StageLosses, read_run
from keras_mrcnn.report.score_sections import Evaluation
from keras_mrcnn.report.statistics import ModelStatistics, data_statistics
from keras_mrcnn.report.suspects_section import SuspectPanels, suspect_panels

__all__ = [
    "Evaluation",
    "ModelStatistics",
    "PictureScore",
    "PicturePanels",
    "RunFolder",
    "StageLosses",
    "SuspectPanels",
    "best_and_worst",
    "data_statistics",
    "picture_panels",
    "read_run",
    "score_pictures",
    "suspect_panels",
    "write_report",
]
