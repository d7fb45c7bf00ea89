import numpy as np
import pytest
from conftest import tiny_content
from report.made_runs import make_config, make_dataset, numbers, texts

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.report import data_section, data_statistics

MODEL = make_config().model


@pytest.fixture
def statistics():
    other = CocoDataset({**tiny_content(), "annotations": tiny_content()["annotations"][:2]}, "images", ["dog"])
    return {"train": data_statistics(make_dataset(), MODEL), "val": data_statistics(other, MODEL)}


def test_split_table(statistics):
    table = data_section.split_table(statistics)
    assert [column.title for column in table.columns][:5] == [
        "data", "images", "without objects", "objects", "crowds",
    ]  # fmt: skip
    assert table.rows == [
        ["training", 4, 1, 4, 1, 1.0, 2, "48 to 60", "40 to 64"],
        ["validation", 4, 3, 1, 0, 0.25, 1, "48 to 60", "40 to 64"],
    ]


def test_class_table_of_splits_with_other_classes(statistics):
    table = data_section.class_table(statistics)
    assert texts(table) == ["kite", "dog"] and len(table.columns) == 7
    kite, dog = (numbers(row) for row in table.rows)
    np.testing.assert_allclose(kite[:2] + kite[3:5], [2, 2, 0, 0])
    assert kite[5] is None
    np.testing.assert_allclose(dog, [2, 2, 32, 1, 1, 32])
    np.testing.assert_allclose(numbers(table.total)[:2], [4, 3])


def test_charts(statistics):
    sizes, counts, sides = data_section.data_charts(statistics, MODEL)
    assert len(sizes.dots) == 6  # three sizes in either split
    assert len(counts.paths) == len(sides.paths) == 2
    assert counts.legend == [("training", 0), ("validation", 1)]


def test_many_sizes_are_drawn_on_a_grid():
    sizes = np.random.default_rng(0).integers(1, 1000, (500, 2))
    coarse = data_section._coarse(sizes, 1000)
    assert np.abs(coarse - sizes).max() <= 1000 / data_section.MOST_PLACES / 2 + 1e-6
    assert (data_section._coarse(sizes[:20], 1000) == sizes[:20]).all()


@pytest.mark.parametrize(("sides", "ends"), [([], (16, 512)), ([1, 10], (1, 16)), ([32], (32, 64)), ([9], (8, 16))])
def test_edges_of_sides_hold_all(sides, ends):
    edges = data_section._side_edges(np.array(sides, float))
    assert (edges[0], edges[-1]) == ends
    np.testing.assert_allclose(edges[1:] / edges[:-1], np.sqrt(2))


def test_anchor_tables(statistics):
    by_class, by_size = data_section.anchor_tables(statistics["train"], MODEL)
    ious = statistics["train"].anchor_ious
    assert texts(by_class) == ["kite", "dog"] and len(by_size.rows) == 3
    expected = [4, ious.mean(), np.quantile(ious, 0.1), (ious >= 0.7).mean(), (ious < 0.3).mean()]
    np.testing.assert_allclose(by_class.total[1:], expected)
    np.testing.assert_allclose(by_size.rows[0][1:], expected)  # all of them are small
    assert by_size.rows[2][1:] == [0, None, None, None, None]
    assert data_section.anchor_chart(statistics["train"], MODEL).guides[0][1] == "negative"


def test_nothing_in_the_data():
    empty = {"train": data_statistics(CocoDataset({**tiny_content(), "annotations": [], "images": []}, "."), MODEL)}
    assert data_section.split_table(empty).rows == [["training", 0, 0, 0, 0, None, 0, "–", "–"]]
    assert len(data_section.data_charts(empty, MODEL)) == 3
