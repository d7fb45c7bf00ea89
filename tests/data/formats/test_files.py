import pytest

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.files import (
    DEEPEST,
    check,
    is_label,
    is_text,
    number,
    one_line,
    or_none,
    read_csv,
    read_json,
    read_text,
    read_xml,
    read_yaml,
    whole_number,
)


def saved(tmp_path, content, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml, read_csv, read_xml])
def test_files_that_cannot_be_read(tmp_path, read):
    with pytest.raises(UserError, match=r"a\.txt does not exist; check the path$"):
        read(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); check the path and its permissions$"):
        read(tmp_path)


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml, read_csv])
def test_text_that_is_not_utf_8(tmp_path, read):
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8 text; save it in UTF-8$"):
        read(saved(tmp_path, "ä".encode("latin-1")))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read(saved(tmp_path, "{}".encode("utf-16")))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    mark = b"\xef\xbb\xbf"
    assert read_text(saved(tmp_path, mark + b"a")) == "a"
    assert read_json(saved(tmp_path, mark + b"[1]")) == [1]
    assert read_yaml(saved(tmp_path, mark + b"a: 1")) == {"a": 1}
    assert read_csv(saved(tmp_path, mark + b"a,b\n1,2\n")) == [{"a": "1", "b": "2"}]
    assert read_xml(saved(tmp_path, mark + b"<a/>")).tag == "a"


@pytest.mark.parametrize("text", ["", "{", "[1", "{'a': 1}", "[" * 100_000, "9" * 10_000])
def test_text_that_is_not_json(tmp_path, text):
    with pytest.raises(UserError, match=r"^.*a\.txt is not valid JSON \(.+\); export it again$"):
        read_json(saved(tmp_path, text))


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.getcwd []", "a: *b", "[" * 5000, "9" * 10_000])
def test_text_that_is_not_yaml(tmp_path, text):
    with pytest.raises(UserError, match=r"^.*a\.txt is not valid YAML \(.+\); correct it$") as error:
        read_yaml(saved(tmp_path, text))
    assert "\n" not in str(error.value)


def test_csv(tmp_path):
    assert read_csv(saved(tmp_path, "")) == []
    assert read_csv(saved(tmp_path, 'a,b\n"x ""y"" z"\n')) == [{"a": 'x "y" z', "b": ""}]
    long = "1" * 200_000  # longer than a cell that Python reads unasked
    assert read_csv(saved(tmp_path, f"a\n{long}\n"))[0]["a"] == long
    with pytest.raises(UserError, match=r"a\.txt is not valid CSV \(.+\); export it again$"):
        read_csv(saved(tmp_path, 'a\n"x'))


def test_xml(tmp_path):
    root = read_xml(saved(tmp_path, b'<?xml version="1.0" encoding="utf-8"?><a b="1"><c>x &amp; y</c><c/></a>'))
    assert (root.tag, root.get("b"), [child.text for child in root]) == ("a", "1", ["x & y", None])
    assert (
        read_xml(saved(tmp_path, '<?xml version="1.0" encoding="latin-1"?><a>\xe4</a>'.encode("latin-1"))).text == "ä"
    )


@pytest.mark.parametrize("content", [b"", b"a", b"<a>", b"<a></b>", b"<a>&b;</a>", b"<a>\xff</a>", b"<a/><b/>"])
def test_text_that_is_not_xml(tmp_path, content):
    with pytest.raises(UserError, match=r"a\.txt is not valid XML \(.+\); export it again$"):
        read_xml(saved(tmp_path, content))


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "b">',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(tmp_path, declaration, encoding):
    content = f'<?xml version="1.0" encoding="{encoding}"?>{declaration}<a>&b;</a>'.encode(encoding)
    with pytest.raises(
        UserError, match=r"a\.txt declares a document type \(DOCTYPE\), which is not read; take it out$"
    ):
        read_xml(saved(tmp_path, content))


def test_deep_xml_is_refused(tmp_path):
    assert read_xml(saved(tmp_path, "<a>" * DEEPEST + "</a>" * DEEPEST)).tag == "a"
    with pytest.raises(UserError, match="has more than 64 elements within one another"):
        read_xml(saved(tmp_path, "<a>" * 100_000))


def test_checked_records():
    fields, options = {"label": is_label}, {"group": or_none(is_text)}
    for record in ({"label": "cat"}, {"label": "cat", "group": None, "other": []}, {"label": "Käse 2", "group": "a"}):
        assert check(record, "a.json", fields, options) is record
    for record, fault in (
        ([], "is not an object with fields"),
        ({}, "lacks the field 'label'"),
        ({"label": 3}, "has the bad value 3 in the field 'label'"),
        ({"label": " "}, "has the bad value in the field 'label'"),
        ({"label": "a\nb"}, "has the bad value a b in the field 'label'"),
        ({"label": "\ud800"}, "has the bad value in the field 'label'"),
        ({"label": "cat", "group": 2}, "has the bad value 2 in the field 'group'"),
    ):
        with pytest.raises(UserError) as error:
            check(record, "a.json, shape 1", fields, options)
        assert str(error.value) == f"a.json, shape 1 {fault}; correct it, or export it again"


def test_numbers():
    assert number(" 12.5", "x") == 12.5
    assert whole_number("-3.0", "x") == -3
    for text in ("", None, "x", "nan", "inf", "1e999", "1_000", "1e17"):
        with pytest.raises(UserError, match=r"^a\.xml, x is .*, not a number; correct it, or export it again$"):
            number(text, "a.xml, x")
    with pytest.raises(UserError, match=r"^x is '2\.5', not a whole number; correct it, or export it again$"):
        whole_number("2.5", "x")


def test_text_on_one_line():
    assert one_line("a\n\tb\x1b[31m  c") == "a b [31m c"
    assert len(one_line("x" * 1000)) == 200
