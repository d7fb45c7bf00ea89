"""Which strategy is chosen, what TF_CONFIG must look like, and what `Workers` does where there is only one."""

import json

import pytest
import tensorflow as tf

from keras_mrcnn.data.sharing import WHOLE, Share
from keras_mrcnn.training import distribution
from keras_mrcnn.training.distribution import WorkerLostError, Workers, choose_strategy

CLUSTER = {"worker": ["host0:2222", "host1:2222"]}


class MadeUpStrategy:
    """Stands for a MultiWorkerMirroredStrategy of a cluster, with two devices in each process."""

    def __init__(self, cluster, task):
        self.cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
        )
        self.num_replicas_in_sync = 2 * sum(map(len, cluster.values()))


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs there are."""
    return lambda count: monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU"] * count)


def choose(monkeypatch, settings):
    """The name of the strategy for a TF_CONFIG."""
    text = settings if isinstance(settings, str) else json.dumps(settings)
    monkeypatch.setenv("TF_CONFIG", text)
    for name in ("MirroredStrategy", "MultiWorkerMirroredStrategy"):
        monkeypatch.setattr(tf.distribute, name, lambda name=name: name)
    return choose_strategy()


@pytest.mark.parametrize("settings", ["", {}, {"cluster": {}}, {"cluster": {"worker": ["here:1"]}, "task": {}}])
def test_one_worker_takes_the_devices_that_there_are(monkeypatch, gpus, settings):
    gpus(1)
    assert choose(monkeypatch, settings) is tf.distribute.get_strategy()
    gpus(2)
    assert choose(monkeypatch, settings) == "MirroredStrategy"


@pytest.mark.parametrize("index", [1, "1"])
def test_several_workers_train_together(monkeypatch, gpus, index):
    gpus(2)
    settings = {"cluster": CLUSTER, "task": {"type": "worker", "index": index}}
    assert choose(monkeypatch, settings) == "MultiWorkerMirroredStrategy"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": "first"}}, "cannot be read"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}, "worker 2, but names worker 0, worker 1"),
        ({"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}}, "this is evaluator 0"),
        ({"cluster": CLUSTER}, "this is None -1"),
    ],
)
def test_unusable_tf_config_is_explained(monkeypatch, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        choose(monkeypatch, settings)
    assert "it should look like {" in str(caught.value) and "\n" not in str(caught.value)


def test_workers_count_in_the_order_of_tensorflow():
    cluster = {"worker": ["a:1", "b:1"], "chief": ["c:1"]}
    found = [Workers(MadeUpStrategy(cluster, task)) for task in (("chief", 0), ("worker", 0), ("worker", 1))]
    assert [(workers.index, workers.count, workers.is_chief) for workers in found] == [
        (0, 3, True), (1, 3, False), (2, 3, False),
    ]  # fmt: skip
    assert found[2].share == Share(index=2, count=3, devices=2)


def test_first_of_workers_without_a_chief_is_it():
    assert [Workers(MadeUpStrategy(CLUSTER, ("worker", index))).is_chief for index in range(2)] == [True, False]


def test_one_process_needs_nobody(tmp_path):
    workers = Workers(tf.distribute.get_strategy())
    assert (workers.index, workers.count, workers.is_chief, workers.share) == (0, 1, True, WHOLE)
    assert workers.exchange({"mine": 1}) == [{"mine": 1}]
    workers.check_agreement({"seed": 1})
    assert workers.distribute(lambda share: share) == WHOLE


def test_folder_that_is_not_shared_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(distribution, "FOLDER_WAIT_SECONDS", 0.2)
    workers, file = Workers(tf.distribute.get_strategy()), tmp_path / "config.yaml"
    with pytest.raises(FileNotFoundError, match=r"config.yaml: worker 0 has written it, but .* that all workers share"):
        workers.check_folder(file)
    file.touch()
    workers.check_folder(file)


def test_worker_that_differs_is_refused(monkeypatch):
    workers = Workers(MadeUpStrategy(CLUSTER, ("worker", 1)))
    monkeypatch.setattr(workers, "exchange", lambda facts: [{"model": 1, "train": 2}, facts])
    workers.check_agreement({"model": 1, "train": 2})
    with pytest.raises(ValueError, match="worker 1 has other settings than worker 0, in train; start all workers with"):
        workers.check_agreement({"model": 1, "train": 3})


@pytest.mark.parametrize("kind", distribution.LOST)
def test_lost_worker_is_named_in_one_sentence(tmp_path, kind):
    workers, checkpoint = Workers(MadeUpStrategy(CLUSTER, ("worker", 1))), tmp_path / "checkpoint.safetensors"
    for how in ("to begin again", "with --resume to go on from the last checkpoint"):
        message = f"worker 1 of 2 has lost another worker.*{how}$"
        with pytest.raises(WorkerLostError, match=message), workers.watched(checkpoint):
            raise kind(None, None, "Collective ops is aborted by: ...")
        checkpoint.touch()


def test_other_errors_stay_what_they_are(tmp_path):
    alone, together = Workers(tf.distribute.get_strategy()), Workers(MadeUpStrategy(CLUSTER, ("worker", 1)))
    for workers, kind in ((alone, tf.errors.UnavailableError), (together, tf.errors.InvalidArgumentError)):
        with pytest.raises(kind), workers.watched(tmp_path / "checkpoint.safetensors"):
            raise kind(None, None, "a fault")
