"""Reads text, JSON, YAML, CSV and XML files of annotations; what is wrong with one is said in one sentence."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import yaml

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.records import field_fault, is_name, is_number

DEEPEST = 64  # elements within elements of an XML file; those of annotations are at most 8 deep
_AGAIN = "correct it, or export it again"


def read_text(path: Path) -> str:
    """Reads a UTF-8 text file, with or without a byte order mark.

    Raises:
        UserError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    except ValueError as error:
        raise UserError(f"{path} is not UTF-8 text; save it in UTF-8") from error


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: the file cannot be read, or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also an integer too long to parse, or nested too deep
        raise UserError(f"{path} is not valid JSON ({error}); export it again") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file of plain data.

    Raises:
        UserError: the file cannot be read, is not YAML, or asks for Python objects.
    """
    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML ({one_line(error)}); correct it") from error


def read_csv(path: Path) -> list[dict[str, str]]:
    """Reads a CSV file with a line of column names.

    Returns:
        A dict for each further line; a column that a line lacks is "".

    Raises:
        UserError: the file cannot be read, or is not CSV.
    """
    text = read_text(path)
    limit = csv.field_size_limit(len(text) + 1)  # a polygon of many points is longer than the limit that Python has
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is not valid CSV ({error}); export it again") from error
    finally:
        csv.field_size_limit(limit)


def read_xml(path: Path) -> ElementTree.Element:
    """Reads an XML file without a document type: entities could make it as large as they like, or read other files.

    Raises:
        UserError: the file cannot be read, is not XML, declares a document type, or is nested deeper than `DEEPEST`.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    reader = _XmlReader(path)
    try:
        return reader.read(content)
    except (expat.ExpatError, LookupError, UnicodeError) as error:
        raise UserError(f"{path} is not valid XML ({one_line(error)}); export it again") from error


class _XmlReader:
    """Builds the tree of one XML file."""

    def __init__(self, path: Path) -> None:
        self.path, self.depth = path, 0
        self.builder = ElementTree.TreeBuilder()

    def read(self, content: bytes) -> ElementTree.Element:
        """Returns the root element."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self.builder.data
        parser.StartDoctypeDeclHandler = self._refuse
        parser.Parse(content, True)
        return self.builder.close()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UserError(f"{self.path} has more than {DEEPEST} elements within one another; export it again")
        self.builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self.depth -= 1
        self.builder.end(tag)

    def _refuse(self, *declaration: Any) -> None:
        raise UserError(f"{self.path} declares a document type (DOCTYPE), which is not read; take it out")


def check(
    record: Any,
    where: str,
    fields: dict[str, Callable[[Any], bool]],
    options: dict[str, Callable[[Any], bool]] | None = None,
) -> dict:
    """Returns a record whose fields are good.

    Args:
        record: value of any type.
        where: name of the record in the error message, with its file.
        fields, options: for each required and each optional field, a function that returns whether a value is good.

    Raises:
        UserError: the record is not a dict, lacks a field, or has one with a bad value.

    Example:
        >>> check({"label": "cat"}, "a.json, shape 1", {"label": is_label})
        {'label': 'cat'}
    """
    fault = field_fault(record, fields, options)
    if fault:
        raise UserError(f"{where} {one_line(fault)}; {_AGAIN}")
    return record


def is_label(value: Any) -> bool:
    """Returns whether a value is a name for a class: text of more than blanks, without control characters in it."""
    text = value.strip() if is_name(value) else ""
    return bool(text) and not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def is_text(value: Any) -> bool:
    """Returns whether a value is text."""
    return isinstance(value, str)


def or_none(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Returns a function that also takes None for good."""
    return lambda value: value is None or is_good(value)


def number(text: str | None, where: str) -> float:
    """Converts text to a finite number.

    Args:
        text: such as "12.5".
        where: name of the number in the error message, with its file.

    Raises:
        UserError: the text is not a number, or one that is too large.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not is_number(value) or "_" in text:  # Python takes 1_000 for a number
        raise UserError(f"{where} is {repr(one_line(text)) if text else 'empty'}, not a number; {_AGAIN}")
    return value


def whole_number(text: str | None, where: str) -> int:
    """Converts text to an integer; raises UserError as `number` does."""
    value = number(text, where)
    if value != int(value):
        raise UserError(f"{where} is {one_line(text)!r}, not a whole number; {_AGAIN}")
    return int(value)


def one_line(text: Any) -> str:
    """Returns any text as one line of at most 200 characters that a terminal can print."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:200]


def counted(number: int, one: str, several: str) -> str:
    """Returns a number with the words that go with it.

    Example:
        >>> counted(1, "picture is", "pictures are"), counted(2, "picture is", "pictures are")
        ('1 picture is', '2 pictures are')
    """
    return f"{number} {one if number == 1 else several}"
