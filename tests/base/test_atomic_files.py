"""Files and folders under construction: whole under their name, or not there at all."""

import errno
import os
import stat
import subprocess
import sys
import threading

import pytest

from keras_mrcnn.base.atomic_files import atomic_write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_name_is_there_when_the_block_has_ended(tmp_path):
    path = tmp_path / "a.json"
    with atomic_write(str(path)) as temporary:
        assert temporary.parent == tmp_path and not temporary.exists()
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it" and names(tmp_path) == ["a.json"]


def test_temporary_names_are_hidden_and_say_whose_they_are(tmp_path):
    with atomic_write(tmp_path / "a.json") as one, atomic_write(tmp_path / "a.json") as other:
        assert one != other
        for temporary in (one, other):
            assert temporary.name.startswith(f".a.json.{os.getpid()}-") and temporary.suffix == ".tmp"
            temporary.touch()


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [[], ["a.json"]])
@pytest.mark.parametrize("write", [lambda path: path.write_text("half"), lambda path: path.mkdir(), lambda path: None])
def test_a_block_that_fails_changes_nothing(tmp_path, kind, before, write):
    for name in before:
        (tmp_path / name).write_text("old")
    with pytest.raises(kind, match="^why$"), atomic_write(tmp_path / "a.json") as temporary:
        write(temporary)
        raise kind("why")
    assert names(tmp_path) == before and all((tmp_path / name).read_text() == "old" for name in before)


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError, match="taken"), atomic_write(tmp_path / "taken") as temporary:
        temporary.write_text("all of it")
    assert names(tmp_path) == ["taken"]


def test_a_folder(tmp_path):
    with atomic_write(tmp_path / "1") as temporary:
        (temporary / "assets").mkdir(parents=True)
        (temporary / "assets" / "a.txt").write_text("all of it")
    assert names(tmp_path) == ["1"] and (tmp_path / "1" / "assets" / "a.txt").read_text() == "all of it"


def test_a_folder_that_has_something_in_it_is_not_replaced(tmp_path):
    (tmp_path / "1" / "old").mkdir(parents=True)
    with pytest.raises(OSError, match="1") as caught, atomic_write(tmp_path / "1") as temporary:
        (temporary / "new").mkdir(parents=True)
    assert caught.value.errno in (errno.ENOTEMPTY, errno.EEXIST)
    assert names(tmp_path) == ["1"] and names(tmp_path / "1") == ["old"]


@pytest.mark.parametrize("folder", ["gone", "file"])
def test_errors_name_the_file_that_was_asked_for(tmp_path, folder):
    (tmp_path / "file").touch()
    path, sentence = tmp_path / folder / "a.json", r"(No such file|Not a directory).*a\.json'$"
    with pytest.raises(OSError, match=sentence) as caught, atomic_write(path) as temporary:
        temporary.write_text("all of it")
    assert "tmp'" not in str(caught.value) and names(tmp_path) == ["file"]


def test_errors_about_other_files_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "a.json"):
        (tmp_path / "other").read_text()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "a.json") as temporary:
            temporary.write_text("all of it")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~mask


def test_what_a_killed_process_has_left_is_written_over_by_an_only_writer(tmp_path):
    (tmp_path / ".a.json.tmp").write_text("half of a longer file")
    with atomic_write(tmp_path / "a.json", only_writer=True) as temporary:
        assert temporary.name == ".a.json.tmp"
        temporary.write_text("whole")
    assert names(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_text() == "whole"


def test_threads_that_write_one_file_at_a_time(tmp_path):
    path, failed, together = tmp_path / "a.json", [], threading.Barrier(4)

    def write(text):
        try:
            together.wait(10)
            for _ in range(50):
                with atomic_write(path) as temporary:
                    temporary.write_text(text * 1000)
                assert path.read_text() in {letter * 1000 for letter in "abcd"}
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == [] and names(tmp_path) == ["a.json"]


def test_processes_that_write_one_file_at_a_time(tmp_path):
    path = tmp_path / "a.json"
    program = (
        "import sys; from keras_mrcnn.base.atomic_files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text(sys.argv[2] * 1000); print('written', flush=True); sys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", program, path, letter], **pipes) for letter in "ab"]
    assert [writer.stdout.readline() for writer in writers] == ["written\n"] * 2  # both are in the middle now
    assert len(names(tmp_path)) == 2 and not path.exists()
    for writer, letter in zip(writers, "ab"):
        writer.communicate("\n", timeout=60)
        assert writer.returncode == 0 and path.read_text() == letter * 1000
    assert names(tmp_path) == ["a.json"]
