"""`keras-mrcnn predict`: finds objects in pictures, writes them as results or annotations and draws them."""

from __future__ import annotations

import functools
import glob
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.cli.data_convert import TARGETS
from keras_mrcnn.cli.locations import EXISTING_FILE, FOLDER, WEIGHTS, load_model, write_results
from keras_mrcnn.cli.predict_drafts import QUEUE_NAME, check_free, make_drafts, write_drafts, write_queue
from keras_mrcnn.cli.predict_parts import PART_FORMATS, is_used, part_options, write_parts
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

DRAWN_SUFFIXES = (".jpg", ".jpeg", ".png")
MIN_SCORE = 0.5  # of what is drawn or becomes an annotation


class _Images(click.Path):
    """The type of IMAGES: what exists, a pattern, or a URL; given as text."""

    def convert(self, value, param, ctx):
        is_pattern = glob.has_magic(value) and not os.path.exists(value)
        return value if is_pattern or "://" in value else super().convert(value, param, ctx)


class Job(NamedTuple):
    """One image: its path, its COCO id and file name, the path of the drawn picture, and its name below its folder."""

    path: Path
    image_id: int
    file_name: str
    picture: Path
    name: str


@click.command()
@click.argument("weights", type=WEIGHTS)
@click.argument("images", nargs=-1, required=True, type=_Images(exists=True))
@click.option("--out", type=FOLDER, required=True, help="Folder for what is written.")
@click.option("--annotations", type=EXISTING_FILE, help="COCO file whose image ids to use, matched by file name.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="Draw detections from this score on, and write them as annotations; or as rows.  "
    f"[default: {MIN_SCORE}; for rows 0]",
)
@click.option("--batch-size", type=click.IntRange(1), default=1, help="Images of one size in the network at once.")
@click.option(
    "--format",
    "target",
    type=click.Choice([*TARGETS, *PART_FORMATS]),
    help=f"{', '.join(TARGETS)}: write the detections as annotations to correct, too, into OUT/FORMAT. "
    f"{' or '.join(PART_FORMATS)}: write them as rows, in parts, for any number of images.",
)
@click.option(
    "--rank",
    type=click.Choice(["uncertainty"]),
    help="Write OUT/queue.csv, too: the images, those first about which the model is least certain.",
)
@part_options
def predict(
    weights: Path,
    images: tuple[str, ...],
    out: Path,
    annotations: Path | None,
    min_score: float | None,
    batch_size: int,
    target: str | None,
    rank: str | None,
    **options,
) -> None:
    """Find the objects in IMAGES: files, folders with all below them, lists (*.txt), or patterns.

    WEIGHTS is a weight file, the folder of a run, or a name that `weights list` prints. OUT/detections.json has every
    detection as COCO results, in pixels of the upright images; OUT/images.json says which image_id is which file.

    With --format parquet or jsonl, OUT gets the detections alone, as rows in files of --part-size images each, and
    memory does not grow with the number of images. IMAGES may then be a folder of prepared data, or Parquet files with
    paths or bytes, and WEIGHTS the folder of a SavedModel or an ONNX file, too.
    """
    if target in PART_FORMATS:
        if rank:
            raise click.UsageError(f"--rank needs all detections at once; leave it or --format {target} out")
        ids = functools.partial(_record, _image_ids(annotations), annotations=annotations) if annotations else None
        write_parts(weights, images, out, target, ids, min_score or 0.0, batch_size, **options)
        return
    if is_used(options):
        raise click.UsageError(f"{is_used(options)} goes with --format {' or '.join(PART_FORMATS)}")
    min_score = MIN_SCORE if min_score is None else min_score
    jobs = _jobs(images, out, annotations)
    earlier = {path for path in (*_lists(out), out / QUEUE_NAME, *(job.picture for job in jobs)) if path.is_file()}
    if target:
        check_free(out / target, target)

    import_tensorflow()
    from tqdm import tqdm

    from keras_mrcnn.base.image_files import ImageError
    from keras_mrcnn.predict import predict_files

    model = load_model(weights)
    by_path = {job.path: job for job in jobs}
    sizes, results, failure = {}, {}, None
    try:
        with tqdm(total=len(jobs), desc="predict", unit="image", leave=False, disable=None) as bar:
            for path, image, detections in predict_files(model, by_path, batch_size):
                job = by_path[path]
                sizes[job.image_id], results[job.image_id] = detections.image_size, detections.to_coco(job.image_id)
                _draw(job, image, detections, min_score, model.config.class_names)
                bar.update()
    except ImageError as error:
        failure = error
    done = [job for job in jobs if job.image_id in results]
    detected = [result for job in done for result in results[job.image_id]]
    image_list = _image_list(done, sizes, model.config)
    for path, content in zip(_lists(out), (detected, image_list)):
        write_results(path, content)
    click.echo(f"Wrote {len(detected)} detections in {len(done)} images to {out}.")
    if target or rank:
        drafts = make_drafts(image_list, detected, {job.image_id: (job.path, job.name) for job in done}, min_score)
        if target:
            write_drafts(drafts, out / target, target)
        if rank:
            write_queue(drafts, detected, out, target)
    written = [*_lists(out), *([out / QUEUE_NAME] if rank else [])]
    _tell_replaced(out, [path for path in written if path in earlier], sum(job.picture in earlier for job in done))
    if failure is not None:
        raise ImageError(f"{len(jobs) - len(done)} of {len(jobs)} files could not be read:\n{failure}")


def _lists(out):
    """Returns the paths of the two JSON files: detections and images."""
    return out / "detections.json", out / "images.json"


def _tell_replaced(out, replaced, pictures):
    """Prints on stderr which files of an earlier run, and how many pictures, were replaced."""
    names = [path.name for path in replaced]
    if pictures:
        names.append("1 picture" if pictures == 1 else f"{pictures} pictures")
    if names:
        click.echo(f"Replaced {', '.join(names)} that {out} held already; its other files stay.", err=True)


def _jobs(images, out, annotations):
    """Returns one `Job` for each file, in the order given, those of a folder by name."""
    files = {}
    for argument in images:
        for file, name in _files(Path(argument), out) if os.path.isdir(argument) else _named_files(argument):
            files.setdefault(Path(os.path.abspath(file)), (file, name))
    ids = _image_ids(annotations) if annotations else None
    jobs, taken, used = [], set(), {}
    for number, (file, name) in enumerate(files.values(), start=1):
        file_name, image_id = (file.as_posix(), number) if ids is None else _record(ids, name, annotations)
        if used.setdefault(image_id, file) != file:
            raise UserError(f"{used[image_id]} and {file} are both {file_name} of {annotations}; leave one out")
        picture = _free_place(out / name, taken, set(files))
        taken.add(Path(os.path.abspath(picture)))
        jobs.append(Job(file, image_id, file_name, picture, name))
    return jobs


def _named_files(argument):
    """Lists the image file of an argument, or those of a list or a pattern, with their names."""
    from keras_mrcnn.batch.inputs import files_of

    return [(Path(file.name), file.below) for file in files_of(argument)]


def _files(folder, out):
    """Lists the images below a folder with their names relative to it, without those of an earlier run in `out`."""
    from keras_mrcnn.base.image_files import IMAGE_SUFFIXES

    inside = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    written = out.resolve()
    # If out is the folder itself, nothing tells the two apart, and `_free_place` refuses.
    # Of a link its own place counts: annotations in `out` have links to the images.
    places = [(path, Path(os.path.realpath(path.parent), path.name)) for path in inside]
    own = [path for path, place in places if written == folder.resolve() or written not in place.parents]
    if not own:
        raise click.UsageError(f"{folder}: has no images ({', '.join(IMAGE_SUFFIXES)})")
    return [(path, path.relative_to(folder).as_posix()) for path in own]


def _free_place(path, taken, inputs):
    """Returns a path for a drawn picture that no other picture has, and never that of an input image."""
    if path.suffix.lower() not in DRAWN_SUFFIXES:
        path = path.with_name(f"{path.name}.png")
    if Path(os.path.abspath(path)) in inputs:
        raise click.UsageError(f"{path} is one of the images and would be drawn over; choose another --out")
    free, number = path, 1
    while Path(os.path.abspath(free)) in taken:
        number += 1
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return free


def _image_ids(annotations):
    """Maps each file name of an annotation file to (file name, id), and its last part too where that is unique."""
    from keras_mrcnn.data.coco import load_annotations

    images = load_annotations(annotations)["images"]
    records = {image["file_name"]: (image["file_name"], image["id"]) for image in images}
    counts = Counter(Path(name).name for name in records)
    short = {Path(name).name: record for name, record in records.items() if counts[Path(name).name] == 1}
    return {**short, **records}


def _record(ids, name, annotations):
    """Returns the file name and the id of an image in an annotation file."""
    if name not in ids and Path(name).name not in ids:
        raise UserError(f"{annotations}: has no image with the file name {name}; leave the image or --annotations out")
    return ids.get(name) or ids[Path(name).name]


def _image_list(jobs, sizes, config):
    """Returns the images as a COCO file without annotations, which pycocotools reads together with the results."""
    images = [
        {"id": job.image_id, "file_name": job.file_name, **dict(zip(("height", "width"), sizes[job.image_id]))}
        for job in jobs
    ]
    category_ids = config.category_ids
    categories = [{"id": number, "name": name} for number, name in zip(category_ids, config.class_names)]
    return {"images": images, "annotations": [], "categories": categories}


def _draw(job, image, detections, min_score, class_names):
    from PIL import Image

    from keras_mrcnn.visualize import draw_detections

    picture = draw_detections(image, detections, min_score, class_names=class_names)
    job.picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(job.picture, **({} if job.picture.suffix.lower() == ".png" else {"quality": 92}))
