"""A program, not a test: writes parts with a model that needs no network, for test_kill.py to kill.

    python predicting.py PICTURES OUT PART_SIZE SECONDS

SECONDS is how long the model takes for a picture. It prints "begins" once all is imported.
"""

import sys
import time
from pathlib import Path

from fake_detector import fake_runtime

from keras_mrcnn.batch import PartSettings, open_input, predict_parts, run


def main(pictures, out, part_size, seconds):
    model = fake_runtime()

    def detect(batch):
        time.sleep(seconds)
        return model.detect(batch)

    run.open_runtime = lambda source: model._replace(detect=detect)
    print("begins", flush=True)
    settings = PartSettings("parquet", part_size)
    predict_parts(Path(out).with_name("model.onnx"), open_input([pictures]), out, settings, resume=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
