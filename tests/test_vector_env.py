import copy
import hashlib
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import robot_room
from robot_room import loops

KINDS = [False, True] if loops.available() else [False]  # values of `compiled`
MODES = list(AutoresetMode)
ONE_OF_THE_MODES = [  # the others with all the rest, as they take half a minute
    pytest.param(m, id=m.name, marks=() if m == AutoresetMode.DISABLED else pytest.mark.slow)
    for m in MODES
]
KWARGS = [
    *({"id": name} for name in robot_room.VARIANTS),
    *(
        {"id": "RobotRoomNoisyCamera-v0", "corruption": kind, "severity": severity}
        for kind, severity in (
            ("dead_pixels", 5),
            ("blackout", 2),
            ("occluder", 4),
            ("dropped_frames", 3),
        )
    ),
    {
        "id": "RobotRoomMaze-v0",
        **{"goal": "random", "distractors": 6, "slip": 0.2, "masks": True},
        **{"corruption": "dropped_frames", "severity": 4},
    },
    {"id": "RobotRoomDoor-v0", "oracle_steps": True, "goal": "random", "terminate_on_goal": False},
    {"id": "RobotRoom-v0", "oracle_steps": True, "masks": True, "distractors": 1},
    {
        "id": "RobotRoomShifted-v0",
        **{"walls": "maze", "num_layouts": 9, "goal": "random", "distractors": 3, "slip": 0.1},
        **{"corruption": "dead_pixels", "severity": 2, "masks": True, "factor_info": True},
    },
]
NAMES = [f"{i}-{k['id']}" for i, k in enumerate(KWARGS)]


def assert_same(a, b):
    """The same types, shapes and bits, through tuples, dicts and object arrays."""
    if isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, dict):
        assert isinstance(b, dict) and set(a) == set(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert b.dtype == object and a.shape == b.shape
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                assert_same(x, y)
    else:
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def make(mode, kwargs, native, rooms=5, **more):
    kwargs = {**kwargs, **more, "max_episode_steps": 23}
    name = kwargs.pop("id")
    if native:
        return gym.make_vec(name, rooms, "vector_entry_point", autoreset_mode=mode, **kwargs)
    return gym.make_vec(name, rooms, "sync", vector_kwargs={"autoreset_mode": mode}, **kwargs)


def rollout(envs, mode, steps, seed=11):
    """Everything that an environment returns, copied."""
    generator = np.random.default_rng(seed)
    yield copy.deepcopy(envs.reset(seed=seed))
    position = None
    for _ in range(steps):
        actions = generator.uniform(-1.2, 1.2, (envs.num_envs, 2)).astype(np.float32)
        if position is not None and generator.random() < 0.5:  # towards the goal, so that some arrive
            actions = np.clip(10 * position, -1, 1).astype(np.float32)
        out = envs.step(actions)
        position = out[4]["goal_position"] - out[4]["robot_position"]
        yield copy.deepcopy(out)
        done = out[2] | out[3]
        if mode == AutoresetMode.DISABLED and done.any():
            yield copy.deepcopy(envs.reset(options={"reset_mask": done}))


@pytest.mark.parametrize("compiled", KINDS)
@pytest.mark.parametrize("mode", ONE_OF_THE_MODES)
@pytest.mark.parametrize("kwargs", KWARGS, ids=NAMES)
def test_native_and_sync_give_the_same_bits(kwargs, mode, compiled):
    steps = 60 if "oracle_steps" in kwargs or "masks" in kwargs else 200
    native, sync = make(mode, kwargs, True, compiled=compiled), make(mode, kwargs, False)
    for a, b in zip(rollout(native, mode, steps), rollout(sync, mode, steps), strict=True):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    assert native.np_random_seed == sync.np_random_seed == (11, 12, 13, 14, 15)
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=[m.name for m in MODES])
def test_they_stay_the_same_over_thousands_of_steps(mode):
    kwargs = {"id": "RobotRoomRandomGoal-v0", "slip": 0.1}
    native, sync = make(mode, kwargs, True), make(mode, kwargs, False)
    for a, b in zip(rollout(native, mode, 5000), rollout(sync, mode, 5000), strict=True):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)


@pytest.mark.parametrize("compiled", KINDS)
@pytest.mark.parametrize("kwargs", KWARGS, ids=NAMES)
def test_without_copying_only_the_buffer_is_shared(kwargs, compiled):
    mode = AutoresetMode.SAME_STEP
    fresh, reused = (make(mode, kwargs, True, compiled=compiled, copy=c) for c in (True, False))

    def frames(observation):
        return observation["observation"] if isinstance(observation, dict) else observation

    buffer = frames(reused.reset(seed=0)[0])
    for a, b in zip(rollout(fresh, mode, 60), rollout(reused, mode, 60), strict=True):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    assert np.shares_memory(frames(reused.step(np.zeros((5, 2), np.float32))[0]), buffer)
    with pytest.raises(ValueError, match="read-only"):  # what is not redrawn would stay
        buffer[:] = 7
    first = frames(fresh.step(np.zeros((5, 2), np.float32))[0])
    before = first.copy()
    fresh.step(np.ones((5, 2), np.float32))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("kwargs", KWARGS, ids=NAMES)
def test_a_restored_state_replays_with_the_same_bits(kwargs):
    mode = AutoresetMode.NEXT_STEP
    envs = make(mode, kwargs, True)
    list(rollout(envs, mode, 30))
    state = pickle.loads(pickle.dumps(envs.get_state()))
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 5, 2)).astype(np.float32)
    expected = [copy.deepcopy(envs.step(a)) for a in actions]
    other = make(mode, kwargs, True)
    for restored in (envs, other):
        observation, info = restored.set_state(state)
        assert envs.observation_space.contains(observation) and "distance" in info
        for a, b in zip(expected, actions, strict=True):
            for x, y in zip(a, restored.step(b), strict=True):
                assert_same(x, y)


def test_a_pickled_environment_goes_on_as_the_original():
    envs = make(AutoresetMode.SAME_STEP, KWARGS[0], True, copy=False)
    list(rollout(envs, AutoresetMode.SAME_STEP, 10))
    clone = pickle.loads(pickle.dumps(envs))
    for a in np.random.default_rng(0).uniform(-1, 1, (50, 5, 2)).astype(np.float32):
        for x, y in zip(envs.step(a), clone.step(a), strict=True):
            assert_same(x, y)


@pytest.mark.parametrize(
    "mask",
    [np.zeros(5, bool), np.ones(4, bool), np.ones(5), [True] * 5, "all", np.ones((5, 1), bool)],
)
def test_a_bad_reset_mask_is_refused(mask):
    envs = make(AutoresetMode.DISABLED, KWARGS[0], True)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"(?s)reset_mask: got .*allowed"):
        envs.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("seed", [-1, 1.5, "one", [1, 2], [0, 1, 2, 3, -4], True])
def test_a_bad_seed_is_refused_and_changes_nothing(seed):
    envs, reference = (make(AutoresetMode.NEXT_STEP, KWARGS[0], True) for _ in range(2))
    envs.reset(seed=3)
    with pytest.raises(ValueError, match=r"seed: got .*allowed"):
        envs.reset(seed=seed)
    reference.reset(seed=3)
    for x, y in zip(envs.reset(), reference.reset(), strict=True):
        assert_same(x, y)


def test_an_error_in_one_room_leaves_the_rooms_before_it_alone():
    """A position that is inside a wall in some mazes only, so that some rooms have drawn theirs."""
    envs, reference = (gym.make_vec("RobotRoomMaze-v0", 4) for _ in range(2))
    for one in (envs, reference):
        one.reset(seed=5)
    options = {"robot_position": (-0.42, -0.6)}
    kept = envs.get_state()
    failed = 0
    for _ in range(20):
        try:
            envs.reset(options=options)
            envs.set_state(kept)
        except ValueError:
            failed += 1
            assert_same(envs.reset()[0], reference.reset()[0])
            kept = envs.get_state()
    assert failed > 3


def test_a_failed_first_reset_draws_nothing():
    envs = make(AutoresetMode.NEXT_STEP, KWARGS[0], True)
    with pytest.raises(ValueError, match="robot_position"):
        envs.reset(options={"robot_position": (5, 5)})
    assert set(envs._generators) == {None}


def test_seeds_may_be_arrays_and_numpy_numbers():
    envs = make(AutoresetMode.NEXT_STEP, KWARGS[0], True)
    expected = envs.reset(seed=3)[0]
    for seed in (np.array(3), np.int64(3), np.arange(3, 8), (3, 4, 5, 6, 7)):
        np.testing.assert_array_equal(envs.reset(seed=seed)[0], expected)


def test_masks_of_infos_are_arrays_of_their_own():
    info = make(AutoresetMode.NEXT_STEP, KWARGS[0], True).reset(seed=0)[1]
    info["_distance"][:] = False
    assert info["_is_success"].all()


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match=r"RobotRoomVectorEnv got unexpected arguments \['fog'\]"):
        gym.make_vec("RobotRoom-v0", 2, fog=1)


def test_a_list_of_seeds_leaves_rooms_without_one_alone():
    envs = make(AutoresetMode.NEXT_STEP, KWARGS[0], True, rooms=3)
    envs.reset(seed=0)
    once = envs.reset(seed=[7, None, 9])[1]["robot_position"]
    again = envs.reset(seed=[7, None, 9])[1]["robot_position"]
    assert (once == again).all(axis=1).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"num_envs": 0},
        {"num_envs": 2.0},
        {"max_episode_steps": 0},
        {"autoreset_mode": "Never"},
        {"copy": 1},
        {"masks": "yes"},
        {"render_mode": "ansi"},
        {"compiled": 1},
        {"oracle_steps": 1},
    ],
)
def test_a_bad_argument_is_refused(kwargs):
    from robot_room.vector_env import RobotRoomVectorEnv

    with pytest.raises(ValueError, match=f"{next(iter(kwargs))}: got .*allowed"):
        RobotRoomVectorEnv(**kwargs)


def test_stepping_past_the_end_without_autoreset_is_refused():
    envs = make(AutoresetMode.DISABLED, KWARGS[0], True, rooms=2)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.zeros((2, 2), np.float32))
    with pytest.raises(gym.error.ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    for _ in range(23):
        envs.step(np.zeros((2, 2), np.float32))
    with pytest.raises(gym.error.ResetNeeded, match=r"rooms \[0, 1\]"):
        envs.step(np.zeros((2, 2), np.float32))


def test_the_expert_needs_a_room_that_has_been_reset():
    envs = make(AutoresetMode.DISABLED, KWARGS[0], True, rooms=2)
    with pytest.raises(gym.error.ResetNeeded, match="expert_actions"):
        envs.expert_actions()
    envs.reset(seed=0)
    assert envs.expert_actions().shape == (2, 2)


def test_resetting_some_rooms_leaves_the_others_as_they_were():
    envs = make(AutoresetMode.DISABLED, KWARGS[0], True, rooms=3)
    envs.reset(seed=0)
    for _ in range(23):
        envs.step(np.zeros((3, 2), np.float32))
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    with pytest.raises(gym.error.ResetNeeded, match=r"rooms \[0, 2\]"):  # they are still over
        envs.step(np.zeros((3, 2), np.float32))


def test_a_state_remembers_which_episodes_are_over():
    envs = make(AutoresetMode.NEXT_STEP, KWARGS[0], True, rooms=2)
    envs.reset(seed=0)
    stay = np.zeros((2, 2), np.float32)
    while not envs.step(stay)[3].all():
        pass
    over = envs.get_state()
    assert over["done"].all()
    other = make(AutoresetMode.NEXT_STEP, KWARGS[0], True, rooms=2)
    other.reset(seed=5)
    other.set_state(over)
    for x, y in zip(envs.step(stay), other.step(stay), strict=True):
        assert_same(x, y)
    other.set_state(envs.get_state())  # and which are not
    assert not other.get_state()["done"].any()


def test_pictures_and_the_window():
    envs = make(AutoresetMode.NEXT_STEP, KWARGS[3], True, render_mode="rgb_array")
    envs.reset(seed=0)
    single = gym.make("RobotRoomDoor-v0", render_mode="rgb_array")
    single.reset(seed=1)
    np.testing.assert_array_equal(envs.render()[1], single.render())

    import pygame

    envs = make(AutoresetMode.NEXT_STEP, KWARGS[3], True, render_mode="human")
    envs.reset(seed=0)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    envs.close()
    assert shown.shape == (42 + 384 + 16, 384 + 2 * 16, 3)  # 3 by 3 rooms, and a title above
    wall = shown[42 : 42 + 384, 16 : 16 + 384]
    assert wall[:256].std() > 10 and not wall[256:, 256:].any()
    rooms = make(AutoresetMode.NEXT_STEP, KWARGS[3], True, render_mode="rgb_array")
    rooms.reset(seed=0)
    first = wall[:128, :128].astype(int)  # of 512 pixels, shown as 128
    assert np.abs(first - np.asarray(rooms.render()[0])[2::4, 2::4]).mean() < 4


def test_observations_are_drawn_into_a_buffer_of_the_caller():
    mode = AutoresetMode.SAME_STEP
    plain, filling = (make(mode, KWARGS[1], True) for _ in range(2))
    storage = np.zeros((31, 5, 64, 64, 3), np.uint8)

    class Filling:
        num_envs, time = 5, 0

        def reset(self, seed):
            filling.set_buffer(storage[0])
            return filling.reset(seed=seed)

        def step(self, actions):
            self.time += 1
            if self.time % 3:  # sometimes the same one again, of which only a part is redrawn
                filling.set_buffer(storage[self.time])
            return filling.step(actions)

    for a, b in zip(rollout(plain, mode, 30), rollout(Filling(), mode, 30), strict=True):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    filling.set_buffer(storage[30])
    shown = filling.step(np.zeros((5, 2), np.float32))[0]
    assert np.shares_memory(shown, storage[30]) and not shown.flags.writeable
    filling.set_buffer(None)
    assert filling.step(np.zeros((5, 2), np.float32))[0].flags.owndata


def test_another_process_sees_observations_in_shared_memory():
    from multiprocessing.shared_memory import SharedMemory

    envs = make(AutoresetMode.NEXT_STEP, KWARGS[0], True)
    shape = envs.observation_space.shape
    memory = SharedMemory(create=True, size=int(np.prod(shape)))
    try:
        envs.set_buffer(np.ndarray(shape, np.uint8, memory.buf))
        envs.reset(seed=0)
        expected = make(AutoresetMode.NEXT_STEP, KWARGS[0], True).reset(seed=0)[0]
        code = (
            "import hashlib, sys\n"
            "from multiprocessing import resource_tracker\n"
            "from multiprocessing.shared_memory import SharedMemory\n"
            f"memory = SharedMemory({memory.name!r})\n"
            "resource_tracker.unregister(memory._name, 'shared_memory')\n"  # its owner removes it
            f"print(hashlib.sha256(memory.buf[:{expected.size}]).hexdigest())\n"
            "memory.close()"
        )
        seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert seen.stdout.strip() == hashlib.sha256(expected.tobytes()).hexdigest()
    finally:
        envs.set_buffer(None)
        memory.close()
        memory.unlink()


@pytest.mark.parametrize(
    "buffer",
    [
        np.zeros((4, 64, 64, 3), np.uint8),
        np.zeros((5, 64, 64, 3)),
        np.zeros((5, 3, 64, 64), np.uint8).transpose(0, 2, 3, 1),
        np.broadcast_to(np.uint8(0), (5, 64, 64, 3)),
        "here",
        [],
    ],
    ids=["rooms", "type", "order", "read-only", "text", "list"],
)
def test_a_bad_buffer_is_refused(buffer):
    envs = make(AutoresetMode.NEXT_STEP, KWARGS[0], True)
    before = envs.reset(seed=0)[0]
    with pytest.raises(ValueError, match=r"buffer: got .*allowed"):
        envs.set_buffer(buffer)
    np.testing.assert_array_equal(envs.set_state(envs.get_state())[0], before)


@pytest.mark.parametrize("kernels", [loops._kernels] if loops.available() else [])
def test_the_kernels_refuse_arrays_that_do_not_fit(kernels):
    rooms, frames = np.zeros((5, 2)), np.zeros((5, 64, 64, 3), np.uint8)
    colours, none = np.zeros((6, 3)), (None,) * 4
    with pytest.raises(ValueError, match="move: the lengths"):
        kernels.move(rooms, rooms[:4], None, rooms, *none, np.zeros(5), np.zeros(5, np.bool_))
    with pytest.raises(ValueError, match="draw: the lengths"):
        kernels.draw(frames, frames[:4], rooms, rooms, None, colours, *none)
    with pytest.raises(ValueError, match="add_gaussian: the lengths"):
        kernels.add_gaussian(frames, *np.zeros((2, 9), np.uint8), *np.zeros((2, 5), np.uint64))
    with pytest.raises(TypeError, match="3 arguments"):
        kernels.draw(frames, frames, rooms)
    with pytest.raises(ValueError, match="contiguous"):
        kernels.move(
            np.zeros((5, 4))[:, ::2], rooms, None, rooms, *none, np.zeros(5), np.zeros(5, np.bool_)
        )
