"""Data is prepared once, whatever comes in between: other data, kills, several processes."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from child_programs import child_environment
from PIL import Image
from prepared_folders import files, one_sentence, source, times

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data import prepare, prepared, shard_writing
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.formats import read_annotations
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset

PROGRAM = Path(__file__).with_name("preparing.py")
SHARD = 3  # images in a shard of `many`, which has ten of them
KILLS = [(1, 2), *(pytest.param(26, workers, marks=pytest.mark.long) for workers in (1, 2))]


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of three images."""
    monkeypatch.setattr(prepare, "SMALLEST_SHARD", SHARD)


def command(many, folder, workers):
    """A process that prepares `many`, and has begun; a context manager that waits for its end."""
    arguments = [sys.executable, PROGRAM, SHARD, source(many)[0], folder, "--workers", workers]
    process = subprocess.Popen(list(map(str, arguments)), env=child_environment(), stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"begins"
    return process


def as_read(many):
    """What the command hands to `prepare_dataset`: the content of the annotations, and the folder of the images."""
    annotations = read_annotations(source(many)[0])
    return annotations.content, annotations.image_folder


def test_nothing_is_done_again(tiny_coco, tmp_path, monkeypatch):
    prepare_dataset(*tiny_coco[:2], tmp_path / "out")
    before = times(tmp_path / "out")
    monkeypatch.setattr(prepare, "_write_shards", None)
    prepare_dataset(*tiny_coco[:2], tmp_path / "out")
    prepare_dataset(str(tiny_coco[0]), str(tiny_coco[1]), str(tmp_path / "out"))
    assert times(tmp_path / "out") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_do_not_depend_on_the_processes(many, tmp_path, small_shards, workers):
    steps = []
    options = {"workers": workers, "progress": lambda *step: steps.append(step)}
    data = prepare_dataset(*source(many), tmp_path / "out", **options)
    assert steps == [(done, 30) for done in range(0, 31, SHARD)]
    assert len(data.manifest["shards"]) == 10
    prepare_dataset(*source(many), tmp_path / "other", workers=1)
    assert files(tmp_path / "out") == files(tmp_path / "other")
    plain = CocoDataset(*source(many))
    for image_id in plain.image_ids:
        np.testing.assert_array_equal(data.load_image(image_id), plain.load_image(image_id))


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "workers"), KILLS)
def test_killed_at_any_moment_it_goes_on_where_it_was(many, tmp_path, small_shards, kills, workers):
    prepare_dataset(*as_read(many), tmp_path / "whole", workers=1)
    wanted = files(tmp_path / "whole")
    written = sorted(path.stat().st_mtime for path in (tmp_path / "whole" / "shards").glob("*.json"))
    time_of_a_shard = (written[-1] - written[0]) / (len(written) - 1)
    interrupted = 0
    for kill in range(kills):
        folder, moment = tmp_path / str(kill), (kill + 0.5) * (len(written) + 0.5) / kills
        with command(many, folder, workers) as process:
            while len(summaries(folder)) < int(moment):
                time.sleep(0.001)
            time.sleep(moment % 1 * time_of_a_shard)
            process.kill()
        interrupted += not (folder / "manifest.json").exists()
        prepare_dataset(*as_read(many), folder, workers=1)
        assert settled(folder, wanted) == wanted, f"killed after {moment} of {len(written)} shards"
    assert interrupted > kills / 3


def summaries(folder):
    return list((folder / "shards").glob("*.json"))


def settled(folder, wanted):
    """The files of a folder once those who wrote for a killed process have come to the end of their last shard."""
    for _ in range(300):
        if files(folder) == wanted:
            break
        time.sleep(0.1)
    return files(folder)


def test_what_is_there_is_not_written_again(many, tmp_path, small_shards, monkeypatch):
    whole = prepare_dataset(*source(many), tmp_path / "whole", workers=1)
    wanted = files(tmp_path / "whole")
    shards = sorted((tmp_path / "whole" / "shards").glob("*.tfrecord"))
    written = []
    monkeypatch.setattr(prepare, "write_shard", lambda job: written.append(job.path) or shard_writing.write_shard(job))
    # As a kill may leave it: no manifest, a shard without its summary, one that is not there, and unfinished files.
    (tmp_path / "whole" / "manifest.json").unlink()
    Path(f"{shards[2]}.json").unlink()
    shards[5].unlink()
    shards[7].write_bytes(shards[7].read_bytes()[:-1])
    for name in ("manifest.json", f"shards/{shards[1].name}", f"shards/{shards[1].name}.json", "preparing.json"):
        (tmp_path / "whole" / f"{name}.0123abcd.tmp").write_bytes(b"half")
    prepare_dataset(*source(many), tmp_path / "whole", workers=1)
    assert written == [str(shards[number]) for number in (2, 5, 7)]
    assert files(tmp_path / "whole") == wanted
    # With a manifest, too, what is missing is noticed.
    for name in (shards[3].name, f"{shards[3].name}.json"):
        (tmp_path / "whole" / "shards" / name).unlink()
    prepare_dataset(*source(many), tmp_path / "whole", workers=1)
    (tmp_path / "whole" / "index.safetensors").unlink()
    again = prepare_dataset(*source(many), tmp_path / "whole", workers=1)
    assert files(tmp_path / "whole") == wanted and again.key == whole.key
    assert written[3:] == [str(shards[3])]


def test_killed_before_anything_was_written(tiny_coco, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "preparing.json.0123abcd.tmp").write_bytes(b"{")
    prepare_dataset(*tiny_coco[:2], folder)
    assert not list(folder.rglob("*.tmp"))


def test_changed_image_is_noticed_and_replaced(tiny_coco, tmp_path):
    annotations, images, _ = tiny_coco
    before = prepare_dataset(annotations, images, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    pixels = np.full((40, 60, 3), 7, np.uint8)
    Image.fromarray(pixels).save(images / "image3.png")
    data = prepare_dataset(annotations, images, tmp_path / "out")
    np.testing.assert_array_equal(data.load_image(3), pixels)
    assert data.key != before.key
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 2  # nothing is left of the others
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_changed_annotation_and_setting_are_noticed_and_replaced(tiny_coco, tmp_path):
    annotations, images, content = tiny_coco
    prepare_dataset(annotations, images, tmp_path / "out")
    content["annotations"][0]["bbox"] = [11, 10, 19, 20]
    annotations.write_text(json.dumps(content))
    data = prepare_dataset(annotations, images, tmp_path / "out")
    assert data.ground_truth(3).boxes[0].tolist() == [11, 10, 30, 30]
    assert prepare_dataset(annotations, images, tmp_path / "out", mask_size=7).ground_truth(3).masks.shape == (2, 7, 7)
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 2


def test_data_of_other_images_is_not_replaced(tiny_coco, many, tmp_path):
    folder = tmp_path / "out"
    prepare_dataset(*tiny_coco[:2], folder)
    before = files(folder)
    with pytest.raises(UserError) as error:
        prepare_dataset(*source(many), folder)
    one_sentence(error, f"{folder} holds data prepared from the images in {tiny_coco[1]}, not ", source(many)[1])
    assert files(folder) == before


def test_interrupted_while_replacing(tiny_coco, tmp_path, monkeypatch):
    """What was prepared from other data is not taken for whole, nor are its shards for those of this data."""
    annotations, images, content = tiny_coco
    prepare_dataset(annotations, images, tmp_path / "out")
    del content["annotations"][0]
    annotations.write_text(json.dumps(content))

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(prepare, "_write_shards", interrupt)
        prepare_dataset(annotations, images, tmp_path / "out")
    with pytest.raises(UserError, match="has no manifest.json; make it with"):
        PreparedDataset(tmp_path / "out")
    assert prepare_dataset(annotations, images, tmp_path / "out").index["num_objects"].tolist() == [1, 1, 1, 0]


def test_process_that_is_late_spoils_nothing(tiny_coco, tmp_path):
    """The shard of a killed command whose writer lives on while the annotations change."""
    annotations, images, content = tiny_coco
    late = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prepare, "write_shard", late.append)
        with pytest.raises(UserError):
            prepare_dataset(annotations, images, tmp_path / "out")
    del content["annotations"][0]
    annotations.write_text(json.dumps(content))
    prepare_dataset(annotations, images, tmp_path / "out")
    shard_writing.write_shard(late[0])
    data = prepare_dataset(annotations, images, tmp_path / "out")
    data.check()
    assert data.index["num_objects"].tolist() == [1, 1, 1, 0]


def test_data_of_another_version_is_replaced(tiny_coco, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        for module in (prepare, prepared):
            patched.setattr(module, "VERSION", 0)
        prepare_dataset(*tiny_coco[:2], tmp_path / "out")
    with pytest.raises(UserError, match="has version 0, not 1"):
        PreparedDataset(tmp_path / "out")
    assert prepare_dataset(*tiny_coco[:2], tmp_path / "out").manifest["version"] == 1


def test_damaged_manifest_is_written_anew(tiny_coco, tmp_path):
    prepare_dataset(*tiny_coco[:2], tmp_path / "out")
    wanted = files(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(b"{")
    prepare_dataset(*tiny_coco[:2], tmp_path / "out")
    assert files(tmp_path / "out") == wanted


def test_two_processes_at_once(many, tmp_path, small_shards):
    with command(many, tmp_path / "out", 1) as one, command(many, tmp_path / "out", 1) as other:
        assert (one.wait(600), other.wait(600)) == (0, 0)
    prepare_dataset(*as_read(many), tmp_path / "alone", workers=1)
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_two_calls_at_once(many, tmp_path, small_shards):
    """As workers do that have begun at the same moment, in threads of one process, again and again."""
    wanted = files(Path(prepare_dataset(*source(many), tmp_path / "alone", workers=1).folder))
    for attempt in range(5):
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(prepare_dataset, *source(many), tmp_path / str(attempt), workers=1) for _ in range(3)]
        assert {len(call.result()) for call in calls} == {30}
        assert files(tmp_path / str(attempt)) == wanted


def test_writer_that_dies_is_one_sentence(many, tmp_path, small_shards, monkeypatch):
    (tmp_path / "dies.py").write_text("import sys; sys.stdin.buffer.read(1); sys.exit(9)")
    popen, program = subprocess.Popen, [sys.executable, str(tmp_path / "dies.py")]
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: popen(program, **options))
    with pytest.raises(UserError) as error:
        prepare_dataset(*source(many), tmp_path / "out", workers=2)
    one_sentence(error, "the process that wrote", ".tfrecord ended with status 9; try again")


def test_error_in_a_writer_comes_through(many, tmp_path, small_shards, monkeypatch):
    jobs = prepare._jobs
    monkeypatch.setattr(
        prepare, "_jobs", lambda *args: [job._replace(path=str(tmp_path / "none" / "0")) for job in jobs(*args)]
    )
    with pytest.raises(UserError) as error:
        prepare_dataset(*source(many), tmp_path / "out", workers=2)
    one_sentence(error, f"{tmp_path / 'out'} cannot be written (")
