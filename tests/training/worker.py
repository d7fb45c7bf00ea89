"""A program, not a test: the command line as one of several workers, which can be made to die within an epoch.

    python worker.py "box 2 1" train --config RUN.yaml --run FOLDER

The first argument names the stage, epoch and step after which the process is gone, as in a power cut; "" for none.
"""

import os
import signal
import sys

from keras_mrcnn.cli import main
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import StopOnNonFiniteLoss


class PowerCut(StopOnNonFiniteLoss):
    """Also ends the process."""

    when = ""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if f"{self.stage} {self.epoch + 1} {batch + 1}" == self.when:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    PowerCut.when = sys.argv.pop(1)
    trainer_module.StopOnNonFiniteLoss = PowerCut
    main()
