"""Layouts from outside: masks, drawings and generators are rooms like the project's own."""

import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from scipy import ndimage

import robot_room
from robot_room import layouts, loops, oracle, room
from robot_room.env import RobotRoomEnv
from robot_room.room import RoomParams
from robot_room.vector_env import RobotRoomVectorEnv
from robot_room.wall_masks import GENERATORS, as_mask, canonical, drawing

COMPILED = [False, pytest.param(True, marks=pytest.mark.skipif(not loops.available(), reason="none"))]
CROSS = "........\n" * 3 + "..#..#..\n" + "........\n" * 4


def pillars(number):
    """Two to six round pillars, away from the centre."""
    generator = np.random.default_rng(number)
    row, column = np.mgrid[:64, :64] - 31.5
    mask = np.zeros((64, 64), bool)
    for _ in range(int(generator.integers(2, 7))):
        angle, far = generator.uniform(0, 2 * np.pi), generator.uniform(15, 20)
        mask |= (row - far * np.sin(angle)) ** 2 + (column - far * np.cos(angle)) ** 2 < 5
    return mask


def posts(number):
    """Some of twelve square posts."""
    places = [(r, c) for r in (2, 5, 10, 13) for c in (2, 5, 10, 13) if {r, c} & {2, 13}]
    generator, mask = np.random.default_rng(number), np.zeros((16, 16), bool)
    for place in generator.choice(places, generator.integers(1, 5), replace=False):
        mask[tuple(place)] = True
    return mask


@pytest.fixture(autouse=True)
def registered():
    before = dict(GENERATORS)
    robot_room.register_layout("pillars", pillars)
    robot_room.register_layout("posts", posts)
    yield
    GENERATORS.clear()
    GENERATORS.update(before)


def rollout(env, steps=60, seed=0, options=None):
    """Everything that an environment tells, with random actions, often pushing on."""
    generator = np.random.default_rng(seed)
    told, action = [env.reset(seed=seed, options=options)], np.zeros(2)
    for _ in range(steps):
        if generator.random() < 0.3:
            action = generator.uniform(-1.5, 1.5, 2)
        told.append(env.step(action))
    return told


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:-1] == b[1:-1]
        for name in a[-1]:
            if name == "masks":
                for key, mask in a[-1]["masks"].items():
                    np.testing.assert_array_equal(mask, b[-1]["masks"][key])
            elif name != "layout":
                np.testing.assert_array_equal(a[-1][name], b[-1][name])


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize(("kind", "number"), [("door", 0), ("door", 21), ("door", 44), ("maze", 3)])
def test_the_mask_of_one_of_the_rooms_own_layouts_is_that_room(kind, number, compiled):
    several = {"num_layouts": 10} if kind == "maze" else {}
    own = RobotRoomEnv(walls=kind, masks=True, oracle_steps=True, compiled=compiled, **several)
    mask = layouts.layout(own.params, number).mask
    mine = RobotRoomEnv(walls=mask, masks=True, oracle_steps=True, compiled=compiled)
    start = {"robot_position": (-0.8, 0.6)}
    assert_same(rollout(own, options={"layout": number, **start}), rollout(mine, options=start))
    own.reset(options={"layout": number, "robot_position": (-0.8, 0.6)})
    mine.reset(options=start)
    np.testing.assert_array_equal(own.expert_action(), mine.expert_action())


@pytest.mark.parametrize("compiled", COMPILED)
def test_many_layouts_in_a_vector_environment_are_those_of_single_ones(compiled):
    arguments = {"walls": "posts", "num_layouts": 50, "goal": "random", "compiled": compiled}
    many = RobotRoomVectorEnv(6, max_episode_steps=5, copy=False, oracle_steps=True, **arguments)
    single = [RobotRoomEnv(oracle_steps=True, **arguments) for _ in range(6)]
    frames, infos = many.reset(seed=5)
    told = [env.reset(seed=5 + i) for i, env in enumerate(single)]
    generator, edges = np.random.default_rng(0), set()
    for _ in range(30):
        for i, (frame, info) in enumerate(told):
            np.testing.assert_array_equal(frames[i], frame)
            for name in ("robot_position", "layout", "oracle_steps"):
                np.testing.assert_array_equal(infos[name][i], info[name])
            edges.add(layouts.layout(many.params, info["layout"]).walls.x_edges.shape)
        actions = generator.uniform(-1, 1, (6, 2))
        done = infos.get("done", np.zeros(6, bool))
        frames, _, terminated, truncated, infos = many.step(actions)
        told = [env.reset() if done[i] else env.step(actions[i])[::4] for i, env in enumerate(single)]
        infos["done"] = terminated | truncated
    assert len(edges) > 2  # of different numbers of edges


@pytest.mark.skipif(not loops.available(), reason="none")
def test_the_compiled_loops_give_the_same_bits():
    for number in range(3):
        one, other = (RobotRoomEnv(walls=pillars(number), compiled=each) for each in (False, True))
        assert_same(rollout(one, seed=number), rollout(other, seed=number))


def test_moves_are_those_of_a_square_pushed_in_small_steps():
    mask = pillars(1)
    walls = layouts.layout(RoomParams(walls=mask), 0).walls
    generator, moved, stopped = np.random.default_rng(0), 0, 0
    while moved < 200:
        start = generator.uniform(-0.9, 0.9, 2)
        if not room.is_clear(start, room.ROBOT_SIDE, mask):
            continue
        action = generator.uniform(-1, 1, 2)
        there = room.transition(start[None], action[None], None, walls)[0]
        place = start.copy()
        for axis in (0, 1):
            for _ in range(100):  # of 1 % of the way
                tried = place.copy()
                tried[axis] += action[axis] * room.STEP_LENGTH / 100
                tried = np.clip(tried, -room.ROBOT_LIMIT, room.ROBOT_LIMIT)
                if room.is_clear(tried, room.ROBOT_SIDE, mask):
                    place = tried
        # A corner that is just missed may be met by the other.
        near = np.abs(place - there).max() < 2e-3
        stopped += near and np.abs(there - start - room.STEP_LENGTH * action).max() > 1e-3
        moved += 1
        assert near or not room.is_clear(there + 2e-3 * np.sign(there - place), room.ROBOT_SIDE, mask)
        assert room.is_clear(there, room.ROBOT_SIDE, mask)
    assert stopped > 10


def test_the_expert_needs_the_smallest_number_of_steps():
    env = RobotRoomEnv(walls=CROSS, goal="random", oracle_steps=True)
    for seed in range(5):
        _, info = env.reset(seed=seed)
        length, now = 0, info
        while not now["is_success"] and length < 60:
            now, length = env.step(env.expert_action())[-1], length + 1
        assert now["is_success"] and length == info["oracle_steps"]
        straight = oracle.min_steps(info["robot_position"][None], info["goal_position"][None])
        assert length >= straight[0]


def test_connectedness_is_that_of_a_fine_grid():
    """A robot's side is 6.4 pixels, 32 fifths of one: on that grid squares are counted exactly."""
    generator, found = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(40):
        mask = np.kron(generator.random((8, 8)) < 0.25, np.ones((8, 8), bool))
        mask |= np.kron(generator.random((64, 64)) < 0.001, np.ones((1, 1), bool))
        mask[24:40, 24:40] = False
        fine = np.pad(np.kron(mask, np.ones((5, 5))).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        overlap = fine[32:, 32:] - fine[:-32, 32:] - fine[32:, :-32] + fine[:-32, :-32]
        connected = ndimage.label(overlap == 0)[1] == 1
        found[connected] += 1
        try:
            layouts.layout(RoomParams(walls=mask), 0)
            accepted = True
        except ValueError as error:
            accepted = False
            assert "parts to be in" in str(error)
        assert accepted == connected
    assert min(found.values()) > 3


def test_a_drawing_is_its_mask_and_fits_into_json():
    mask = as_mask(CROSS)
    assert mask.shape == (64, 64) and mask[24:32, 16:24].all() and mask.sum() == 2 * 64
    assert drawing(mask) == CROSS.strip() == canonical(mask) == canonical(mask.astype(int) * 255)
    assert (as_mask(drawing(pillars(0))) == pillars(0)).all()
    spec = gym.make("RobotRoom-v0", walls=CROSS).spec
    again = gym.make(EnvSpec.from_json(spec.to_json()))
    np.testing.assert_array_equal(again.reset(seed=1)[0], gym.make(spec).reset(seed=1)[0])
    state = again.unwrapped.get_state()
    json.dumps(state["settings"])
    assert pickle.loads(pickle.dumps(RoomParams(walls=mask))) == RoomParams(walls=CROSS)


def test_an_agents_state_tells_which_of_several_layouts_it_is_in():
    env = RobotRoomEnv(walls="pillars", num_layouts=3, observation="state")
    observation, info = env.reset(seed=0)
    seen = observation[4:].reshape(64, 64) > 0
    assert (seen == pillars(info["layout"])).all()
    assert RobotRoomEnv(walls=CROSS, observation="state").observation_space.shape == (4,)


def test_seeds_of_layouts_share_no_number():
    calls = []
    robot_room.register_layout("counted", lambda number: calls.append(number) or pillars(number))
    for seed in (0, 1):
        env = RobotRoomEnv(walls="counted", num_layouts=5, layout_seed=seed)
        for number in range(5):
            env.reset(options={"layout": number})
    assert set(calls) == {*range(5), *range(10_000, 10_005)}


def test_a_robot_that_varies_in_size_needs_wider_openings():
    gap = np.zeros((64, 64), bool)
    gap[16:18, :28] = gap[16:18, 36:] = True  # 8 pixels, a quarter of a metre
    RobotRoomEnv(walls=gap)
    with pytest.raises(ValueError, match=r"robot of 0\.2\d+ m has 2 parts .* openings need 9 pixels"):
        RobotRoomEnv(walls=gap, factors="training")
    gap[16:18, :27] = gap[16:18, 36:] = True
    gap[16:18, 27] = False
    env = RobotRoomEnv(walls=gap, factors={"robot_size": "test"}, oracle_steps=True)
    for seed in range(3):
        _, info = env.reset(seed=seed, options={"factors": {"robot_size": 0.28}})
        assert info["oracle_steps"] > 0


HALVES = np.zeros((64, 64), bool)
HALVES[:, 50] = True
POCKET = np.zeros((64, 64), bool)
POCKET[:9, 9] = POCKET[9, :10] = True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"walls": HALVES}, r"walls: got mask 0, where a robot of 0\.2 m has 2 parts"),
        ({"walls": POCKET}, "has 2 parts .* openings need 7 pixels"),
        ({"walls": np.ones((64, 64), bool)}, "has 0 parts"),
        ({"walls": "....\n.##.\n.##.\n....", "goal": "centre"}, "wall at the centre.*goal='random'"),
        ({"walls": np.zeros((63, 63), bool)}, r"mask of shape \(63, 63\), allowed: a square"),
        ({"walls": np.full((64, 64), 0.5)}, r"mask of float64 with \[0\.5\]"),
        ({"walls": "..\n.x"}, "got the drawing"),
        ({"walls": "..\n."}, "walls: got a mask of shape"),
        ({"walls": "spiral"}, "walls: got 'spiral', allowed: None, door, maze, .*pillars, posts, a"),
        ({"walls": 5}, "walls: got 5, allowed: None, door"),
        ({"walls": CROSS, "num_layouts": 3}, "num_layouts, layout_seed: got 3, 0"),
    ],
)
def test_layouts_that_no_room_could_have_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        RobotRoomEnv(**arguments)
    with pytest.raises(ValueError, match=message):
        gym.make_vec("RobotRoom-v0", 2, "vector_entry_point", **arguments)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(28, 36), slice(28, 36)),  # for nothing
        (slice(20, 42), slice(20, 42)),  # for starts far enough from the goal
        (slice(28, 35), slice(0, 64)),  # for the goal: the robot is narrower
    ],
)
def test_a_room_too_small_for_a_start_is_refused(rows, columns):
    tiny = np.ones((64, 64), bool)
    tiny[rows, columns] = False
    with pytest.raises(ValueError, match="of the room are free for robot and goal"):
        RobotRoomEnv(walls=tiny, goal="random")


def test_starts_keep_their_distance_from_a_goal_at_the_centre():
    """Of a short corridor nothing is left, which it has where the goal is anywhere."""
    corridor = np.ones((64, 64), bool)
    corridor[28:37, 14:50] = False
    RobotRoomEnv(walls=corridor, goal="random").reset(seed=0)
    with pytest.raises(ValueError, match="of the room are free for robot and goal"):
        RobotRoomEnv(walls=corridor)


@pytest.mark.parametrize(
    ("name", "generator", "message"),
    [
        ("door", pillars, "name: got 'door'"),
        (5, pillars, "name: got 5"),
        ("mine", 5, "generator: got 5"),
    ],
)
def test_names_and_generators_are_checked(name, generator, message):
    with pytest.raises(ValueError, match=message):
        robot_room.register_layout(name, generator)


def test_a_layout_that_turns_out_bad_is_named():
    robot_room.register_layout("later", lambda number: HALVES if number == 2 else pillars(number))
    env = RobotRoomEnv(walls="later", num_layouts=3)
    env.reset(seed=0, options={"layout": 1})
    with pytest.raises(ValueError, match="walls: got later 2"):
        env.reset(options={"layout": 2})
