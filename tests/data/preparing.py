"""A program, not a test: prepares a data set as `keras-mrcnn data prepare` does, but in shards of few images.

    python preparing.py IMAGES_OF_A_SHARD SOURCE OUT ...
"""

import sys

from keras_mrcnn.cli import main
from keras_mrcnn.data import prepare

prepare.SMALLEST_SHARD = int(sys.argv[1])
print("begins", flush=True)
main(["data", "prepare", *sys.argv[2:]])
