import pytest

from keras_mrcnn.data.formats.folders import (
    PictureFolder,
    choose_folder,
    inside_name,
    last_parts,
    usual_folders,
)


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return PictureFolder(folder)


@pytest.mark.parametrize(
    ("name", "inside", "last"),
    [
        ("a.jpg", "a.jpg", "a.jpg"),
        ("./sub//a.jpg", "sub/a.jpg", "sub/a.jpg"),
        ("sub\\a.jpg", "sub/a.jpg", "sub/a.jpg"),
        ("sub/../a.jpg", "a.jpg", "a.jpg"),
        ("/etc/a.jpg", "etc/a.jpg", "etc/a.jpg"),
        ("C:\\b\\a.jpg", "b/a.jpg", "b/a.jpg"),
        ("../a.jpg", "", "a.jpg"),
        ("sub/../../b/a.jpg", "", "sub/b/a.jpg"),
        ("..\\..\\a.jpg", "", "a.jpg"),
        ("..", "", ""),
        (".", "", ""),
        ("", "", ""),
    ],
)
def test_names_that_lead_nowhere_else(name, inside, last):
    assert inside_name(name) == inside
    assert last_parts(name) == last


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sub/a b.jpg", "sub/a b.jpg"),
        ("sub\\a b.jpg", "sub/a b.jpg"),
        ("sub/a%20b.jpg", "sub/a b.jpg"),
        ("/home/anna/sub/a b.jpg", "sub/a b.jpg"),
        ("C:\\data\\sub\\a b.jpg", "sub/a b.jpg"),
        ("../../sub/a b.jpg", "sub/a b.jpg"),
        ("https://host.org/data/sub/a%20b.jpg?token=1", "sub/a b.jpg"),
        ("/data/local-files/?d=things/sub/a%20b.jpg", "sub/a b.jpg"),
        ("..\\..\\label-studio\\media\\upload\\4\\0f34ab12-c.jpg", "c.jpg"),
        ("images/1/c.jpg", "c.jpg"),
        ("100%25.jpg", "100%25.jpg"),  # as it is called
        ("a b.jpg", None),  # never without asking in a subfolder
        ("../outside.jpg", None),
        ("a.json", None),
        ("http://[", None),
        ("\0", None),
        ("\ud800.jpg", None),
        ("x" * 5000, None),
        ("", None),
    ],
)
def test_pictures_are_found_below_the_folder_only(tmp_path, name, found):
    files(tmp_path, "outside.jpg")
    folder = files(tmp_path / "in", "sub/a b.jpg", "c.jpg", "100%25.jpg", "100%.jpg", "a.json")
    assert folder.find([name]) == found


def test_first_names_come_first(tmp_path):
    folder = files(tmp_path, "a.jpg", "b.jpg")
    assert folder.find(["none.jpg", "b.jpg", "a.jpg"]) == "b.jpg"
    assert folder.find(["else/b.jpg", "a.jpg"]) == "b.jpg"
    assert folder.find([]) is None


def test_folder_with_most_pictures(tmp_path):
    files(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg", "three/sub/a.jpg", "three/sub/b.jpg")
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    names = [["sub/a.jpg"], ["sub/b.jpg"]]
    assert choose_folder([one, two, three], names).path == three  # two has them too, but not under their own names
    assert choose_folder([one, two], names).path == two
    assert choose_folder([two, one], [["a.jpg"]]).path == two
    assert choose_folder([tmp_path / "none", one, two], [["c.jpg"]]).path == one
    assert choose_folder([tmp_path / "none"], []).path == tmp_path / "none"


def test_usual_folders(tmp_path):
    folder = tmp_path / "data" / "labels"
    usual = usual_folders(folder)
    assert usual[0] == folder
    assert {folder / "images", tmp_path / "data" / "images" / "labels", tmp_path / "data" / "images"} <= set(usual)
