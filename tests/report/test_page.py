import os
import re
from html.parser import HTMLParser

import pytest
from conftest import tiny_content
from report.made_runs import make_dataset, make_evaluation, make_run
from report.pages import write_full_report

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.report import data_statistics, page, read_run, write_report

VOID = {"meta", "link", "img", "line", "path", "circle", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in their order, and collects attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_full_report(tmp_path_factory.mktemp("report")).read_text(encoding="utf-8")


def test_every_part_is_there(text):
    reader = Reader(text)
    ids = [attrs["id"] for attrs in reader.all("section")]
    assert ids == list(page.SECTIONS)
    assert [attrs["href"] for attrs in reader.all("a")] == [f"#{name}" for name in ids]
    assert "missing" not in {name for _, attrs in reader.tags for name in attrs.get("class", "").split()}
    for name in ids:
        body = text.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert "<table" in body or "<pre" in body or "<svg" in body or "<img" in body, name
    assert len(reader.all("img")) == 9


def test_nothing_is_taken_from_elsewhere(text):
    assert not re.search(r"https?:", text)
    sources = [attrs.get("src") or attrs.get("href") for tag, attrs in Reader(text).tags if tag in ("img", "link")]
    assert all(source.startswith("data:") for source in sources)
    assert "@import" not in text and "url(" not in text and not re.search(r"<script[^>]+src", text)
    assert "default-src 'none'" in text


def test_what_a_screen_reader_needs(text):
    reader = Reader(text)
    assert reader.all("html") == [{"lang": "en"}]
    assert all(attrs["alt"] for attrs in reader.all("img"))
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for attrs in reader.all("svg"))
    assert text.count("<caption>") == text.count("<table")
    assert all(attrs["scope"] in ("row", "col") for attrs in reader.all("th"))


def test_values_are_shown_and_can_be_sorted(text):
    assert re.search(r'<th scope="row">kite</th>\s*<td class="number" data-value="2">2</td>\s*<td [^>]*>0.505', text)
    assert 'data-value="0.97" style="--share: 0.9700">0.970</td>' in text
    assert "quality 0.25: 2 detected, 0 missed, 0 wrong" in text
    assert "min_size: 64" in text


def test_names_cannot_break_the_page(tmp_path):
    run = read_run(make_run(tmp_path / "<b>run", losses={}))
    dataset = make_dataset()
    dataset.class_names = ("<script>alert(1)</script>", 'dog"')
    statistics = {"val": data_statistics(dataset, run.config.model)}
    text = write_report(run, tmp_path / "out.html", statistics=statistics).read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text and "&lt;b&gt;run" in text
    Reader(text)


def test_many_classes_are_folded_and_scrolled(tmp_path):
    content = tiny_content()
    content["categories"] += [{"id": number, "name": f"class {number}"} for number in range(100, 125)]
    content["annotations"] += [
        {**content["annotations"][1], "id": number, "category_id": number} for number in range(100, 125)
    ]
    evaluation = make_evaluation(CocoDataset(content, "images"))
    run = read_run(make_run(tmp_path / "run"))
    text = write_report(run, tmp_path / "report.html", statistics={}, evaluation=evaluation).read_text()
    Reader(text)
    assert "<summary>Each of the 27 classes</summary>" in text and 'class="scroll tall"' in text
    assert "<td>dog</td>" in text and 'class="confusion"' not in text  # a list, not a matrix


def test_a_run_with_nothing_yet(tmp_path):
    run = read_run(make_run(tmp_path / "run", losses={}))
    out = tmp_path / "new" / "folder" / "out.html"
    missing = {"training": "No epoch has ended yet.", "data": "There are none."}
    assert write_report(run, out, statistics={}, missing=missing) == out
    text = out.read_text()
    Reader(text)
    assert "Label errors" not in text and 'id="suspects"' not in text
    assert text.count("No epoch has ended yet.") == 2  # on top and in its place
    assert text.index("No epoch") < text.index("There are none.")  # in the order of the page
    assert [path.name for path in out.parent.iterdir()] == ["out.html"]


def test_scores_of_the_training_alone(tmp_path):
    scores = make_evaluation(make_dataset()).scores
    run = read_run(make_run(tmp_path, metrics={"box": scores["box"]}))
    text = write_report(run, tmp_path / "report.html", statistics={}).read_text()
    assert "As the training wrote them" in text and "box AP" in text and "mask AP" not in text


def test_an_old_report_stays_where_the_new_one_fails(tmp_path, monkeypatch):
    run = read_run(make_run(tmp_path / "run"))
    out = tmp_path / "report.html"
    out.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(run, out, statistics={})
    assert out.read_text() == "old" and sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "run"]
