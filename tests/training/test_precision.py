"""The choice of the number format."""

import pytest

from keras_mrcnn.training import precision


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_named_format_is_kept(name):
    assert precision.resolve_precision(name) == name


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("flags : avx512f avx512_bf16 fma", "mixed_bfloat16"),
        ("flags : amx_bf16", "mixed_bfloat16"),
        ("flags : avx512f fma", "float32"),
        ("flags : not_avx512_bf16_at_all", "float32"),
    ],
)
def test_auto_asks_the_processor(tmp_path, monkeypatch, facts, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(facts, encoding="utf-8")
    monkeypatch.setattr(precision, "CPU_INFO", path)
    assert precision.resolve_precision("auto") == expected


def test_auto_is_float32_where_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "missing")
    assert precision.resolve_precision("auto") == "float32"
