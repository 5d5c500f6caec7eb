"""Factors of variation: ranges, what each does to frames and dynamics, and the oracle under them."""

import copy
import itertools
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from test_vector_env import KINDS, assert_same

from robot_room import factors, room
from robot_room.env import RobotRoomEnv
from robot_room.factors import BY_NAME, FACTORS, PLACES
from robot_room.vector_env import RobotRoomVectorEnv

NUMBERS = {"speed": 1.4, "friction": 0.2, "action_delay": 2}


def fixed(**values):
    """A room with these values, the robot where it is asked for."""
    place = values.pop("at", (0.4, 0.3))
    env = RobotRoomEnv(factors=values, masks=True)
    observation, info = env.reset(seed=0, options={"robot_position": place})
    return env, observation, info


def plain_frame(place=(0.4, 0.3)):
    env = RobotRoomEnv()
    return env.reset(options={"robot_position": place})[0]


def length(centre, side):
    """How much of each pixel of an axis lies in an interval given in metres."""
    low, high = (32 * (1 + centre + end * side / 2) for end in (-1, 1))
    pixel = np.arange(64)
    return np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, 1)


def centroid(mask):
    rows, columns = np.indices(mask.shape) + 0.5
    return (rows * mask).sum() / mask.sum(), (columns * mask).sum() / mask.sum()


def test_defaults_lie_in_the_training_range_and_that_in_the_test_range():
    for factor in FACTORS:
        ends = [np.array(r) for r in (factor.allowed, factor.test, factor.training)]
        for (low, high), (inner_low, inner_high) in itertools.pairwise(ends):
            assert (low <= inner_low).all() and (inner_high <= high).all(), factor.name
        assert (ends[2][0] <= factor.default).all() and (factor.default <= ends[2][1]).all()
        wider = np.array(factor.test) != np.array(factor.training)
        assert wider.any(), factor.name
        if factor.choices:
            last = len(factor.choices) - 1
            assert factor.whole and factor.allowed == ((0,), (last,)), factor.name
        for low, high in (factor.training, factor.test):  # what has a sign prefers none
            assert min(low) >= 0 or np.array_equal(np.negative(low), high), factor.name


def test_the_documentation_lists_every_factor_with_its_ranges():
    page = (Path(__file__).parents[1] / "docs/environment.md").read_text().replace("−", "-")
    for factor in FACTORS:
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{factor.name}` |"))
        for bounds in (factor.training, factor.test):
            for number in (*bounds[0], *bounds[1]):
                shown = f"`{factor.choices[int(number)]}`" if factor.choices else f"{number:g}"
                assert shown in row


def test_the_robot_stays_the_brightest_and_the_goal_the_reddest():
    low, high = factors.ranges("test")
    contrast = high[PLACES["background_contrast"]][0]
    robot, floor = low[PLACES["robot_colour"]], high[PLACES["floor_colour"]] + contrast
    assert (robot - floor >= 24).all()
    goal_red, goal_green = low[PLACES["goal_colour"]][0], high[PLACES["goal_colour"]][1]
    assert goal_red - floor[0] >= 24 and robot[1] - goal_green >= 64


@pytest.mark.parametrize("name", ["training", "test"])
def test_samples_fill_their_ranges(name):
    drawn = factors.ranges(name)
    uniforms = np.random.default_rng(0).random((4000, factors.COUNT))
    values = np.array([factors.sample(drawn, one) for one in uniforms])
    assert (values >= drawn.low).all() and (values <= drawn.high).all()
    middle = (values - drawn.low).mean(axis=0) / (drawn.high - drawn.low)
    assert np.abs(middle - 0.5).max() < 0.03
    whole = values[:, factors.WHOLE]
    assert (whole == np.floor(whole)).all()
    assert (whole.max(axis=0) == drawn.high[factors.WHOLE]).all()


@pytest.mark.parametrize("walls", [None, "door", "maze"])
def test_with_the_defaults_frames_are_those_of_v0_but_for_the_goals_rim_under_the_robot(walls):
    kwargs = {"walls": walls, "goal": "random"}
    plain, varied = RobotRoomEnv(masks=True, **kwargs), RobotRoomEnv(factors={}, **kwargs)
    differing = 0
    for seed in range(12):
        _, info = plain.reset(seed=seed)
        options = {
            name: info[name]
            for name in ("robot_position", "goal_position", "layout")[: 3 if walls else 2]
        }
        varied.reset(seed=seed, options=options)
        for _ in range(25):
            action = 10 * (info["goal_position"] - info["robot_position"])
            frame, *rest, info = plain.step(action)
            other, *others, _ = varied.step(action)
            assert rest == others
            x, y = info["goal_position"]
            rows, columns = (length(place, 0.24) for place in (-y, x))
            goal = rows[:, None] * columns
            rim = (goal > 0) & (goal < 1) & (info["masks"]["robot"] > 0)
            differing = max(differing, np.abs(frame[rim].astype(int) - other[rim]).max(initial=0))
            np.testing.assert_array_equal(frame[~rim], other[~rim])
    assert (
        differing <= 64
    )  # areas ½ and ½ that lie in the same half, blended as if they were independent


def test_colours_and_the_size_of_the_robot_are_what_was_asked_for():
    values = {
        **{
            "robot_colour": (200, 210, 220),
            "goal_colour": (230, 20, 10),
            "floor_colour": (90, 100, 110),
        },
        **{"robot_size": 0.28, "goal_size": 0.16},
    }
    _, frame, info = fixed(**values)
    for name, mask in (("robot_colour", "robot"), ("goal_colour", "goal")):
        inside = info["masks"][mask] == 1
        assert inside.any() and (frame[inside] == values[name]).all()
    assert frame[2, 2].tolist() == [90, 100, 110]
    pixel = (2 / 64) ** 2
    assert info["masks"]["robot"].sum() * pixel == pytest.approx(0.28**2, rel=1e-5)
    assert info["masks"]["goal"].sum() * pixel == pytest.approx(0.16**2, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "share"), [("square", 1), ("disc", np.pi / 4), ("diamond", 1 / 2), ("triangle", 1 / 2)]
)
def test_shapes_cover_their_area(shape, share):
    for values in (
        {"robot_size": 0.28},
        {"robot_size": 0.28, "camera_rotation": 3, "camera_shift": (1.3, 0.4)},
    ):
        _, _, info = fixed(robot_shape=shape, goal_shape=shape, goal_size=0.32, **values)
        for mask, side in (("robot", 0.28), ("goal", 0.32)):
            assert info["masks"][mask].sum() / 1024 == pytest.approx(share * side**2, rel=0.03)


def test_a_shift_of_whole_pixels_moves_the_frame():
    plain = plain_frame().astype(int)
    _, frame, _ = fixed(camera_shift=(2, -1))  # right and down
    assert np.abs(frame[1:, 2:] - plain[:-1, :-2]).max() <= 1
    assert (frame[:, :2] == 48).all()  # outside the room is wall


def test_a_rotation_turns_the_room_about_its_centre():
    place, angle = np.array([0.7, -0.5]), np.deg2rad(3)
    _, frame, info = fixed(camera_rotation=3, at=place)
    x = np.cos(angle) * place[0] - np.sin(angle) * place[1]
    y = np.sin(angle) * place[0] + np.cos(angle) * place[1]
    assert centroid(info["masks"]["robot"]) == pytest.approx((32 - 32 * y, 32 + 32 * x), abs=0.02)
    assert centroid((frame == 255).all(axis=-1)) == pytest.approx((32 - 32 * y, 32 + 32 * x), abs=0.3)


def test_light_has_its_gain_and_gradient_up_to_white():
    _, frame, _ = fixed(light_gain=0.8, light_gradient=(0.3, -0.2), floor_colour=(100, 100, 100))
    x, y = (np.arange(64) + 0.5) / 32 - 1, 1 - (np.arange(64) + 0.5) / 32
    expected = 100 * 0.8 * (1 + 0.3 * x[None, :] - 0.2 * y[:, None])
    corner = slice(0, 20), slice(0, 20)
    assert np.abs(frame[..., 0][corner] - expected[corner]).max() <= 0.5 + 1e-4
    _, frame, info = fixed(light_gain=1.25, robot_colour=(230, 100, 50))
    assert (frame[info["masks"]["robot"] == 1] == [255, 125, 63]).all()


def test_a_blur_keeps_the_light_and_widens_edges_by_its_variance():
    plain = plain_frame((0.5, -0.5)).astype(float)
    _, blurred, _ = fixed(camera_blur=2, at=(0.5, -0.5))
    for part, channel in ((np.s_[40:, 40:], 1), (np.s_[20:44, 20:44], 1)):  # robot; goal, without red
        before, after = (np.abs(frame[part][..., channel] - 128.0) for frame in (plain, blurred))
        assert after.sum() == pytest.approx(before.sum(), rel=0.01)
        spread = []
        for image in (before, after):
            rows, _ = np.indices(image.shape)
            mean = (rows * image).sum() / image.sum()
            spread.append((((rows - mean) ** 2) * image).sum() / image.sum())
        assert spread[1] - spread[0] == pytest.approx((3**2 - 1) / 12, rel=0.1)


def test_backgrounds_are_plain_checkers_noise_and_a_gradient():
    seen = {}
    for name in factors.BACKGROUNDS:
        _, frame, _ = fixed(background=name, background_contrast=20)
        seen[name] = frame[:16, :16, 0].astype(int) - 128
    assert (seen["plain"] == 0).all()
    assert set(np.unique(seen["checker"])) == {-20, 20}
    assert (seen["checker"][:8, :8] == -seen["checker"][:8, 8:16]).all()
    assert np.abs(seen["noise"]).max() <= 20 and len(np.unique(seen["noise"])) > 8
    assert seen["gradient"][0, 0] == 0 and seen["gradient"][15, 0] == round(-20 * 15 / 32 / 2)


@pytest.mark.parametrize("compiled", KINDS)
def test_speed_friction_and_delay_move_the_robot_as_a_simple_simulator_says(compiled):
    env = RobotRoomEnv(factors=NUMBERS, compiled=compiled, terminate_on_goal=False)
    env.reset(seed=0, options={"robot_position": (0.1, -0.2)})
    generator = np.random.default_rng(1)
    position, queue = [0.1, -0.2], [(0.0, 0.0), (0.0, 0.0)]
    for _ in range(60):
        action = generator.uniform(-1.3, 1.3, 2)
        queue.append(tuple(action))
        for axis, push in enumerate(queue.pop(0)):
            push = max(-1.0, min(1.0, push))
            speed = 1.4 * max(abs(push) - 0.2, 0) * (1 if push > 0 else -1)
            position[axis] = max(-0.9, min(0.9, position[axis] + 0.1 * speed))
        info = env.step(action)[4]
        assert info["robot_position"] == pytest.approx(position, abs=1e-9)


def test_noise_on_actions_has_its_standard_deviation():
    env = RobotRoomVectorEnv(500, factors={"action_noise": 0.3}, terminate_on_goal=False)
    _, info = env.reset(seed=0, options={"robot_position": (0.5, 0.5)})
    moved = env.step(np.zeros((500, 2)))[4]["robot_position"] - info["robot_position"]
    assert moved.std() == pytest.approx(0.03, rel=0.05) and abs(moved.mean()) < 0.003
    moved = env.step(np.ones((500, 2)))[4]["robot_position"] - moved - info["robot_position"]
    assert moved.max() <= 0.1 + 1e-9  # clipped


def test_a_larger_robot_stops_earlier_at_walls():
    for size in (0.12, 0.28):
        env = RobotRoomEnv(factors={"robot_size": size}, walls="door", terminate_on_goal=False)
        env.reset(seed=0, options={"robot_position": (0.5, -0.5), "layout": 44})
        for _ in range(12):
            info = env.step([-1.0, -1.0])[4]
        assert info["robot_position"] == pytest.approx([8 / 32 + size / 2, -1 + size / 2], abs=1e-9)


@pytest.mark.parametrize("walls", [None, "door", "maze"])
def test_the_expert_needs_the_steps_that_the_oracle_says(walls):
    drawn = dict.fromkeys(("speed", "friction", "action_delay", "robot_size", "goal_size"), "test")
    many = {"num_layouts": 100} if walls == "maze" else {}
    env = RobotRoomEnv(factors=drawn, walls=walls, goal="random", oracle_steps=True, **many)
    for seed in range({None: 60, "door": 8, "maze": 3}[walls]):
        _, info = env.reset(seed=seed)
        for step in range(1, info["oracle_steps"] + 1):
            *_, terminated, _, after = env.step(env.expert_action())
            assert terminated == (step == info["oracle_steps"]), (seed, step)
        assert after["is_success"]


def test_no_start_in_the_open_room_can_be_solved_in_fewer_steps():
    drawn = dict.fromkeys(("speed", "friction", "action_delay"), "test")
    env = RobotRoomEnv(factors=drawn, goal="random", oracle_steps=True, factor_info=True)
    for seed in range(200):
        _, info = env.reset(seed=seed)
        now = info["factors"]
        steps = info["oracle_steps"] - int(now["action_delay"])
        length = 0.1 * now["speed"] * (1 - now["friction"])
        delta = np.abs(info["goal_position"] - info["robot_position"])
        fewer, enough = (
            np.hypot(*np.maximum(delta - length * k, 0)) <= room.GOAL_RADIUS for k in (steps - 1, steps)
        )
        assert enough and not fewer


def test_some_of_the_robot_is_always_in_the_frame():
    envs = RobotRoomVectorEnv(300, factors="test", masks=True, terminate_on_goal=False)
    envs.reset(seed=0)
    for corner in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        for _ in range(60):
            envs._rooms._move(np.tile(np.array(corner, float), (300, 1)))
        assert envs._rooms.masks()["robot"].sum(axis=(1, 2)).min() > 0.5


def test_fixing_a_factor_changes_no_other_and_names_may_be_numbers():
    env = gym.make("RobotRoomShifted-v0", factor_info=True)
    free = env.reset(seed=4)[1]["factors"]
    for shape in ("triangle", 3):
        options = {"factors": {"robot_shape": shape, "floor_colour": [1, 2, 3]}}
        now = env.reset(seed=4, options=options)[1]["factors"]
        assert now.pop("robot_shape") == 3 and now.pop("floor_colour").tolist() == [1, 2, 3]
        assert_same(now, {name: free[name] for name in now})
    again = env.reset(seed=4, options={"factors": free})[1]["factors"]
    assert_same(again, free)


def test_each_factor_can_be_varied_alone():
    for name, factor in BY_NAME.items():
        env = RobotRoomEnv(factors={name: "test"}, factor_info=True)
        seen = [env.reset(seed=seed)[1]["factors"] for seed in range(8)]
        for other in BY_NAME:
            values = {str(one[other]) for one in seen}
            assert (len(values) > 1) == (other == name)
        assert all((np.array(one[name]) <= np.array(factor.test[1])).all() for one in seen)


@pytest.mark.parametrize("compiled", KINDS)
def test_a_state_in_the_middle_of_a_delay_goes_on_with_the_same_bits(compiled):
    env = RobotRoomEnv(factors="test", distractors=2, compiled=compiled)
    env.reset(seed=1, options={"factors": {"action_delay": 3}})
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    for action in actions[:5]:
        env.step(action)
    state = copy.deepcopy(env.get_state())
    expected = [env.step(action) for action in actions]
    other = RobotRoomEnv(factors="test", distractors=2, compiled=compiled)
    other.reset(seed=9)
    other.set_state(state)
    assert_same(expected[0], other.step(actions[0]))
    for action, result in zip(actions[1:], expected[1:], strict=True):
        assert_same(result, other.step(action))


def test_the_spec_survives_json():
    kwargs = {"robot_colour": (1, 2, 3), "speed": "test", "background": "checker"}
    env = gym.make("RobotRoom-v0", factors=kwargs)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.params == env.unwrapped.params
    state = env.reset(seed=0) and env.unwrapped.get_state()
    again.unwrapped.set_state(state)


BAD = [
    "both",
    5,
    ["speed"],
    {"speeds": 1},
    {3: 1},
    {"speed": 1.6},
    {"speed": "fast"},
    {"speed": float("nan")},
    {"speed": [1, 1]},
    {"speed": True},
    {"robot_colour": (255, 255)},
    {"robot_colour": (0, 0, 256)},
    {"robot_shape": "star"},
    {"robot_shape": 1.5},
    {"action_delay": 0.5},
    {"action_delay": 4},
    {"light_gradient": 0.1},
    {"camera_blur": None},
]


@pytest.mark.parametrize("value", BAD, ids=str)
def test_bad_factors_are_refused(value):
    for make in (RobotRoomEnv, RobotRoomVectorEnv):
        with pytest.raises(ValueError, match=r"factors: got .*allowed"):
            make(factors=value)
    env = RobotRoomEnv(factors={})
    env.reset(seed=0)
    before = repr(env.get_state())
    with pytest.raises(ValueError, match=r"factors: got .*allowed"):
        env.reset(options={"factors": value})
    assert repr(env.get_state()) == before


def test_contradictory_arguments_are_refused():
    with pytest.raises(ValueError, match=r"factors: got .*allowed: only where factors vary"):
        RobotRoomEnv().reset(options={"factors": {"speed": 1}})
    with pytest.raises(ValueError, match=r"factor_info: got True without factors"):
        RobotRoomEnv(factor_info=True)
    with pytest.raises(ValueError, match=r"oracle_steps: got True with action_noise"):
        RobotRoomEnv(factors="training", oracle_steps=True)
    env = RobotRoomEnv(factors={}, oracle_steps=True)
    with pytest.raises(ValueError, match=r"factors: got .*action_noise"):
        env.reset(options={"factors": {"action_noise": 0.1}})
