"""`keras-mrcnn video`: draws detections into a video, the pictures of a camera or a sequence of images."""

from __future__ import annotations

from pathlib import Path

import click

from keras_mrcnn.cli.locations import WEIGHTS, load_model
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

# As tqdm's own, but in frames a second even if there is less than one.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


@click.command()
@click.argument("weights", type=WEIGHTS)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.5, help="Draw detections from this score on.")
@click.option("--batch-size", type=click.IntRange(1), default=2, help="Frames that go through the network at once.")
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Frames a second of image files, which have no times of their own.  [default: 25]",
)
def video(
    weights: Path, source: str, target: Path, min_score: float, batch_size: int, fps: float | None
) -> None:
    """Find the objects in every frame of IN and draw them into the video OUT.

    WEIGHTS is a weight file, the folder of a run, or a name that `weights list` prints. IN is a video file, a pattern
    of image files such as frames/%04d.png or 'frames/*.png', or camera:0. OUT ends in .mp4, .m4v, .mov, .mkv or .webm;
    it has a frame for each one of IN, upright, shown at the same time, and no sound. Ctrl-C ends it early.
    """
    import_tensorflow()
    from tqdm import tqdm

    from keras_mrcnn.video.frames import open_frames
    from keras_mrcnn.video.writer import check_target

    frames = open_frames(source, fps)
    check_target(target, frames.files)
    if frames.has_sound:
        click.echo(f"The sound of {source} is left out: {target} will have pictures alone.", err=True)
    if frames.is_endless:
        click.echo("Press Ctrl-C to end the video.", err=True)
    model = load_model(weights)

    from keras_mrcnn.video.annotate import annotate_video

    options = {"total": frames.num_frames, "unit": "frame", "bar_format": BAR, "leave": False, "disable": None}
    with tqdm(desc="video", smoothing=0.05, **options) as bar:
        summary = annotate_video(model, frames, target, min_score=min_score, batch_size=batch_size, progress=bar)
    click.echo(str(summary))
