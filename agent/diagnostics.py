"""World model diagnostics: prediction error, calibration, linear probes, foreground error."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.actions import action_size, nearest, scale_actions
from agent.agent import Agent
from agent.networks import ridge
from agent.world_model import WorldModel

PARTICLES = 256  # imagined rollouts per episode
PENALTY = 1e-5  # of linear probes, too little to be seen where there are few latents
Curve = list[float]


class RandomRollouts(NamedTuple):
    """E episodes of T frames with random actions, and ground-truth positions."""

    frames: NDArray[np.uint8]  # (E, T, H, W, C)
    actions: NDArray[np.float32]  # (E, T − 1, A), in [−1, 1]
    rewards: NDArray[np.float64]  # (E, T), the first is a placeholder
    positions: dict[str, NDArray[np.float64]]  # by name, (E, T, 2), in metres


def random_rollouts(agent: Agent, seed: int, episodes: int = 100, length: int = 13) -> RandomRollouts:
    """Roll out random actions in the agent's environment; shorter episodes are discarded.

    If too few episodes reach `length`, all are truncated to the length that enough of them reach.
    Each action is repeated with probability 0.7, to produce longer displacements.

    Raises:
        ValueError: episodes are too short to measure predictions.
    """
    assert agent.env_spec is not None
    env, generator = gym.make(agent.env_spec), np.random.default_rng(seed)
    size = action_size(agent.action_space)

    def drawn() -> NDArray[np.float32]:
        action = generator.uniform(-1, 1, (1, size)).astype(np.float32)
        return nearest(agent.action_space, action)[0]

    rollouts: list[tuple[list[Any], ...]] = []
    attempts = 5 * episodes
    while attempts and sum(len(rollout[0]) == length for rollout in rollouts) < episodes:
        attempts -= 1
        frame, info = env.reset(seed=int(generator.integers(2**31)))
        frames, actions, rewards, infos = [frame], [], [0.0], [info]
        action = drawn()
        for _ in range(length - 1):
            if generator.random() > 0.7:
                action = drawn()
            frame, reward, terminated, truncated, info = env.step(
                scale_actions(agent.action_space, action)
            )
            frames.append(frame)
            actions.append(action)
            rewards.append(float(reward))
            infos.append(info)
            if terminated or truncated:
                break
        rollouts.append((frames, actions, rewards, infos))
    env.close()
    length = sorted(len(rollout[0]) for rollout in rollouts)[-episodes]
    if length < 3:
        raise ValueError(f"env: got episodes of {length - 1} steps, allowed: 2 at least to imagine")
    rollouts = [rollout for rollout in rollouts if len(rollout[0]) >= length][:episodes]
    names = [name for name, value in rollouts[0][3][0].items() if name.endswith("_position")]
    positions = {
        name: np.array(
            [[info[name] for info in rollout[3][:length]] for rollout in rollouts], np.float64
        )
        for name in names
    }
    frames = np.stack([rollout[0][:length] for rollout in rollouts])
    actions = np.stack([rollout[1][: length - 1] for rollout in rollouts])
    rewards = np.array([rollout[2][:length] for rollout in rollouts])
    return RandomRollouts(frames, actions, rewards, positions)


@torch.no_grad()
def diagnose(agent: Agent, rollouts: RandomRollouts) -> dict[str, float | Curve]:
    """Measure a world model on `rollouts`.

    Returns:
        Per horizon k = 1..T − 1, predicted from the belief after the first frame and the actions:
            `frame_rmse`, in units of a pixel's range, with two baselines: `frame_rmse_copy` repeats
                the first frame, and `frame_rmse_mean` predicts the mean frame;
            `reward_rmse`, in the environment's units, with the baseline `reward_rmse_copy`, which
                repeats the model's reward for the first frame;
            `calibration_ratio`: root mean square of (z − predicted mean) / predicted std over z drawn
                from the belief. 1 is calibrated; above 1 the transition is overconfident.
        Scalars:
            `coverage_90`: the fraction of next latents inside the transition's central 90 % interval;
            `foreground_explained`: 1 − ‖frame − reconstruction‖² / ‖frame − mean frame‖². Small
                objects count here: at 0 the reconstruction is no better than the mean frame;
            `probe_NAME_cm` for each position that the environment reports: root mean square error, cm,
                of a linear probe on z, fitted on half of the episodes and tested on the other half;
            `chance_NAME_cm`: the same for a constant prediction.
    """
    model, device = agent.world_model, agent.device
    frames = torch.from_numpy(rollouts.frames).to(device)
    actions = torch.from_numpy(rollouts.actions).to(device)
    rewards = torch.from_numpy(rollouts.rewards).float().to(device)
    belief = beliefs(model, frames, actions)  # means and stds, (E, T, D)
    (means, stds), (episodes, steps) = belief, frames.shape[:2]

    result: dict[str, float | Curve] = {}
    particles = (means[:, 0, None] + stds[:, 0, None] * _noise(episodes, means, seed=0)).flatten(0, 1)
    z, curves, inside = means[:, 0], {}, []
    copied_reward = model.reward(z)
    for t in range(1, steps):
        action = actions[:, t - 1]
        z = model.transition(z, action).mean
        future = model.transition(particles, action.repeat_interleave(PARTICLES, 0))
        particles = future.mean + future.std * _noise(episodes, means, seed=t).flatten(0, 1)
        spread = particles.view(episodes, PARTICLES, -1)
        surprise = (means[:, t] - spread.mean(1)).square() + stds[:, t].square()
        one_step = model.transition(means[:, t - 1], action)
        inside.append(((means[:, t] - one_step.mean) / one_step.std).abs() < 1.6449)
        for name, error in {
            "frame_rmse": _frames_apart(model.decode(z), frames[:, t]),
            "frame_rmse_copy": _frames_apart(frames[:, 0], frames[:, t]),
            "frame_rmse_mean": _frames_apart(255 * model.mean_frame[None], frames[:, t]),
            "reward_rmse": (model.reward(z) - rewards[:, t]).square(),
            "reward_rmse_copy": (copied_reward - rewards[:, t]).square(),
            "calibration_ratio": surprise / spread.var(1),
        }.items():
            curves.setdefault(name, []).append(error.mean().sqrt().item())
    result |= curves
    result["coverage_90"] = torch.stack(inside).float().mean().item()

    flat, mean_frame = frames.flatten(0, 1), 255 * model.mean_frame[None]
    left = _frames_apart(model.decode(means.flatten(0, 1)), flat).sum()
    result["foreground_explained"] = (1 - left / _frames_apart(mean_frame, flat).sum()).item()
    for name, position in rollouts.positions.items():
        probe, chance = linear_probe(means, torch.from_numpy(position).to(device))
        result[f"probe_{name}_cm"], result[f"chance_{name}_cm"] = 100 * probe, 100 * chance
    return result


def linear_probe(z: Tensor, target: Tensor) -> tuple[float, float]:
    """RMS errors of a linear probe from z (E, T, D) to a target (E, T, 2) and of a constant.

    Fitted by ridge regression on the first half of the episodes, tested on the second. The penalty
    matters only where there are about as many latents as frames, as with a map.
    """
    ones = torch.ones_like(z[..., :1])
    inputs = torch.cat([z, ones], -1).double()
    half = len(z) // 2

    def error(columns: Tensor) -> float:
        known, wanted = columns[:half].flatten(0, 1), target[:half].flatten(0, 1)
        return (
            (columns[half:] @ ridge(known, wanted, PENALTY) - target[half:])
            .square()
            .sum(-1)
            .mean()
            .sqrt()
            .item()
        )

    return error(inputs), error(ones.double())


@torch.no_grad()
def beliefs(model: WorldModel, frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Means and stds of q(z_t), filtered along each episode, (E, T, D)."""
    prior, memory = model.initial(len(frames))
    action = torch.zeros_like(actions[:, 0])
    means, stds = [], []
    for t in range(frames.shape[1]):
        if t > 0:
            action = actions[:, t - 1]
            prior = model.transition(means[-1], action)
        belief, memory = model.posterior(model.features(frames[:, t]), prior, action, memory)
        means.append(belief.mean)
        stds.append(belief.std)
    return torch.stack(means, 1), torch.stack(stds, 1)


def _noise(episodes: int, like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    size = (episodes, PARTICLES, like.shape[-1])
    return torch.randn(size, generator=generator, device=like.device)


def _frames_apart(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per frame, in units of a pixel's range."""
    return ((a.float() - b.float()) / 255).square().mean((-3, -2, -1))
