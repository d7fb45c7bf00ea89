"""Trains on several devices and hosts: chooses the strategy, who writes, and who reads which part of the data.

One process, a worker, runs on each host. TensorFlow's environment variable TF_CONFIG lists all of them and says which
one this is. The first worker, the chief, writes everything and prints; all share one run folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.sharing import Share

TASKS = ("chief", "worker")
FOLDER_WAIT_SECONDS = 30  # a shared folder may show a new file late
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class WorkerLostError(UserError):
    """Another worker has ended too early; the message says how to continue."""


class Workers:
    """The processes that train together; this one is number `index` of `count`, number 0 is the chief.

    Args:
        strategy: `tf.distribute.Strategy` that all of them have made.

    Example:
        >>> workers = Workers(tf.distribute.get_strategy())
        >>> workers.is_chief, workers.count, workers.exchange("mine")
        (True, 1, ['mine'])
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.index, self.count = 0, 1
        resolver = strategy.cluster_resolver
        if resolver is not None and resolver.cluster_spec():
            tasks = _tasks(resolver.cluster_spec().as_dict())
            self.index, self.count = tasks.index((resolver.task_type, resolver.task_id)), len(tasks)

    @property
    def is_chief(self) -> bool:
        """Returns whether this process is the one that writes and prints."""
        return self.index == 0

    @property
    def share(self) -> Share:
        """Returns the `Share` of the data that this process reads."""
        return Share(self.index, self.count, self.strategy.num_replicas_in_sync // self.count)

    def distribute(self, make: Callable[..., tf.data.Dataset]) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns the data for `fit`.

        Args:
            make: function of a `share` that returns its tf.data.Dataset, in pieces for one device each.

        Returns:
            tf.data.Dataset or tf.distribute.DistributedDataset.
        """
        if self.strategy.num_replicas_in_sync == 1:
            return make(share=self.share)
        return self.strategy.distribute_datasets_from_function(lambda context: make(share=self.share))

    def exchange(self, content: Any) -> list:
        """Gathers one object from every worker; all must call it, and each waits for the others.

        Args:
            content: the object of this worker, which is pickled. (TensorFlow's own servers run any code that their
                peers send, so workers trust each other anyway.)

        Returns:
            list of the objects of all workers, in their order.
        """
        if self.count == 1:
            return [content]
        packed = pickle.dumps(content)
        # Every kind of collective takes 64-bit integers. The first one is the length in bytes.
        numbers = np.frombuffer(packed + bytes(-len(packed) % 8), np.int64)
        numbers = tf.constant(np.concatenate([[len(packed)], numbers]))
        devices = self.share.devices

        def on_device():
            # Only the first device of a worker contributes.
            context = tf.distribute.get_replica_context()
            first = tf.get_static_value(context.replica_id_in_sync_group) % devices == 0
            return context.all_gather(numbers if first else numbers[:0], axis=0)

        gathered = tf.function(lambda: self.strategy.run(on_device))()
        together = self.strategy.experimental_local_results(gathered)[0].numpy()
        contents = []
        while len(together):
            end = 1 + -(-together[0] // 8)
            contents.append(pickle.loads(together[1:end].tobytes()[: together[0]]))
            together = together[end:]
        return contents

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Runs a function in every worker; all must call this. If it raises `UserError` in one, all raise that."""
        result = problem = None
        try:
            result = work(*args)
        except UserError as error:
            problem = error
        problems = [error for error in self.exchange(problem) if error is not None]
        if problems:
            raise problems[0]
        return result

    def wait(self) -> None:
        """Waits until all workers have called it."""
        self.exchange(None)

    def check_agreement(self, settings: dict[str, Any]) -> None:
        """Checks that all workers were started with the same settings.

        Args:
            settings: dict of settings that must be the same everywhere.

        Raises:
            UserError: the chief has other settings.
        """
        chief = self.exchange(settings)[0]
        others = [name for name in settings if settings[name] != chief[name]]
        if others:
            raise UserError(
                f"worker {self.index} has other settings than worker 0, in {', '.join(others)}; start all workers with "
                "the same settings and the same run folder"
            )

    def check_folder(self, file: Path) -> None:
        """Checks that this worker sees a file that the chief has written. All workers must call it.

        Raises:
            FileNotFoundError: the file does not appear within `FOLDER_WAIT_SECONDS`.
        """
        self.wait()
        give_up = time.monotonic() + FOLDER_WAIT_SECONDS
        while not file.is_file():
            if time.monotonic() > give_up:
                raise FileNotFoundError(
                    f"{file}: worker 0 has written it, but worker {self.index} does not see it; the run folder must be "
                    "on a file system that all workers share"
                )
            time.sleep(0.1)

    @contextlib.contextmanager
    def watched(self, checkpoint: Path) -> Iterator[None]:
        """Turns the errors that TensorFlow raises when another worker is gone into one sentence.

        Args:
            checkpoint: file to continue from, if it exists.

        Raises:
            WorkerLostError: another worker is gone.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.count == 1 or not isinstance(error, LOST):
                raise
            how = "with --resume to go on from the last checkpoint" if checkpoint.is_file() else "to begin again"
            raise WorkerLostError(
                f"worker {self.index} of {self.count} has lost another worker, whose own output says why; start all "
                f"workers {how}"
            ) from error


def choose_strategy() -> tf.distribute.Strategy:
    """Chooses a strategy for this process.

    Returns:
        MultiWorkerMirroredStrategy if TF_CONFIG names several workers, MirroredStrategy if there are several GPUs, else
        TensorFlow's default, which uses one device.

    Raises:
        UserError: TF_CONFIG cannot be used.
        RuntimeError: TensorFlow has already computed something and can no longer join other workers.
    """
    if _names_workers(os.environ.get("TF_CONFIG") or "{}"):
        with _plain_signals():
            return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


@contextlib.contextmanager
def _plain_signals():
    """Lets Ctrl-C end the wait for other workers, which Python cannot interrupt, and SIGTERM the training after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, on_interrupt)
        signal.signal(signal.SIGTERM, on_termination)  # TensorFlow has replaced it to notify the other workers


def _names_workers(text):
    """Returns whether the text of a TF_CONFIG names more than one worker. Raises `UserError` if it cannot be used."""
    example = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        settings = json.loads(text)
        cluster = settings.get("cluster", {})
        if not all(isinstance(addresses, list) for addresses in cluster.values()):
            raise ValueError("each entry of cluster must be a list")
        tasks = _tasks(cluster)
        task = settings.get("task", {})
        own = (task.get("type"), int(task.get("index", -1)))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"TF_CONFIG cannot be read ({error}); it should look like {example}") from None
    if len(tasks) > 1 and own not in tasks:
        known = ", ".join(f"{name} {number}" for name, number in tasks)
        raise UserError(
            f"TF_CONFIG says that this is {own[0]} {own[1]}, but names {known}; it should look like {example}"
        )
    return len(tasks) > 1


def _tasks(cluster):
    """Lists the tasks that train, as (type, number) in TensorFlow's order: the chief, if any, then the workers."""
    return [(name, number) for name in TASKS for number in range(len(cluster.get(name, [])))]
