"""Plans keep to their time, by a clock that only the test moves."""

import random

import pytest

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.training.budget import Budget, CacheCosts, StageCosts
from keras_mrcnn.training.stage_lengths import Length

COSTS = {
    "rpn": StageCosts(fixed=20, step=0.5, epoch=6),
    "box": StageCosts(fixed=15, step=0.1, epoch=4),
    "mask": StageCosts(fixed=30, step=0.15, epoch=4),
    "joint": StageCosts(fixed=30, step=0.9, epoch=8),
}
ASKED = {"rpn": Length(12, 100), "box": Length(12, 100), "mask": Length(6, 100), "joint": Length(3, 100)}
CACHE = CacheCosts(image=0.05, most=400, room=10_000)


def make_budget(end=3600.0, costs=COSTS, asked=ASKED, cache=CACHE):
    """A budget and its clock, which reads `now[0]`."""
    now = [0.0]
    return Budget(end, costs, asked, batch_size=2, cache=cache, clock=lambda: now[0]), now


def train(budget, now, pace=lambda: 1.0):
    """Plays a run: each stage takes as long as it costs, times the pace; returns the lengths that it had."""
    done = {}
    for name in budget.costs:
        plan = budget.plan(name)
        seconds = budget._seconds_of(name, plan) * pace()
        now[0] += seconds
        budget.stage_ended(name, plan, seconds)
        if name in plan:
            done[name] = plan[name]
    return done


def test_costs_by_hand():
    budget, _ = make_budget()
    plan = {"rpn": Length(2, 10), "box": Length(3, 10), "mask": Length(1, 40), "joint": Length(1, 10)}
    # 80 images in the cache for the forty steps of the mask stage, written by the box stage.
    assert budget.seconds("rpn", plan) == pytest.approx(42 + (30 + 80 * 0.05) + 40 + 47)
    assert budget.seconds("mask", plan) == pytest.approx(40 + 47)
    assert budget.seconds("rpn", {}) == 95


def test_a_cache_without_room_makes_each_step_slower():
    plan = {"box": Length(3, 10), "mask": Length(1, 40)}
    cache = CacheCosts(image=0.05, most=400, room=79)
    assert [cache.seconds(name, plan, 2) for name in ("rpn", "box", "mask")] == pytest.approx([0, 60 * 0.05, 80 * 0.05])
    assert CacheCosts(0.05, most=70, room=79).seconds("box", plan, 2) == pytest.approx(70 * 0.05)


@pytest.mark.parametrize("minutes", [5, 20, 60, 600])
@pytest.mark.parametrize("seed", range(5))
def test_stages_end_within_the_budget(minutes, seed):
    """Steps are up to 4 % faster or slower than measured, and so is each stage."""
    budget, now = make_budget(60.0 * minutes)
    noise = random.Random(seed)
    done = train(budget, now, lambda: noise.uniform(0.96, 1.04))
    assert 0.88 * 60 * minutes < now[0] <= 60 * minutes
    assert list(done) == list(COSTS)


def test_a_machine_that_becomes_slower_shortens_what_is_left():
    budget, now = make_budget(3600.0)
    first = budget.plan("rpn")
    paces = iter([1.3, 1.3, 1.3, 1.3])
    done = train(budget, now, lambda: next(paces))
    assert now[0] <= 3600 and done["rpn"] == first["rpn"] and done["joint"].steps < 0.8 * first["joint"].steps


def test_stages_share_the_steps_as_the_settings_do():
    budget, _ = make_budget(6000.0)
    plan = budget.plan("rpn")
    factors = [plan[name].steps / ASKED[name].steps for name in ASKED]
    assert max(factors) - min(factors) < 0.02 * max(factors) and factors[0] > 1


def test_epochs_are_long_enough_for_validation_and_at_most_a_pass():
    costs = StageCosts(fixed=0, step=1.0, epoch=2.0)
    assert costs.length(1000, 50) == Length(20, 50)
    assert costs.length(1000, 3) == Length(56, 18)  # 18 seconds of steps for two of validation
    assert costs.length(70, 50) == Length(2, 35)
    assert costs.length(7, 5000) == Length(1, 7)
    assert costs.length(0, 50) == Length(1, 1)


def test_stages_without_epochs_have_none_but_are_scored():
    asked = {**ASKED, "rpn": Length(0, 100)}
    budget, now = make_budget(600.0, asked=asked)
    done = train(budget, now)
    assert "rpn" not in done and 0.9 * 600 < now[0] <= 600


def test_too_little_time_is_refused_and_later_gives_the_shortest_stages():
    make_budget(400.0)[0].check()
    budget, now = make_budget(60.0)
    with pytest.raises(UserError, match=r"^train\.minutes: starting and scoring .* takes 1\.0 minutes more than that"):
        budget.check()
    now[0] = 1e6
    assert budget.plan("box") == dict.fromkeys(("box", "mask", "joint"), Length(1, 1))
