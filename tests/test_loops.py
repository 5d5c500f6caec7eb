"""The loops in C and in numpy compute the same, and the right ones are used."""

import importlib.util
import zlib

import gymnasium as gym
import numpy as np
import pytest
from test_vector_env import KINDS

from robot_room import loops


def test_compiled_loops_of_another_source_are_not_used(tmp_path):
    """A clone whose source was updated, and not compiled again, would compute something else."""
    source = tmp_path / "_kernels.c"
    assert not loops.outdated(source, 1)  # there may be none
    source.write_bytes(b"int x;")
    assert not loops.outdated(source, zlib.crc32(b"int x;") >> 1)
    assert loops.outdated(source, zlib.crc32(b"int y;") >> 1)
    assert loops.outdated(source, None)  # compiled before there were checksums
    assert loops.available()  # and those in use are of their source


@pytest.mark.parametrize("kernels", [loops._kernels] if loops.available() else [])
def test_a_changed_source_is_told_on_import(monkeypatch, kernels):
    spec = importlib.util.spec_from_file_location("imported_anew", loops.__file__)
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert anew.available()
    monkeypatch.setattr(kernels, "SOURCE_CRC", kernels.SOURCE_CRC ^ 1)
    with pytest.warns(UserWarning, match="_kernels.c has changed since it was compiled"):
        spec.loader.exec_module(anew)
    assert not anew.available()


def test_the_compiled_loops_are_used_where_there_are_any(monkeypatch):
    assert type(loops.make_loops(2, 0, False)) is loops.NumpyLoops
    expected = loops.CompiledLoops if loops.available() else loops.NumpyLoops
    assert type(loops.make_loops(2, 0, None)) is expected
    monkeypatch.setattr(loops, "_kernels", None)
    assert not loops.available()
    assert type(loops.make_loops(2, 0, None)) is loops.NumpyLoops
    with pytest.raises(ImportError, match="compiled=True: this installation has no compiled loops"):
        loops.make_loops(2, 0, True)


@pytest.mark.parametrize("walls", [None, "door", "maze"])
def test_rooms_of_all_factors_are_the_same_in_c_and_in_numpy(walls):
    """Textures, shapes, light, camera, delay and noise, drawn from the widest ranges."""
    made = []
    for compiled in KINDS:
        envs = gym.make_vec(
            "RobotRoomShifted-v0",
            24,
            "vector_entry_point",
            compiled=compiled,
            max_episode_steps=9,
            **{"walls": walls, "goal": "random", "distractors": 3, "slip": 0.1},
            **{"corruption": "dead_pixels", "severity": 2},
        )
        generator = np.random.default_rng(0)
        frames, infos = envs.reset(seed=0)
        seen = [(frames.copy(), infos["robot_position"].copy())]
        for _ in range(20):
            actions = generator.uniform(-1.2, 1.2, (24, 2)).astype(np.float32)
            frames, _, _, _, infos = envs.step(actions)
            seen.append((frames.copy(), infos["robot_position"].copy()))
        made.append(seen)
    for numpy, compiled in zip(*made, strict=True):
        for one, other in zip(numpy, compiled, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("compiled", KINDS)
def test_actions_are_clipped_before_they_are_scaled_and_delayed(compiled):
    made = loops.make_loops(3, 0, compiled)
    actions = np.array([[1.5, -3.0], [0.25, 1.0], [-1.0, 2.0]])
    pending = np.zeros((3, 3, 2))
    dynamics = np.array([[0.5, 0, 0, 0], [1.0, 0, 0, 0], [1.0, 0, 1, 0]], np.float64)
    key, step, velocity = np.zeros(3, np.uint64), np.ones(3, np.int64), np.empty((3, 2))
    made.push(actions, pending, dynamics, key, step, velocity)
    np.testing.assert_allclose(velocity, [[0.5, -0.5], [0.25, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(pending[:, 0], np.clip(actions, -1, 1))
    made.push(np.zeros((3, 2)), pending, dynamics, key, step + 1, velocity)
    np.testing.assert_allclose(velocity, [[0, 0], [0, 0], [-1.0, 1.0]])
