"""The cache gives the stages what the frozen part would give them, from files that are checked."""

import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from mixed_data import VIEW, mixed_data
from small_training import small_model

from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.batching import planned_batches
from keras_mrcnn.data.pipeline import training_dataset
from keras_mrcnn.data.sharing import Share
from keras_mrcnn.training import feature_cache
from keras_mrcnn.training.cache_files import CacheError, read_tensors
from keras_mrcnn.training.feature_cache import FeatureCache
from keras_mrcnn.training.frozen_features import compute_features_and_proposals, features_and_proposals
from keras_mrcnn.training.stages import BoxStage, MaskStage

SEED, BATCH = 5, 4
SAMPLING = Sampling(**VIEW, seed=SEED, augmentation=Augmentation(flip=0.5))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return mixed_data(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def models():
    return {neck: small_model(neck=neck, min_size=64, max_size=160) for neck in ("fpn", "c4")}


def make_cache(root, model, data, *, sampling=SAMPLING, epochs=2, dtype="float32"):
    return FeatureCache(root, "key", model, data, sampling, epochs=epochs, dtype=dtype)


def plan_of(data, start_batch=0):
    return planned_batches(data.image_sizes, BATCH, SEED, start_batch, data.index["shards"])


def places_of(data, batch):
    """Epoch and row of the images of a batch."""
    return next(plan_of(data, batch).as_numpy_iterator())


@pytest.fixture(scope="module")
def every_place(data):
    """Epoch and row of all that the first two epochs show."""
    return np.array([(epoch, row) for epoch in (0, 1) for row in range(len(data))])


@pytest.fixture(scope="module")
def full(tmp_path_factory, models, data, every_place):
    """Caches of both necks with all that the first two epochs show."""
    caches = {}
    for neck, model in models.items():
        caches[neck] = make_cache(tmp_path_factory.mktemp(neck), model, data)
        caches[neck].fill(every_place, progress=False)
    return caches


@pytest.fixture
def copy(full, models, data, tmp_path):
    """A full cache of the C4 network, free to be damaged."""
    cache = make_cache(tmp_path, models["c4"], data)
    shutil.copytree(full["c4"].folder, cache.folder)
    return cache


def batches(cache, count, start_batch=0, **settings):
    return list(cache.dataset(plan_of(cache.data, start_batch), BATCH, **settings).take(count))


def stored(cache, place, name):
    """A field of a file."""
    dtypes = [spec.dtype for spec in cache.fields.values()]
    return read_tensors(tf.constant(str(cache.path(place))), dtypes)[list(cache.fields).index(name)]


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_batches_are_those_of_the_images(full, models, data, neck):
    """Images of several sizes in a batch, and batches of images of two epochs."""
    images = training_dataset(data, batch_size=BATCH, seed=SEED, flip=0.5, **VIEW)
    epochs, sizes = set(), set()
    for number, (cached, batch) in enumerate(zip(batches(full[neck], 3), images)):
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
        epochs.update(places_of(data, number)[:, 0].tolist())
        sizes.update(map(tuple, cached["image_sizes"].numpy().tolist()))
    assert epochs == {0, 1} and len(sizes) > 3


def test_stream_can_start_anywhere_and_leave_out_the_masks(full):
    whole = batches(full["fpn"], 5)
    middle = batches(full["fpn"], 2, start_batch=3)
    assert all(same(ours, theirs) for ours, theirs in zip(middle, whole[3:]))
    without = batches(full["fpn"], 1, with_masks=False)[0]
    assert whole[0].keys() - without.keys() == {"gt_masks"}
    assert same(without, {name: value for name, value in whole[0].items() if name != "gt_masks"})


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_shares_are_padded_like_the_whole_batch(full, neck):
    whole = batches(full[neck], 3)
    shares = [batches(full[neck], 6, share=Share(index, 2, 2)) for index in range(2)]
    for number, batch in enumerate(whole):
        pieces = [piece for share in shares for piece in share[2 * number : 2 * number + 2]]
        for row, piece in enumerate(pieces):
            for name in [*full[neck].maps, "proposals", "proposal_scores", "image_sizes", "seeds"]:
                np.testing.assert_array_equal(piece[name][0], batch[name][row], err_msg=name)


def test_later_epochs_show_the_cached_ones_again_with_seeds_of_their_own(full, data):
    cache = full["fpn"]
    for number in (4, 9, 13):
        places = places_of(data, number)
        batch = batches(cache, 1, start_batch=number)[0]
        expected = [SAMPLING.draw(data, place).seeds for place in places]
        np.testing.assert_array_equal(batch["seeds"], expected)
        files = [cache.folder / f"{row:07d}-{epoch % 2}.tfrecord" for epoch, row in places]
        assert [cache.path(place) for place in places] == files
        for row, place in enumerate(places):
            np.testing.assert_array_equal(batch["proposals"][row], stored(cache, place, "proposals"))
    assert places_of(data, 13)[:, 0].max() > 5


def test_views_of_an_image_differ(full, data):
    boxes = [[stored(full["fpn"], (epoch, row), "gt_boxes") for epoch in (0, 1)] for row in range(len(data))]
    assert len(boxes) > 3 and any(not np.array_equal(*epochs) for epochs in boxes)


def test_what_a_plan_needs(full, data, every_place):
    cache = full["fpn"]
    assert cache.needed(plan_of(data), 0).shape == (0, 2)
    first = sorted(places_of(data, 0).tolist())
    assert cache.needed(plan_of(data), 1).tolist() == first
    np.testing.assert_array_equal(cache.needed(plan_of(data), 25), every_place)


@pytest.mark.parametrize(("dtype", "steps"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_short_floats_give_close_losses(full, models, data, tmp_path, dtype, steps):
    model, exact = models["fpn"], full["fpn"]
    cache = make_cache(tmp_path, model, data, dtype=dtype)
    cache.fill(cache.needed(plan_of(data), 1), progress=False)
    short, whole = batches(cache, 1)[0], batches(exact, 1)[0]
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


def test_interrupted_fill_goes_on_where_it_was(models, data, every_place, tmp_path, monkeypatch):
    cache, write, written = make_cache(tmp_path, models["c4"], data), feature_cache.write_tensors, []

    def interrupted(path, tensors):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, tensors)

    places = every_place[:8]
    np.testing.assert_array_equal(cache.missing(places), places)
    monkeypatch.setattr(feature_cache, "write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.fill(places, progress=False)
    np.testing.assert_array_equal(cache.missing(places), places[3:])
    first = list(written)
    monkeypatch.setattr(
        feature_cache, "write_tensors", lambda path, tensors: written.append(path) or write(path, tensors)
    )
    cache.fill(places, progress=False)
    assert written == first + [cache.path(place) for place in places[3:]]
    assert cache.missing(places).shape == (0, 2) and len(list(cache.folder.glob("*.tfrecord"))) == 8
    cache.fill(places, progress=False)
    assert len(written) == 8


def test_torn_files_are_written_again(copy, full, every_place):
    places = every_place[:8]
    for place, share in zip(places, (0.0, 0.2, 0.999)):
        content = copy.path(place).read_bytes()
        copy.path(place).write_bytes(content[: int(share * len(content))])
    copy.path(places[4]).unlink()
    np.testing.assert_array_equal(copy.missing(places), places[[0, 1, 2, 4]])
    copy.fill(places, progress=False)
    assert len(copy.missing(places)) == 0
    assert all(same(ours, theirs) for ours, theirs in zip(batches(copy, 2), batches(full["c4"], 2)))


def test_damaged_file_is_named(copy, data, every_place):
    """A number that has changed on the disk is seen by no look at the size."""
    copy.check(every_place)
    place = places_of(data, 0)[1]
    path = copy.path(place)
    content = bytearray(path.read_bytes())
    content[content.index(stored(copy, place, "features_0").numpy().tobytes()) + 1000] ^= 16
    path.write_bytes(content)
    assert len(copy.missing(place[None])) == 0
    with pytest.raises(tf.errors.DataLossError):
        batches(copy, 1)
    with pytest.raises(CacheError) as caught:
        copy.check(every_place)
    sentence = str(caught.value)
    assert sentence.startswith(f"the feature cache file {path} cannot be read (corrupted record at ")
    assert sentence.endswith("delete it and go on with --resume, which writes it anew")


# Names of views: their sizes and augmentation, and a neck and type of maps to try with them.
VIEWS = {
    "as they are": ({}, {}, "fpn", "float32"),
    "large jitter": ({"min_size": (48, 64, 96)}, {"scale_jitter": (0.3, 2.0)}, "fpn", "bfloat16"),
    "crop": ({}, {"scale_jitter": (0.5, 2.0), "crop": True}, "c4", "float32"),
    "smaller and cropped": ({}, {"scale_jitter": (0.3, 0.6), "crop": True}, "fpn", "bfloat16"),
    "pasted": ({}, {"copy_paste": 1.0}, "c4", "float32"),
}


@pytest.mark.parametrize("case", VIEWS)
def test_size_is_a_close_upper_bound(models, data, tmp_path, case):
    view, augmentation, neck, dtype = VIEWS[case]
    sampling = Sampling(**{**VIEW, **view}, seed=SEED, augmentation=Augmentation(**augmentation))
    cache = make_cache(tmp_path, models[neck], data, sampling=sampling, dtype=dtype)
    places = np.array([(epoch, row) for epoch in (0, 1) for row in (0, 1, 3, 6)])
    cache.fill(places, progress=False)
    taken = sum(path.stat().st_blocks * 512 for path in cache.folder.iterdir())
    assert taken <= cache.size(places) < 1.5 * taken
    assert cache.size(places[:0]) == 0


def test_what_does_not_fit_is_refused(models, data, tmp_path, monkeypatch):
    cache, places = make_cache(tmp_path, models["fpn"], data), np.array([(0, 0), (0, 1)])
    need = int(cache.size(places) * feature_cache.SPARE)
    for free in (need, need - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: types.SimpleNamespace(free=free))
        if free == need:
            assert cache.check_room(places) == (need, need)
    with pytest.raises(CacheError, match=r"need 0\.00 GB, 0\.00 GB are free; make room, name another disk with train"):
        cache.check_room(places)
