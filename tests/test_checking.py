"""The checks of single values: every bound is allowed, and nothing beyond it."""

import math

import numpy as np
import pytest

from robot_room import checking


@pytest.mark.parametrize("value", [3, 7, np.int8(5), np.uint64(7)])
def test_whole_numbers(value):
    number = checking.whole("n", value, 3, 7)
    assert number == value and type(number) is int


@pytest.mark.parametrize("value", [2, 8, True, 5.0, "5", None, np.array(5), np.array([5]), 2**200])
def test_what_is_no_whole_number_between_the_bounds_is_refused(value):
    with pytest.raises(ValueError, match=r"n: got .*allowed: a whole number from 3 to 7"):
        checking.whole("n", value, 3, 7)


@pytest.mark.parametrize("value", [0.5, 2, np.float32(1.5), np.int64(1)])
def test_numbers(value):
    number = checking.number("x", value, 0.5, 2.0)
    assert number == value and type(number) is float


@pytest.mark.parametrize("value", [0.49, 2.01, True, "1", None, math.nan, math.inf, -math.inf, 1j])
def test_what_is_no_number_between_the_bounds_is_refused(value):
    with pytest.raises(ValueError, match=r"x: got .*allowed: a number from 0.5 to 2"):
        checking.number("x", value, 0.5, 2.0)


@pytest.mark.parametrize("value", [[0, 3], np.array([2, 1], np.uint8)])
def test_discrete_actions(value):
    chosen = checking.choices(value, (2,), 4)
    assert chosen.dtype == np.int64 and chosen.tolist() == list(value)


@pytest.mark.parametrize(
    "value", [[-1, 0], [0, 4], [0.0, 1.0], [0], [0, 1, 2], [[0, 1]], [[0, 1], [2, 3]], 0, None, "01"]
)
def test_what_is_no_discrete_action_is_refused(value):
    with pytest.raises(ValueError, match=r"action: got .*allowed: whole numbers of shape \(2,\)"):
        checking.choices(value, (2,), 4)


@pytest.mark.parametrize("count", [1, 3])
def test_a_state_has_as_many_seeds_and_generators_as_rooms(count):
    states = [np.random.PCG64(seed).state for seed in range(2)]
    with pytest.raises(ValueError, match=f"seeds: got .*allowed: a list of {count}"):
        checking.seeds({"seeds": [1, 2]}, count)
    with pytest.raises(ValueError, match=f"generators: got .*allowed: a list of {count}"):
        checking.generators({"generators": states}, count)
    first, second = checking.generators({"generators": states}, 2)
    assert first.random() == np.random.Generator(np.random.PCG64(0)).random()
    assert second.random() == np.random.Generator(np.random.PCG64(1)).random()


def test_a_generator_whose_numbers_never_change_is_refused():
    state = np.random.PCG64(0).state
    for inc in (0, 2**64):
        frozen = state | {"state": {"state": 0, "inc": inc}}
        with pytest.raises(ValueError, match=r"generators: got .*allowed: the state of a PCG64"):
            checking.generators({"generators": [frozen]}, 1)
