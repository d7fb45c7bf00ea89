"""Prepares a data set: checks every image and annotation once, and writes shards that training reads.

Several processes write the shards. A run that is killed goes on where it was: a shard depends on its images and
annotations alone, and is written again only if it is not whole. `prepared` describes the folder.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import tensorflow as tf

from keras_mrcnn.base import downloads
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.check import Checker, DataError, Problem, drop_bad
from keras_mrcnn.data.coco import DEFAULT_MASK_SIZE, load_annotations
from keras_mrcnn.data.prepared import (
    ANNOTATIONS,
    COLUMNS,
    FORMAT,
    INDEX,
    MANIFEST,
    SHARDS,
    VERSION,
    PreparedDataset,
    read_manifest,
)
from keras_mrcnn.data.shard_writing import SUMMARY_SUFFIX, ImageJob, ShardJob, write_shard
from keras_mrcnn.data.storage import join, read_bytes, write_bytes

SHARD_SUFFIX = ".tfrecord"
STATE = "preparing.json"  # what a folder is made from: key, folder of the images, and names of their files
TEMPORARY = "{}.*.tmp"  # names of the temporary files of a file
KEY_DIGITS = 8  # of the key, before the names of shards: a process that is late writes none of other data
# Images of a shard: few enough that shards of a small set keep several processes busy.
SMALLEST_SHARD, LARGEST_SHARD, SHARDS_OF_A_SET = 64, 1024, 64
Progress = Callable[[int, int], None]


def prepare_dataset(
    annotations: str | Path | dict,
    image_folder: str | Path,
    folder: str | Path,
    *,
    mask_size: int = DEFAULT_MASK_SIZE,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> PreparedDataset:
    """Checks a data set and writes it into a folder, ready for training.

    Args:
        annotations: COCO JSON file, or the content of one, such as `data.formats.read_annotations` returns.
        image_folder: folder that the file names in it are relative to.
        folder: path or URL of the folder to write. If it holds the same data, prepared by an earlier call, nothing is
            done; what a call that was interrupted has written is used; what was prepared from the same folder of
            images before something changed is replaced.
        mask_size: side of the compact masks, S.
        skip_bad: whether to leave out what the check finds, and count it, instead of raising an error.
        workers: processes that write shards; by default one for each core, as far as there are shards.
        progress: function to call after each shard with (images done, images in total).
        name: name of the annotations in messages; by default the path of the file.

    Returns:
        The prepared data.

    Raises:
        DataError: the check found problems and `skip_bad` is off; the message lists them.
        ValueError: the folder holds something else, or data of other images, or cannot be written.

    Example:
        >>> data = prepare_dataset("train.json", "images/train", "prepared/train")  # doctest: +SKIP
        >>> next(iter(training_dataset(data, batch_size=2, min_size=800, max_size=1333)))  # doctest: +SKIP
    """
    folder, image_folder = str(folder), Path(image_folder)
    digest = _digest(annotations)
    try:
        current = _current(folder, digest, image_folder, mask_size)
        if current and (skip_bad or not current["left_out"]):
            return PreparedDataset(folder)
        content = annotations if isinstance(annotations, dict) else load_annotations(annotations)
        name = name or ("the annotations" if content is annotations else str(annotations))
        checker = Checker(content, name, image_folder)
        problems = [*checker.categories(), *checker.image_records(), *checker.annotations(masks=False)]
        files = [record["file_name"] for record in checker.images.values()]
        key = _key(digest, image_folder, files, mask_size)
        jobs = _jobs(checker, problems, join(join(folder, SHARDS), key[:KEY_DIGITS]), mask_size)
        _begin(folder, key, image_folder, files)
        _write_shards(jobs, workers or os.cpu_count() or 1, progress)
        summaries = [json.loads(read_bytes(job.path + SUMMARY_SUFFIX)) for job in jobs]
        problems = _in_order([*problems, *_found(summaries), *checker.empty_lists()])
        if problems and not skip_bad:
            raise DataError(_sentence(checker.annotation_file, problems))
        cleaned, left_out = drop_bad(content, image_folder, problems) if problems else (content, {})
        _write_index(folder, jobs, summaries)
        write_bytes(join(folder, ANNOTATIONS), json.dumps(cleaned, default=_plain).encode())
        _write_manifest(folder, key, cleaned["categories"], mask_size, jobs, summaries, left_out)
        _remove_temporary_files(folder)
    except tf.errors.OpError as error:
        raise UserError(f"{folder} cannot be written ({error.message}); name another folder or make room") from None
    return PreparedDataset(folder)


def _sentence(name: str, problems: Sequence[Problem]) -> str:
    """Returns the message about problems, with a line for each."""
    lines = "\n".join(map(str, problems))
    return f"{name}: {len(problems)} problems; mend them, or leave them out with --skip-bad\n{lines}"


def _digest(annotations: str | Path | dict) -> str:
    """Returns a hash of annotations: of the bytes of the file, or of the content."""
    if isinstance(annotations, dict):
        return hashlib.sha256(json.dumps(annotations, sort_keys=True, default=_plain).encode()).hexdigest()
    try:
        return downloads.digest(annotations)
    except OSError:
        return ""  # `load_annotations` says what is wrong


def _plain(value: Any) -> Any:
    """Returns what JSON does not know as something that it knows: bytes, and numbers and arrays of NumPy."""
    return value.decode("latin-1") if isinstance(value, bytes) else np.asarray(value).tolist()


def _key(digest: str, image_folder: Path, files: Sequence[str], mask_size: int) -> str:
    """Returns a hash of everything that the shards depend on; an image file counts with its size and time."""
    start = str(image_folder.absolute())
    key = hashlib.sha256(json.dumps([VERSION, digest, start, mask_size]).encode())
    for file in files:  # without paths and JSON, which take three times as long: there may be millions
        try:
            status = os.stat(os.path.join(start, file))
            key.update(repr((file, status.st_size, status.st_mtime_ns)).encode())
        except (OSError, ValueError):  # it is missing, or no file can have the name; the check says so
            key.update(repr((file,)).encode())
    return key.hexdigest()


def _current(folder: str, digest: str, image_folder: Path, mask_size: int) -> dict[str, Any] | None:
    """Returns the manifest of a folder that holds this very data, prepared completely; otherwise None."""
    try:
        manifest, state = read_manifest(folder), _state(folder)
        sizes = [_size(join(join(folder, SHARDS), shard["file"])) for shard in manifest["shards"]]
    except UserError:  # not prepared, or by another version
        return None
    whole = sizes == [shard["bytes"] for shard in manifest["shards"]]
    whole = whole and all(tf.io.gfile.exists(join(folder, name)) for name in (INDEX, ANNOTATIONS))
    same = whole and state and manifest["key"] == _key(digest, image_folder, state["files"], mask_size)
    return manifest if same else None


def _size(path: str) -> int | None:
    """Returns the bytes of a file, or None if there is none."""
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError:
        return None


def _state(folder: str) -> dict[str, Any]:
    """Returns what a folder is made from, see `STATE`; an empty dict for a folder that is empty or not there.

    Raises:
        UserError: the folder holds something that no call of `prepare_dataset` has written.
    """
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    with contextlib.suppress(tf.errors.NotFoundError, ValueError):
        state = json.loads(read_bytes(join(folder, STATE)))
        if isinstance(state, dict) and {"key", "images", "files"} <= set(state):
            return state
    if len(names) > len(fnmatch.filter(names, TEMPORARY.format(STATE))):
        raise UserError(f"{folder} holds files that are not prepared data; name an empty folder, or one to make")
    return {}


def _begin(folder: str, key: str, image_folder: Path, files: list[str]) -> None:
    """Makes the folder, and removes what was prepared in it before the data changed.

    The state comes before everything else, so that a folder in which something was begun is known for what it is.

    Raises:
        UserError: the folder holds something that no call of `prepare_dataset` has written, or data of other images.
    """
    state, shards, images = _state(folder), join(folder, SHARDS), str(image_folder.absolute())
    if state and state["images"] != images:
        raise UserError(
            f"{folder} holds data prepared from the images in {state['images']}, not in {images}; name another "
            "folder, or delete this one"
        )
    tf.io.gfile.makedirs(folder)
    if state.get("key") != key:
        if state:
            for name in (MANIFEST, INDEX, ANNOTATIONS):  # without the manifest nobody takes the rest for whole
                _remove(folder, name)
            _remove(shards, f"*-of-*{SHARD_SUFFIX}*", but=f"{key[:KEY_DIGITS]}*")
        write_bytes(join(folder, STATE), json.dumps({"key": key, "images": images, "files": files}).encode())
    tf.io.gfile.makedirs(shards)


def _remove(folder: str, pattern: str, but: str = "") -> None:
    """Removes the files of a folder whose names match `pattern` and not `but`; others may be removing them, too."""
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    for name in set(fnmatch.filter(names, pattern)) - set(fnmatch.filter(names, but)):
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(join(folder, name))


def _remove_temporary_files(folder: str) -> None:
    """Removes what processes that were killed have left."""
    for name in (STATE, MANIFEST, INDEX, ANNOTATIONS):
        _remove(folder, TEMPORARY.format(name))
    _remove(join(folder, SHARDS), TEMPORARY.format(f"*{SHARD_SUFFIX}*"))


def _jobs(checker: Checker, problems: Sequence[Problem], start: str, mask_size: int) -> list[ShardJob]:
    """Divides the images among shards, in the order of their ids, with those annotations that have no problem yet.

    The paths of the shards begin with `start`.
    """
    bad = {problem.record for problem in problems}
    categories = [one for row, one in enumerate(checker.content["categories"]) if ("categories", row) not in bad]
    ids = sorted(category["id"] for category in categories)
    annotations: dict[int, list[tuple[int, dict]]] = {image_id: [] for image_id in checker.images}
    for row, annotation in enumerate(checker.content["annotations"]):
        # An image whose entry is malformed takes its annotations along.
        if ("annotations", row) not in bad and annotation["image_id"] in annotations:
            annotations[annotation["image_id"]].append((row, annotation))
    images = [
        ImageJob(checker.image_rows[image_id], checker.images[image_id], tuple(annotations[image_id]))
        for image_id in sorted(checker.images)
    ]
    size = min(max(-(-len(images) // SHARDS_OF_A_SET), SMALLEST_SHARD), LARGEST_SHARD)
    count = -(-len(images) // size)
    return [
        ShardJob(
            path=f"{start}-{number:05d}-of-{count:05d}{SHARD_SUFFIX}",
            images=tuple(images[number * size : (number + 1) * size]),
            image_folder=checker.image_folder,
            labels={category_id: label for label, category_id in enumerate(ids, start=1)},
            mask_size=mask_size,
        )
        for number in range(count)
    ]


def _write_shards(jobs: Sequence[ShardJob], workers: int, progress: Progress | None) -> None:
    """Writes the shards that are not whole, in this process or in several."""
    missing = [job for job in jobs if not _is_whole(job)]
    total = sum(len(job.images) for job in jobs)
    done = total - sum(len(job.images) for job in missing)
    workers = min(workers, len(missing))
    written = map(_write, missing) if workers <= 1 else _write_in_processes(missing, workers)
    if progress:
        progress(done, total)
    for job in written:
        done += len(job.images)
        if progress:
            progress(done, total)


def _is_whole(job: ShardJob) -> bool:
    """Returns whether a shard and its summary have been written."""
    try:
        return json.loads(read_bytes(job.path + SUMMARY_SUFFIX))["bytes"] == _size(job.path)
    except tf.errors.NotFoundError:
        return False


def _write(job: ShardJob) -> ShardJob:
    write_shard(job)
    return job


def _write_in_processes(jobs: Sequence[ShardJob], workers: int) -> Iterator[ShardJob]:
    """Writes shards in processes of their own, and gives the jobs as they end.

    The processes are programs and not copies of this one, so that scripts need no main guard, and TensorFlow's threads
    are not copied.
    """
    idle: queue.Queue[subprocess.Popen] = queue.Queue()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            idle.put(stack.enter_context(_writer()))

        def write(job: ShardJob) -> ShardJob:
            process = idle.get()
            try:
                _ask(process, job)
            finally:
                idle.put(process)
            return job

        futures = [pool.submit(write, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _writer() -> Iterator[subprocess.Popen]:
    """Runs a process that writes shards."""
    command = [sys.executable, "-m", write_shard.__module__]
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()
            with contextlib.suppress(OSError):  # what a process that died has not read
                process.stdin.close()


def _ask(process: subprocess.Popen, job: ShardJob) -> None:
    """Has a process write a shard; raises what it raises."""
    try:
        pickle.dump(job, process.stdin)
        process.stdin.flush()
        error = pickle.load(process.stdout)
    except (OSError, EOFError):
        status = process.wait()
        raise UserError(f"the process that wrote {job.path} ended with status {status}; try again") from None
    if error is not None:
        raise error


def _found(summaries: Sequence[dict]) -> Iterator[Problem]:
    """Gives the problems in the summaries of shards."""
    for summary in summaries:
        for problem in summary["problems"]:
            yield Problem(**{**problem, "record": tuple(problem["record"])})


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Returns problems in the order of `check_dataset`: categories, images, annotations, each by row; then the rest."""
    lists = {"categories": 0, "images": 1, "annotations": 2}
    return sorted(problems, key=lambda one: (lists[one.record[0]], one.record[1]) if one.record else (len(lists), 0))


def _write_index(folder: str, jobs: Sequence[ShardJob], summaries: Sequence[dict]) -> None:
    """Writes where the record of each image is."""
    own = set(COLUMNS) - {"shards"}
    columns = {name: [value for summary in summaries for value in summary[name]] for name in own}
    columns["shards"] = [number for number, summary in enumerate(summaries) for _ in summary["image_ids"]]
    arrays = {name: np.array(columns[name], dtype) for name, dtype in COLUMNS.items()}
    arrays["sizes"] = arrays["sizes"].reshape(-1, 2)
    write_bytes(join(folder, INDEX), safetensors.numpy.save(arrays))


def _write_manifest(
    folder: str,
    key: str,
    categories: Sequence[dict],
    mask_size: int,
    jobs: Sequence[ShardJob],
    summaries: Sequence[dict],
    left_out: dict[str, int],
) -> None:
    """Writes the manifest, with which the folder is whole."""
    shards = [
        {"file": job.path.rpartition("/")[2], **{name: summary[name] for name in ("bytes", "sha256")},
         "images": len(summary["image_ids"])}
        for job, summary in zip(jobs, summaries)
    ]  # fmt: skip
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "key": key,
        "images": sum(shard["images"] for shard in shards),
        "objects": sum(sum(summary["num_objects"]) for summary in summaries),
        "categories": sorted(({"id": one["id"], "name": one["name"]} for one in categories), key=lambda one: one["id"]),
        "mask_size": mask_size,
        "left_out": left_out,
        "shards": shards,
    }
    write_bytes(join(folder, MANIFEST), json.dumps(manifest, indent=2).encode())
