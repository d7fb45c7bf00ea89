"""Label errors: ranks annotations by how much detections disagree with them, and writes the ranking down.

`rank_suspects` does the ranking, `cross_validate` makes detections by models that were not trained on the same images
(in a module of its own, because it needs TensorFlow), and `write_suspects` writes tables and pictures.
"""

from keras_mrcnn.suspects.files import format_suspects, read_suspects, suspect_rows, write_suspects
from keras_mrcnn.suspects.ranking import KINDS, Suspect, rank_suspects

__all__ = [
    "KINDS",
    "Suspect",
    "format_suspects",
    "rank_suspects",
    "read_suspects",
    "suspect_rows",
    "write_suspects",
]
