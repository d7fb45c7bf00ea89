"""Does the memory of a training process stay flat? Trains on generated scenes and follows the resident memory.

    python scripts/measure_memory.py
    python scripts/measure_memory.py --steps 200 --stages box --cache on

Without --stages: the box stage on images, the same out of the feature cache, then all three stages. Each case is a
process of its own. Growth is the slope of a straight line through the memory after each tenth of the steps, the first
three tenths left out, in MB for 1,000 steps. The peak is the one that training reports in metrics.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CASES = (("box", "off"), ("box", "on"), ("rpn,box,mask", "on"))
WARM_UP = 0.3


def resident_mb() -> float:
    """Returns the resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def growth(points: list[tuple[int, float]]) -> float:
    """Returns the growth in MB for 1,000 steps (or frames), from (step, MB) after the warm-up."""
    steps, megabytes = np.array(points[int(WARM_UP * len(points)) :]).T
    return float(np.polyfit(steps, megabytes, 1)[0] * 1000)


def train(folder: Path, stages: list[str], cache: str, steps: int) -> dict:
    """Trains the stages for `steps` steps each and returns (step, MB) and the peak of each stage."""
    import keras

    from keras_mrcnn.config import load_config
    from keras_mrcnn.evaluation.tables import read_json
    from keras_mrcnn.scenes.generator import generate_scenes
    from keras_mrcnn.training import trainer

    scenes = generate_scenes(
        folder / "scenes", num_train=40, num_val=1, seed=3, height_range=(96, 160), width_range=(96, 160), workers=1
    )
    epochs, counts = 10, {name: steps if name in stages else 0 for name in trainer.STAGES}
    overrides = [
        f"data.train_annotations={scenes.annotation_files['train']}",
        f"data.train_images={scenes.image_folders['train']}",
        "data.batch_size=2", "model.min_size=128", "model.max_size=192", "model.backbone.width=0.25",
        "model.neck.channels=32", "model.box_head.channels=64", "model.box_head.samples=32",
        "model.rpn.post_nms_train=60", f"train.cache_features={cache}",
    ]  # fmt: skip
    for name, count in counts.items():
        overrides += [
            f"train.{name}.epochs={epochs if count else 0}",
            f"train.{name}.steps_per_epoch={max(count // epochs, 1)}",
            f"train.{name}.learning_rate=0.0001",
        ]
    points: dict[str, list] = {name: [] for name in stages}

    class Watch(trainer.SaveCheckpoint):
        """Records the memory at the end of each epoch."""

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            """Writes the checkpoint and records the memory."""
            super().on_epoch_end(epoch, logs)
            points[self.stage].append(((epoch + 1) * (steps // epochs), resident_mb()))

    trainer.SaveCheckpoint = Watch
    keras.utils.disable_interactive_logging()
    run = trainer.StagedTrainer(load_config("scenes-small", tuple(overrides)), folder / "run", verbose=0)
    run.fit()
    records = read_json(folder / "run" / "metrics.json")["training"]
    return {name: {"points": points[name], "peak": records[name]["peak_memory_mb"]} for name in stages}


def show(stages: str, cache: str, steps: int) -> None:
    """Runs one case as a process of its own and prints its figures."""
    command = [sys.executable, __file__, "--one", "--stages", stages, "--cache", cache, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    for name, figures in json.loads(done.stdout.splitlines()[-1]).items():
        memory = "  ".join(f"{step}: {megabytes:.0f}" for step, megabytes in figures["points"])
        print(f"{name} stage, {steps} steps, cache {cache}\n    MB at step  {memory}")
        print(f"    growth {growth(figures['points']):+.1f} MB per 1,000 steps, peak {figures['peak']} MB", flush=True)


def main() -> None:
    """Runs the cases and prints their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of each stage, at least 100")
    parser.add_argument("--stages", help="rpn, box, mask, joint, or some with commas between; by default three cases")
    parser.add_argument("--cache", choices=("on", "off"), default="on", help="of the case that --stages names")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory() as folder:
            stages = arguments.stages.split(",")
            print(json.dumps(train(Path(folder), stages, arguments.cache, arguments.steps)))
    else:
        cases = ((arguments.stages, arguments.cache),) if arguments.stages else CASES
        for stages, cache in cases:
            show(stages, cache, arguments.steps)


if __name__ == "__main__":
    main()
