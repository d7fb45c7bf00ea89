"""A program, not a test: trains once without interruption and once with many SIGKILLs, for test_kill.py to compare.

    python killed_training.py PLAN.json FOLDER

The plan holds a config and a list of aims. TensorFlow is imported once; each attempt is a fork of this process, which
runs no TensorFlow operation itself. The log of what happened is FOLDER/log.json.
"""

import fnmatch
import itertools
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.base.stage_names import STAGES
from keras_mrcnn.config import Config
from keras_mrcnn.training import batches
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import SaveCheckpoint
from keras_mrcnn.training.checkpoint import read_progress

# Where the child can die by its own hand; "timed" is up to the parent.
PLACES = ("half written", "before rename", "after rename", "removing")


def arm(aim, report):
    """Makes this process kill itself at the place that an aim names.

    Args:
        aim: dict with how, one of `PLACES`; file, a pattern for the name; count, at which of these files (from 1).
        report: called with a line for the parent before the end.
    """
    number, fsync, remove_folders = itertools.count(1), os.fsync, batches.remove_folders

    def reached(how, path):
        matches = how == aim["how"] and fnmatch.fnmatch(Path(path).name.lstrip("."), aim["file"])
        return matches and next(number) == aim.get("count", 1)

    def die():
        report("killed")
        os.kill(os.getpid(), signal.SIGKILL)

    def half_saved(descriptor):
        if reached("half written", os.readlink(f"/proc/self/fd/{descriptor}")):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        fsync(descriptor)

    class HalfWritten(tf.io.TFRecordWriter):
        def __init__(self, path):
            super().__init__(path)
            self.path = path

        def __exit__(self, *error):
            super().__exit__(*error)
            if reached("half written", self.path):
                os.truncate(self.path, os.path.getsize(self.path) // 2)
                die()

    def renaming(rename):
        def renamed(source, target, **settings):
            if reached("before rename", target):
                die()
            rename(source, target, **settings)
            if reached("after rename", target):
                die()

        return renamed

    def removed(folder):
        if reached("removing", folder) and Path(folder).is_dir():
            next(Path(folder).rglob("*.tfrecord")).unlink()
            die()
        remove_folders(folder)

    os.fsync, tf.io.TFRecordWriter, batches.remove_folders = half_saved, HalfWritten, removed
    os.replace, tf.io.gfile.rename = renaming(os.replace), renaming(tf.io.gfile.rename)


def train(config, folder, aim, report):
    """One attempt, as the command line would make it: resumed where there is a checkpoint."""

    class Reporting(SaveCheckpoint):
        def __init__(self, path, stage, *args, **kwargs):
            super().__init__(path, stage, *args, **kwargs)
            report(f"stage {stage}")

        def on_train_batch_end(self, batch, logs=None):
            report(f"step {self.stage}")

    trainer_module.SaveCheckpoint = Reporting
    report("start")
    if aim["how"] in PLACES:
        arm(aim, report)
    resume = (folder / "checkpoint.safetensors").is_file()
    trainer_module.StagedTrainer(config, folder, resume=resume, verbose=0).fit()


def attempt(config, folder, aim, log):
    """Forks a child that trains, and kills it where a timed aim says so.

    Returns:
        the lines that the child has reported, and whether SIGKILL ended it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            train(config, folder, aim, lambda line: os.write(writer, f"{line}\n".encode()))
            status = 0
        finally:
            if status:
                sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    lines = []
    with open(reader) as reports:
        for line in map(str.strip, reports):
            lines.append(line)
            if line == aim.get("after") and lines.count(line) == aim.get("count", 1):
                time.sleep(aim["delay"])
                os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt failed with status {status}, aim {aim}; see {log.name}")
    return lines, status == -signal.SIGKILL


def progress_of(folder):
    """What the checkpoint says, as [place of the stage, epoch]; it is whole whenever it is there."""
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return [-1, 0]
    stage, epoch = read_progress(path)
    return [STAGES.index(stage), epoch]


def main(plan, folder):
    config, started, kills = Config.model_validate(plan["config"]), time.monotonic(), []
    with open(folder / "output.txt", "w") as log:
        attempt(config, folder / "whole" / "run", {"how": "never"}, log)
        whole_seconds = time.monotonic() - started
        stage = None
        for aim in [*plan["aims"], {"how": "never"}]:
            lines, killed = attempt(config, folder / "killed" / "run", aim, log)
            stage = next((line.split()[1] for line in reversed(lines) if line.startswith("stage")), stage)
            if killed:
                kills.append({**aim, "stage": stage, "progress": progress_of(folder / "killed" / "run")})
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {
        "kills": kills,
        "finished": not killed,
        "seconds": round(time.monotonic() - started, 1),
        "seconds without kills": round(whole_seconds, 1),
        "cpu seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }
    (folder / "log.json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
