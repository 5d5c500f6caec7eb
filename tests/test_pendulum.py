import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from agent.collection import as_vector_env, single_spec
from benchmarks.comparison.pendulum import ENV_ID, SIDE, recipe
from robot_room.app.evaluation.policies import Uniform
from robot_room.app.evaluation.protocol import evaluate

pytestmark = pytest.mark.slow


def test_an_image_is_the_last_two_frames_of_the_pendulum():
    env, plain = gym.make(ENV_ID), gym.make("Pendulum-v1", render_mode="rgb_array")
    observation, _ = env.reset(seed=3)
    plain.reset(seed=3)
    np.testing.assert_array_equal(observation[..., :3], observation[..., 3:])
    for action in np.linspace(-2, 2, 5, dtype=np.float32)[:, None]:
        before = observation
        observation, reward, *_ = env.step(action)
        assert reward == plain.step(action)[1]
        np.testing.assert_array_equal(observation[..., :3], before[..., 3:])
        blocks = plain.render()[2:498, 2:498].astype(float)  # 500 pixels are no multiple of 64
        assert observation.shape == (SIDE, SIDE, 6)
        assert abs(observation[..., 3:].mean() - blocks.mean()) < 2
    env.close()


@pytest.mark.filterwarnings("ignore:.*normalized space")  # the pendulum, which is not ours
def test_it_is_an_environment_that_its_spec_makes_again():
    check_env(gym.make(ENV_ID).unwrapped, skip_render_check=True)
    spec = single_spec(as_vector_env(ENV_ID, 2))
    assert spec is not None and gym.make(spec).spec.max_episode_steps is None
    assert recipe().planner.horizon == 20


def test_random_play_is_as_bad_as_is_known():
    """About −1,200 over 200 steps is what everybody reports."""
    result = evaluate(Uniform(gym.make(ENV_ID).action_space, 0), ENV_ID, 20, seed=0)
    assert (result.steps == 200).all() and -1500 < result.returns.mean() < -900
