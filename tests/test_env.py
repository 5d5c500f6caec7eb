import copy
import doctest
import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

import robot_room
import robot_room.env


@pytest.fixture
def env():
    env = gym.make("RobotRoom-v0")
    yield env
    env.close()


@pytest.mark.parametrize("name", robot_room.VARIANTS)
def test_gymnasiums_checker_finds_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(name, render_mode="rgb_array").unwrapped)


def test_the_documentations_examples_say_what_happens():
    results = doctest.testmod(robot_room.env)
    assert results.attempted > 10 and results.failed == 0


def test_a_seed_determines_the_rollout(env):
    def rollout():
        observation, info = env.reset(seed=42)
        env.action_space.seed(42)
        out = [observation]
        for _ in range(150):
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            out += [observation, reward, terminated, truncated, info["robot_position"]]
            if terminated or truncated:
                out.append(env.reset()[0])
        return out

    for a, b in zip(rollout(), rollout(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_seeds_give_other_starts(env):
    starts = [env.reset(seed=seed)[1]["robot_position"] for seed in range(20)]
    assert len({tuple(start) for start in starts}) == 20


def test_options_put_the_room_in_an_exact_state(env):
    options = {"robot_position": (0.123, -0.456), "goal_position": (-0.5, 0.25)}
    observation, info = env.reset(seed=0, options=options)
    np.testing.assert_array_equal(info["robot_position"], [0.123, -0.456])
    np.testing.assert_array_equal(info["goal_position"], [-0.5, 0.25])
    assert info["distance"] == pytest.approx(np.hypot(0.623, 0.706))
    again, _ = env.reset(seed=99, options=options)
    np.testing.assert_array_equal(observation, again)
    _, info = env.reset()  # the goal of options lasts one episode
    np.testing.assert_array_equal(info["goal_position"], [0, 0])


def test_an_episode_is_cut_after_a_hundred_steps(env):
    env.reset(options={"robot_position": (0.9, 0.9)})
    for k in range(1, 101):
        _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        assert (terminated, truncated) == (False, k == 100)
        assert reward == -info["distance"]


def test_arrival_ends_the_episode_and_is_success(env):
    env.reset(options={"robot_position": (0.45, 0.0)})
    outcomes = [env.step(np.array([-1, 0], np.float32)) for _ in range(4)]
    assert [o[2] for o in outcomes] == [False, False, False, True]
    assert [o[4]["is_success"] for o in outcomes] == [False, False, False, True]


def test_the_observation_does_not_depend_on_render_mode():
    frames = []
    for mode in (None, "rgb_array", "human"):
        env = gym.make("RobotRoom-v0", render_mode=mode)
        env.reset(seed=5)
        frames.append(env.step(np.array([0.3, 0.7], np.float32))[0])
        env.close()
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


def test_the_window_shows_the_sharp_picture():
    import pygame

    env = gym.make("RobotRoom-v0", render_mode="human")
    env.reset(options={"robot_position": (0.5, 0.5)})
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    env.close()
    reference = gym.make("RobotRoom-v0", render_mode="rgb_array")
    reference.reset(options={"robot_position": (0.5, 0.5)})
    picture = reference.render()
    assert shown.shape == (570, 932, 3) and picture.shape == (512, 512, 3)
    np.testing.assert_array_equal(shown[42:554, 16:528], picture)


@pytest.mark.parametrize(
    "action",
    [[0.0], [0.0, 0.0, 0.0], [[0.0, 0.0]], [np.nan, 0.0], [0.0, np.inf], "left", None, [None, 1]],
)
def test_a_bad_action_is_refused_and_changes_nothing(env, action):
    room = env.unwrapped
    room.reset(seed=1)
    with pytest.raises(ValueError, match=r"action: got .*allowed: .*Box"):
        room.step(action)
    reference = gym.make("RobotRoom-v0").unwrapped
    reference.reset(seed=1)
    good = np.array([0.5, -0.5], np.float32)
    np.testing.assert_array_equal(room.step(good)[0], reference.step(good)[0])
    np.testing.assert_array_equal(room.reset()[0], reference.reset()[0])  # the generator too


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"robot": (0, 0)}, "options"),
        ({"robot_position": (0.95, 0)}, "robot_position"),
        ({"robot_position": (0, 0, 0)}, "robot_position"),
        ({"robot_position": "centre"}, "robot_position"),
        ({"goal_position": (0, -0.89)}, "goal_position"),
        ({"goal_position": (np.nan, 0)}, "goal_position"),
        ({"layout": 0}, "layout"),
    ],
)
def test_a_bad_option_is_refused_and_changes_nothing(env, options, field):
    room = env.unwrapped
    room.reset(seed=1)
    with pytest.raises(ValueError, match=f"{field}: got .*allowed"):
        room.reset(seed=2, options=options)
    reference = gym.make("RobotRoom-v0").unwrapped
    reference.reset(seed=1)
    good = np.array([0.5, -0.5], np.float32)
    np.testing.assert_array_equal(room.step(good)[0], reference.step(good)[0])
    np.testing.assert_array_equal(room.reset()[0], reference.reset()[0])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"reward": "big"},
        {"terminate_on_goal": 3},
        {"render_mode": "ascii"},
        {"masks": 1},
        {"compiled": "yes"},
        {"oracle_steps": 1},
        {"oracle_steps": True, "slip": 0.1},
    ],
)
def test_a_bad_argument_is_refused(kwargs):
    from robot_room.env import RobotRoomEnv

    with pytest.raises(ValueError, match=f"{next(iter(kwargs))}: got .*allowed"):
        RobotRoomEnv(**kwargs)


@pytest.mark.parametrize("name", robot_room.VARIANTS)
def test_the_spec_survives_json(name):
    env = gym.make(name, terminate_on_goal=False, max_episode_steps=7)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.params == env.unwrapped.params
    assert again.spec == env.spec


def test_registered_limits_are_a_hundred_steps_and_two_hundred_among_walls():
    limits = {name: gym.spec(name).max_episode_steps for name in robot_room.VARIANTS}
    among_walls = {"RobotRoomDoor-v0", "RobotRoomMaze-v0"}
    assert {name for name, limit in limits.items() if limit == 200} == among_walls
    assert set(limits.values()) == {100, 200}


@pytest.mark.parametrize("name", robot_room.VARIANTS)
def test_a_restored_state_replays_with_the_same_bits(name):
    env, other = (gym.make(name).unwrapped for _ in range(2))
    env.reset(seed=3)
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 2)).astype(np.float32)
    for action in actions[:10]:
        env.step(action)
    state = pickle.loads(pickle.dumps(env.get_state()))

    def future(one):
        out = [one.step(action)[0] for action in actions] + [one.reset()[0]]
        return out + [one.step(action)[0] for action in actions]

    expected = future(env)
    for restored in (env, other):
        observation, info = restored.set_state(state)
        assert env.observation_space.contains(observation) and "distance" in info
        for a, b in zip(expected, future(restored), strict=True):
            assert data_equivalence(a, b, exact=True)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("RobotRoom-v0", {"oracle_steps": True}),
        ("RobotRoomDistractors-v0", {}),
        ("RobotRoomMaze-v0", {"layout_seed": 5}),
    ],
)
def test_a_state_of_other_rooms_is_refused(name, kwargs):
    source = "RobotRoomMaze-v0" if "layout_seed" in kwargs else "RobotRoom-v0"
    env, other = gym.make(source).unwrapped, gym.make(name, **kwargs).unwrapped
    env.reset(seed=0)
    other.reset(seed=0)
    with pytest.raises(ValueError, match=r"settings: got .*allowed: those of these rooms"):
        other.set_state(env.get_state())


def test_a_state_brings_its_seed(env):
    room = env.unwrapped
    room.reset(seed=3)
    state = room.get_state()
    room.reset(seed=9)
    room.set_state(state)
    assert room.np_random_seed == 3


@pytest.mark.parametrize(
    "kwargs", [{"slip": np.float32(0.1)}, {"masks": np.True_}, {"distractors": np.int64(2)}]
)
def test_arguments_that_a_spec_could_not_write_are_refused(kwargs):
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))}: got .*allowed"):
        gym.make("RobotRoom-v0", **kwargs)


def test_a_state_is_a_copy(env):
    room = env.unwrapped
    room.reset(seed=0)
    state = room.get_state()
    kept = copy.deepcopy(state)
    room.step(np.ones(2, np.float32))
    room.reset()
    np.testing.assert_equal(state, kept)


@pytest.mark.parametrize("name", robot_room.VARIANTS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_as_the_original_wrappers_included(name, clone):
    env = gym.make(name, max_episode_steps=30)
    env.reset(seed=1)
    for _ in range(10):
        env.step(np.array([0.1, 0.05], np.float32))
    twin = clone(env)
    for _ in range(20):
        for a, b in zip(*(e.step(np.array([0.1, 0.05], np.float32)) for e in (env, twin)), strict=True):
            np.testing.assert_equal(a, b)


def test_the_oracle_of_the_start_is_in_every_info():
    env = gym.make("RobotRoomDoor-v0", oracle_steps=True)
    from robot_room import layouts, oracle

    for seed in range(5):
        _, info = env.reset(seed=seed)
        layout = layouts.layout(env.unwrapped.params, info["layout"])
        best = oracle.min_steps(info["robot_position"][None], info["goal_position"][None], layout)
        assert info["oracle_steps"] == best[0] and isinstance(info["oracle_steps"], int)
        assert env.step(np.zeros(2, np.float32))[4]["oracle_steps"] == best[0]


def test_masks_show_what_the_frame_shows():
    kwargs = {"distractors": 2, "masks": True, "corruption": "dropped_frames", "severity": 5}
    env = gym.make("RobotRoom-v0", **kwargs)
    observation, info = env.reset(seed=0)
    for _ in range(20):
        white = (observation == 255).all(axis=-1)
        np.testing.assert_array_equal(white, info["masks"]["robot"] > 0.998)
        observation, *_, info = env.step(np.array([0.7, 0.7], np.float32))
    assert set(info["masks"]) == {"robot", "goal", "distractors", "walls"}
    assert "masks" not in gym.make("RobotRoom-v0").reset(seed=0)[1]


def test_a_random_goal_is_never_at_the_robot_that_options_place():
    env = gym.make("RobotRoomRandomGoal-v0")
    env.reset(seed=0)
    for _ in range(100):
        _, info = env.reset(options={"robot_position": (0.2, 0.3)})
        assert info["distance"] >= 0.40


def test_slip_has_the_stated_spread():
    env = gym.make("RobotRoomSlip-v0", slip=0.2, terminate_on_goal=False, max_episode_steps=10**6)
    moves = []
    for seed in range(30):
        _, info = env.reset(seed=seed, options={"robot_position": (0.3, -0.3)})
        for _ in range(20):
            before = info["robot_position"]
            info = env.step(np.array([0.5, 0.25], np.float32) * (-1) ** len(moves))[4]
            if np.abs(info["robot_position"]).max() < 0.9:
                moves.append((info["robot_position"] - before) * (-1) ** len(moves) / 0.1)
            else:
                moves.append((np.nan, np.nan))
    noise = np.array(moves) - [0.5, 0.25]
    noise = noise[~np.isnan(noise).any(axis=1)]
    assert len(noise) > 500
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=4 * 0.2 / np.sqrt(len(noise)))
    np.testing.assert_allclose(noise.std(axis=0), 0.2, rtol=0.15)


def test_the_package_name_in_an_id_registers_it_and_torch_stays_out():
    code = (
        "import sys, gymnasium; gymnasium.make('robot_room:RobotRoom-v0').reset(seed=0);"
        "assert 'torch' not in sys.modules and 'pygame' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stepping_before_reset_is_refused():
    from robot_room.env import RobotRoomEnv

    with pytest.raises(gym.error.ResetNeeded):
        RobotRoomEnv().step(np.zeros(2, np.float32))


def test_a_position_inside_a_wall_is_refused_and_changes_nothing():
    env, reference = (gym.make("RobotRoomMaze-v0").unwrapped for _ in range(2))
    for one in (env, reference):
        one.reset(seed=4)
    options = {"robot_position": (-0.6375, -0.6375)}  # a post that belongs to a wall in every maze
    for extra in ({}, {"layout": 3}):
        with pytest.raises(
            ValueError, match=r"robot_position: got .*allowed: 0.1 m clear of the walls"
        ):
            env.reset(options={**options, **extra})
    for field, value in (("layout", 1000), ("layout", -1), ("layout", 1.5), ("layout", "first")):
        with pytest.raises(ValueError, match=f"{field}: got .*allowed"):
            env.reset(options={field: value})
    np.testing.assert_array_equal(env.reset()[0], reference.reset()[0])


def test_a_layout_can_be_chosen():
    env = gym.make("RobotRoomMaze-v0", masks=True)
    walls = [env.reset(options={"layout": n})[1]["masks"]["walls"] for n in (5, 6, 5)]
    assert (walls[0] == walls[2]).all() and (walls[0] != walls[1]).any()


def test_without_compiled_loops_numpy_is_used_and_asking_for_them_says_what_to_do():
    code = (
        "import sys; sys.modules['robot_room._kernels'] = None\n"
        "import gymnasium, robot_room\n"
        "gymnasium.make('RobotRoom-v0').reset(seed=0)\n"
        "try: gymnasium.make('RobotRoom-v0', compiled=True)\n"
        "except ImportError as error: assert 'install a wheel' in str(error); print('said')"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout == "said\n"


def test_making_and_stepping_a_room_imports_nothing_heavy():
    code = (
        "import sys, gymnasium\n"
        "before = set(sys.modules)\n"
        "import robot_room\n"
        "env = gymnasium.make('RobotRoom-v0')\n"
        "env.reset(seed=0), env.step(env.action_space.sample())\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"pygame", "numba", "torch", "scipy", "matplotlib", "PIL", "agent", "minari"}
    assert "robot_room" in out.stdout and not heavy & set(eval(out.stdout))
