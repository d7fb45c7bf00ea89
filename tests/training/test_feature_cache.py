"""The cache gives the stages what the frozen part would give them, from files that are checked."""

import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from mixed_data import VIEW, mixed_data
from small_training import small_model

from keras_mrcnn.data.batching import BatchPlan, PlannedSample, draw_sample
from keras_mrcnn.data.pipeline import training_dataset
from keras_mrcnn.training import feature_cache
from keras_mrcnn.training.cache_files import CacheError, cache_reading_error, read_arrays
from keras_mrcnn.training.feature_cache import FeatureCache
from keras_mrcnn.training.frozen_features import compute_features_and_proposals, features_and_proposals
from keras_mrcnn.training.stages import BoxStage, MaskStage

SEED, BATCH = 5, 4
SHOWN = {**VIEW, "flip": 0.5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return mixed_data(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def models():
    return {neck: small_model(neck=neck, min_size=64, max_size=160) for neck in ("fpn", "c4")}


def make_cache(root, model, data, *, shown=SHOWN, epochs=2, dtype="float32"):
    return FeatureCache(root, "key", model, data, shown, seed=SEED, epochs=epochs, dtype=dtype)


@pytest.fixture(scope="module")
def plan(data):
    return BatchPlan(data.image_sizes, BATCH, SEED)


@pytest.fixture(scope="module")
def full(tmp_path_factory, models, data, plan):
    """Caches of both necks with all that the first two epochs show."""
    caches = {}
    for neck, model in models.items():
        caches[neck] = make_cache(tmp_path_factory.mktemp(neck), model, data)
        caches[neck].fill(caches[neck].needed(plan, 5 * BATCH), progress=False)
    return caches


@pytest.fixture
def copy(full, models, data, tmp_path):
    """A full cache of the C4 network, free to be damaged."""
    cache = make_cache(tmp_path, models["c4"], data)
    shutil.copytree(full["c4"].folder, cache.folder)
    return cache


def batches(cache, plan, count, **settings):
    return list(cache.dataset(plan, BATCH, **settings).take(count))


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_batches_are_those_of_the_images(full, models, data, plan, neck):
    """Images of several sizes in a batch, and batches of images of two epochs."""
    images = training_dataset(data, batch_size=BATCH, seed=SEED, **SHOWN)
    shown, sizes = set(), set()
    for number, (cached, batch) in enumerate(zip(batches(full[neck], plan, 3), images)):
        maps, proposals = compute_features_and_proposals(models[neck], batch["images"], batch["image_sizes"])
        cached_maps, cached_proposals = features_and_proposals(models[neck], cached)
        for ours, theirs in zip((*cached_maps, *cached_proposals), (*maps, *proposals)):
            assert ours.dtype == theirs.dtype
            # Sums of float32 round by the size of what is summed, boxes of 100 pixels by more than scores.
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(np.abs(theirs).max(), 1.0))
        for name in batch.keys() - {"images"}:
            np.testing.assert_array_equal(cached[name], batch[name], err_msg=name)
            assert cached[name].dtype == batch[name].dtype
        assert "images" not in cached
        shown.update(plan.sample(number * BATCH + place).epoch for place in range(BATCH))
        sizes.update(map(tuple, cached["image_sizes"].numpy().tolist()))
    assert shown == {0, 1} and len(sizes) > 3


def test_stream_can_start_anywhere_and_leave_out_the_masks(full, plan):
    whole = batches(full["fpn"], plan, 5)
    middle = batches(full["fpn"], plan, 2, start_batch=3)
    assert all(same(ours, theirs) for ours, theirs in zip(middle, whole[3:]))
    without = batches(full["fpn"], plan, 1, with_masks=False)[0]
    assert whole[0].keys() - without.keys() == {"gt_masks"}
    assert same(without, {name: value for name, value in whole[0].items() if name != "gt_masks"})


def test_later_epochs_show_the_cached_ones_again_with_seeds_of_their_own(full, plan):
    cache = full["fpn"]
    for number in (4, 9, 13):
        samples = [plan.sample(number * BATCH + place) for place in range(BATCH)]
        batch = batches(cache, plan, 1, start_batch=number)[0]
        expected = [draw_sample(SEED, sample).seeds for sample in samples]
        np.testing.assert_array_equal(batch["seeds"], expected)
        files = [cache.folder / f"{sample.index:07d}-{sample.epoch % 2}.safetensors" for sample in samples]
        assert [cache.path(sample) for sample in samples] == files
        for place, file in enumerate(files):
            np.testing.assert_array_equal(batch["proposals"][place], read_arrays(file, ("proposals",))[0])
    assert max(plan.sample(13 * BATCH + place).epoch for place in range(BATCH)) > 5


def test_views_of_an_image_differ(full, data):
    boxes = []
    for row in range(len(data)):
        files = [full["fpn"].path(PlannedSample(view, row)) for view in (0, 1)]
        if all(file.is_file() for file in files):
            boxes.append([read_arrays(file, ("gt_boxes",))[0] for file in files])
    assert len(boxes) > 3 and any(not np.array_equal(*epochs) for epochs in boxes)


def test_what_a_plan_needs(full, data, plan):
    assert full["fpn"].needed(plan, 0) == []
    assert full["fpn"].needed(plan, 1) == [plan.sample(0)]
    assert full["fpn"].needed(plan, 100) == [PlannedSample(view, row) for view in (0, 1) for row in range(len(data))]


@pytest.mark.parametrize(("dtype", "steps"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_short_floats_give_close_losses(full, models, data, plan, tmp_path, dtype, steps):
    model, exact = models["fpn"], full["fpn"]
    cache = make_cache(tmp_path, model, data, dtype=dtype)
    cache.fill(cache.needed(plan, BATCH), progress=False)
    short, whole = batches(cache, plan, 1)[0], batches(exact, plan, 1)[0]
    assert short["features_0"].dtype == tf.as_dtype(dtype)
    for level in range(4):
        ours, theirs = tf.cast(short[f"features_{level}"], tf.float32), whole[f"features_{level}"]
        assert np.all(np.abs(ours - theirs) <= steps * np.abs(theirs) + 1e-6)
    np.testing.assert_array_equal(short["proposals"], whole["proposals"])
    for make_stage in (BoxStage, MaskStage):
        stage = make_stage(model)
        stage.compile("sgd")
        first, second = (float(stage.compute_loss(x=batch, y_pred=stage(batch))) for batch in (short, whole))
        assert first == pytest.approx(second, rel=1e-2) and second > 0.1


def test_interrupted_fill_goes_on_where_it_was(models, data, plan, tmp_path, monkeypatch):
    cache, write, written = make_cache(tmp_path, models["c4"], data), feature_cache.write_arrays, []

    def interrupted(path, arrays):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, arrays)

    samples = cache.needed(plan, 2 * BATCH)
    assert len(samples) == 8 and cache.missing(samples) == samples
    monkeypatch.setattr(feature_cache, "write_arrays", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.fill(samples, progress=False)
    assert cache.missing(samples) == samples[3:]
    first = list(written)
    monkeypatch.setattr(feature_cache, "write_arrays", lambda path, arrays: written.append(path) or write(path, arrays))
    cache.fill(samples, progress=False)
    assert written == first + [cache.path(sample) for sample in samples[3:]]
    assert cache.missing(samples) == [] and len(list(cache.folder.glob("*.safetensors"))) == 8
    cache.fill(samples, progress=False)
    assert len(written) == 8


def test_torn_files_are_written_again(copy, full, plan):
    samples = copy.needed(plan, 2 * BATCH)
    for sample, share in zip(samples, (0.0, 0.2, 0.999)):
        content = copy.path(sample).read_bytes()
        copy.path(sample).write_bytes(content[: int(share * len(content))])
    copy.path(samples[4]).unlink()
    assert copy.missing(samples) == [*samples[:3], samples[4]]
    copy.fill(samples, progress=False)
    assert copy.missing(samples) == []
    assert all(same(ours, theirs) for ours, theirs in zip(batches(copy, plan, 2), batches(full["c4"], plan, 2)))


def test_damaged_file_is_named(copy, plan):
    """A number that has changed on the disk is seen by no look at the size."""
    path = copy.path(plan.sample(1))
    content = bytearray(path.read_bytes())
    content[content.index(read_arrays(path, ("features_0",))[0].tobytes()) + 1000] ^= 16
    path.write_bytes(content)
    assert copy.missing([plan.sample(1)]) == []
    with pytest.raises(tf.errors.OpError) as caught:
        batches(copy, plan, 1)
    sentence = cache_reading_error(caught.value)
    assert sentence.startswith(f"the feature cache file {path} cannot be read (the checksum of features_0 is wrong)")
    assert sentence.endswith("delete it and go on with --resume, which writes it anew")


VIEWS = {
    "as they are": {},
    "large jitter": {"scale_jitter": (0.3, 2.0), "min_size": (48, 64, 96)},
    "crop": {"scale_jitter": (0.5, 2.0), "crop": True},
    "smaller and cropped": {"scale_jitter": (0.3, 0.6), "crop": True},
    "pasted": {"copy_paste": 1.0},
}


@pytest.mark.parametrize("case", VIEWS)
def test_size_is_a_close_upper_bound(models, data, tmp_path, case):
    shown = {**SHOWN, **VIEWS[case]}
    for neck, dtype in (("c4", "float32"), ("fpn", "bfloat16")):
        cache = make_cache(tmp_path / neck, models[neck], data, shown=shown, dtype=dtype)
        samples = [PlannedSample(view, row) for view in (0, 1) for row in (0, 1, 3, 6)]
        cache.fill(samples, progress=False)
        taken = sum(path.stat().st_blocks * 512 for path in cache.folder.iterdir())
        assert taken <= cache.size(samples) < 1.5 * taken
    assert cache.size([]) == 0


def test_what_does_not_fit_is_refused(models, data, tmp_path, monkeypatch):
    cache, samples = make_cache(tmp_path, models["fpn"], data), [PlannedSample(0, 0), PlannedSample(0, 1)]
    need = int(cache.size(samples) * feature_cache.SPARE)
    for free in (need, need - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: types.SimpleNamespace(free=free))
        if free == need:
            assert cache.check_room(samples) == (need, need)
    with pytest.raises(CacheError, match=r"need 0\.00 GB, 0\.00 GB are free; make room, name another disk with train"):
        cache.check_room(samples)
