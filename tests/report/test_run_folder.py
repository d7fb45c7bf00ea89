import numpy as np
import pytest
from report.made_runs import LOSSES, make_config, make_run, write_losses

from keras_mrcnn.report import read_run


def test_a_run(tmp_path):
    run = read_run(make_run(tmp_path / "first", metrics={"rpn": {"accuracy": 0.5}}))
    assert run.name == "first" and run.weights is None
    assert run.config == make_config() and run.metrics == {"rpn": {"accuracy": 0.5}}
    assert list(run.losses) == ["rpn", "box", "mask"]
    for stage, values in LOSSES.items():
        assert run.losses[stage].epochs.tolist() == list(range(1, len(values["loss"]) + 1))
        assert run.losses[stage].values.keys() == values.keys()
        for name, expected in values.items():
            np.testing.assert_allclose(run.losses[stage].values[name], expected, rtol=1e-6)


def test_an_epoch_counts_as_it_was_the_last_time(tmp_path):
    run = make_run(tmp_path / "resumed", losses={"box": {"loss": [3.0, 2.0]}})
    write_losses(run / "logs" / "box" / "train", {"loss": [1.5, 1.0]}, first=1)
    found = read_run(run).losses["box"]
    assert found.epochs.tolist() == [1, 2, 3]
    np.testing.assert_allclose(found.values["loss"], [3.0, 1.5, 1.0])


def test_a_run_before_its_first_epoch(tmp_path):
    run = read_run(make_run(tmp_path, losses={}))
    assert run.losses == run.metrics == {} and run.weights is None


def test_a_file_without_losses(tmp_path):
    make_run(tmp_path, losses={"rpn": {}})
    assert read_run(tmp_path).losses == {}


def test_cut_off_logs_give_the_epochs_so_far(tmp_path):
    make_run(tmp_path, losses={"mask": {"loss": [3.0, 2.0]}})
    (path,) = (tmp_path / "logs" / "mask" / "train").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"epoch_loss") + 5])
    np.testing.assert_allclose(read_run(tmp_path).losses["mask"].values["loss"], [3.0])


def test_finished(tmp_path):
    make_run(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert read_run(tmp_path).weights == tmp_path / "model.safetensors"


def test_not_a_run(tmp_path):
    with pytest.raises(ValueError, match="has no config.yaml, so it is not the folder of a run"):
        read_run(tmp_path)


def test_damaged_files_are_named(tmp_path):
    make_run(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="metrics.json is not JSON"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("model: 3")
    with pytest.raises(ValueError, match="config.yaml: model"):
        read_run(tmp_path)
