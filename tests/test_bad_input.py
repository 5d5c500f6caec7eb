"""Arbitrary input: a valid step or a clear ValueError, and never a changed state after an error."""

import copy
import math

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_room.env import RobotRoomEnv
from robot_room.factors import BY_NAME
from robot_room.vector_env import RobotRoomVectorEnv

pytestmark = pytest.mark.slow

ROOMS = 3
# 5 tests of 2,000 examples and one of 400 throw 10,400 arbitrary inputs.
many = settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 8),
    st.integers(2**62, 2**70),
    st.floats(),
    st.floats(-1.2, 1.2),
    st.complex_numbers(),
    st.text(max_size=6),
    st.binary(max_size=4),
    st.builds(object),
)
arrays = hnp.arrays(
    dtype=st.sampled_from(
        ["f2", "f4", "f8", "g", "i1", "i8", "u8", "b1", "c8", "U3", "O", "M8[s]", "S2", "f4,i4"]
    ),
    shape=st.sampled_from([(), (1,), (2,), (3,), (1, 2), (ROOMS, 2), (ROOMS,), (2, ROOMS), (0,)]),
)
anything = st.recursive(
    scalars | arrays,
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(), children, max_size=3)
        | st.tuples(children, children)
    ),
    max_leaves=6,
)
pairs = st.tuples(st.floats(-1.1, 1.1), st.floats(-1.1, 1.1))


def mostly(good):
    """Often what is right, so that other fields are reached too."""
    return good | anything


some_factors = st.dictionaries(
    st.sampled_from([*BY_NAME]),
    mostly(
        st.sampled_from(["training", "test", "disc", "noise"])
        | st.floats(-3, 3)
        | st.integers(0, 4)
        | st.lists(st.integers(0, 260), min_size=2, max_size=3)
    ),
    max_size=4,
)
params = st.fixed_dictionaries(
    {},
    optional={
        "goal": mostly(st.sampled_from(["centre", "random"])),
        "reward": mostly(st.sampled_from(["dense", "sparse"])),
        "terminate_on_goal": mostly(st.booleans()),
        "walls": mostly(st.sampled_from([None, "door", "maze"])),
        "num_layouts": mostly(st.integers(1, 5)),
        "layout_seed": mostly(st.integers(0, 3)),
        "distractors": mostly(st.integers(0, 6)),
        "slip": mostly(st.floats(0, 1)),
        "corruption": mostly(
            st.sampled_from([None, "gaussian", "dead_pixels", "blackout", "occluder", "dropped_frames"])
        ),
        "severity": mostly(st.integers(0, 5)),
        "action": mostly(st.sampled_from(["continuous", "discrete"])),
        "frame_skip": mostly(st.integers(1, 4)),
        "observation": mostly(st.sampled_from(["pixels", "state", "goal_image"])),
        "factors": mostly(st.sampled_from([None, "training", "test"]) | some_factors),
        "factor_info": mostly(st.booleans()),
        "goal_image": mostly(st.booleans()),
        "oracle_steps": mostly(st.booleans()),
        "masks": mostly(st.booleans()),
        "compiled": mostly(st.none() | st.booleans()),
        "render_mode": mostly(st.sampled_from([None, "rgb_array"])),
    },
)
options = mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "robot_position": mostly(pairs),
            "goal_position": mostly(pairs),
            "layout": mostly(st.integers(0, 44)),
            "factors": mostly(some_factors),
            "reset_mask": mostly(hnp.arrays(bool, (ROOMS,))),
            "other": anything,
        },
    )
)
VARIANTS = [
    {},
    {"walls": "door", "goal": "random"},
    {"distractors": 2, "slip": 0.2, "corruption": "dropped_frames", "severity": 3},
    {"walls": "maze", "num_layouts": 5, "oracle_steps": True, "masks": True},
    {"action": "discrete", "frame_skip": 2, "observation": "state"},
    {"factors": "test", "walls": "door", "distractors": 1, "frame_skip": 2},
]
SINGLES = [RobotRoomEnv(**kwargs) for kwargs in VARIANTS]
VECTORS = [
    RobotRoomVectorEnv(ROOMS, 30, mode, **kwargs)
    for kwargs, mode in zip(VARIANTS, [*AutoresetMode, *[AutoresetMode.NEXT_STEP] * 3], strict=True)
]
for one in (*SINGLES, *VECTORS):
    one.reset(seed=0)
every_env = st.sampled_from([*SINGLES, *VECTORS])


def snapshot(env):
    return repr(copy.deepcopy(env.get_state())) + str(env.np_random_seed)


def attempt(env, call):
    """Call; after a ValueError everything must be as before, and the message must say what is wrong."""
    before = snapshot(env)
    try:
        return call()
    except ValueError as error:
        assert "got" in str(error) and "allowed" in str(error)
        assert snapshot(env) == before
    return None


@many
@given(kwargs=params)
def test_arguments(kwargs):
    try:
        env = RobotRoomEnv(**kwargs)
    except ValueError as error:
        assert "got" in str(error) and "allowed" in str(error)
        return
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation) and math.isfinite(reward)
    assert isinstance(terminated, bool) and truncated is False and isinstance(info, dict)


@many
@given(
    kwargs=params,
    more=st.fixed_dictionaries(
        {},
        optional={
            "num_envs": mostly(st.integers(1, 3)),
            "max_episode_steps": mostly(st.integers(1, 5)),
            "autoreset_mode": mostly(st.sampled_from(list(AutoresetMode))),
            "copy": mostly(st.booleans()),
        },
    ),
)
def test_arguments_of_the_vector_environment(kwargs, more):
    if isinstance(more.get("num_envs"), int) and more["num_envs"] > 8:
        return  # allowed, and large
    try:
        envs = RobotRoomVectorEnv(**kwargs, **more)
    except ValueError as error:
        assert "got" in str(error) and "allowed" in str(error)
        return
    assert envs.observation_space.contains(envs.reset(seed=0)[0])
    step = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(step[0]) and np.isfinite(step[1]).all()


@many
@given(env=every_env, action=anything | arrays)
def test_actions(env, action):
    env.reset(seed=0)
    step = attempt(env, lambda: env.step(action))
    if step is not None:
        assert env.observation_space.contains(step[0]) and np.isfinite(step[1]).all()
        good = np.asarray(action)
        assert good.size and np.isfinite(good.astype(np.float64)).all()


@many
@given(env=every_env, seed=mostly(st.integers(0, 9) | st.lists(scalars, max_size=4)), options=options)
def test_seeds_and_options(env, seed, options):
    env.reset(seed=0)
    reset = attempt(env, lambda: env.reset(seed=seed, options=options))
    if reset is not None:
        assert env.observation_space.contains(reset[0])
        assert np.isfinite(reset[1]["distance"]).all()


@many
@given(data=st.data(), env=every_env)
def test_states(data, env):
    env.reset(seed=0)
    state = env.get_state()
    for _ in range(data.draw(st.integers(0, 2))):
        field = data.draw(st.sampled_from([*state]))
        change = data.draw(st.sampled_from(["anything", "element", "absent"]))
        if change == "absent":
            state = {name: value for name, value in state.items() if name != field}
            break
        if change == "element" and isinstance(state[field], np.ndarray):
            value = state[field].copy()
            low, high = {"f": (-2, 2), "i": (-5, 50), "u": (0, 2**64 - 1), "b": (0, 1)}[
                value.dtype.kind
            ]
            drawn = st.floats if value.dtype.kind == "f" else st.integers
            value.flat[data.draw(st.integers(0, value.size - 1))] = data.draw(drawn(low, high))
            state[field] = value
        else:
            state[field] = data.draw(anything)
    if data.draw(st.integers(0, 9)) == 0:
        state = data.draw(anything)
    restored = attempt(env, lambda: env.set_state(state))
    if restored is not None:
        assert env.observation_space.contains(restored[0])


@settings(many, max_examples=400)
@given(state=st.dictionaries(st.text(max_size=8), anything, max_size=4))
def test_generators_in_states(state):
    env = SINGLES[0]
    good = env.get_state()
    attempt(env, lambda: env.set_state({**good, "generators": [{**good["generators"][0], **state}]}))


def test_the_oracle_of_this_file_would_see_a_changed_state():
    env = SINGLES[0]
    before = snapshot(env)
    env.step(np.array([0.1, 0.1], np.float32))
    assert snapshot(env) != before
    with pytest.raises(AssertionError):
        attempt(env, lambda: (env.step(np.zeros(2)), env.step("bad")))


def test_a_generator_whose_numbers_never_change_is_refused():
    env = SINGLES[0]
    good = env.get_state()
    broken = {**good["generators"][0], "state": {"state": 0, "inc": 0}}
    with pytest.raises(ValueError, match=r"generators: got .*allowed: the state of a PCG64"):
        env.set_state({**good, "generators": [broken]})
    assert env.get_state()["generators"] == good["generators"]
