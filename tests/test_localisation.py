"""The robot is found in frames by their pixels alone."""

import gymnasium as gym
import numpy as np
import pytest

from robot_room.app.watching.localisation import locate_robot


@pytest.mark.parametrize("seed", range(20))
def test_the_robot_is_found_in_frames_to_half_a_centimetre(seed):
    env = gym.make("RobotRoomRandomGoal-v0")
    frame, info = env.reset(seed=seed)
    found = locate_robot(np.stack([frame, frame[::-1]]))
    np.testing.assert_allclose(found[0], info["robot_position"], atol=0.005)
    np.testing.assert_allclose(found[1], info["robot_position"] * [1, -1], atol=0.005)


def test_where_there_is_no_robot_there_is_no_place():
    assert np.isnan(locate_robot(np.full((1, 64, 64, 3), 128, np.uint8))).all()
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    assert np.isnan(locate_robot(red)).all()
