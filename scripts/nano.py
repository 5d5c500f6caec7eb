"""A world model that learns to drive the robot from pixels, in one file. Read it from top to bottom.

    python scripts/nano.py --seeds 0 1 2     # trains three agents; tests each on 1,000 new starts

The agent never sees coordinates, only frames x_t, its own actions a_t, and rewards r_t. It learns a
latent state-space model of them (1), by maximising a lower bound of their likelihood (3)-(4), and acts
by searching for the actions with the largest return in its imagination (18). The numbers are those of
the equations in the lecture notes; docs/tutorials says more about each.

    x_1 ── a_1 ──▶ x_2 ── a_2 ──▶ x_3        a_t is taken after frame x_t, r_t arrives with x_t;
                   r_2            r_3        the first frame of an episode has no reward.

All of it is also in the package `agent`, where it is faster, checked and configurable. On the same
weights and data both have the same ELBO; a test makes sure of it.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import robot_room  # noqa: F401 - registers the environment

ENV_ID = "RobotRoom-v0"
HELD_OUT_SEED = 1_000_000  # starts of evaluation: seeds from here on, which training never sees

ACTIONS = 2  # velocities along x and y, from −1 to 1

# The model.
LATENTS = 8  # dimensions of z
HIDDEN = 128  # units of each hidden layer
KEYPOINTS = 16  # what the encoder looks for in a frame
RANK = 8  # products that the decoder adds up
FRAME_STD = 0.3  # σ of p(x | z). Smaller, z would encode details that no transition can predict
REWARD_STD = 0.4  # σ of p(r | z), in stds of the first rewards
MIN_STD = 0.05  # of what networks output; z has unit scale

# Planning.
HORIZON = 6  # H, steps
DISCOUNT = 0.95  # γ
CANDIDATES, ELITES, ITERATIONS = 64, 8, 3

# Learning.
EPISODE = 20  # steps after which an episode is cut off in training: short ones have more varied starts
RANDOM_STEPS = 100  # steps with random actions, before there is a model to plan with
UPDATES_PER_STEP = 2
WINDOWS, LENGTH = 16, 4  # a batch is 16 windows of 4 frames
LEARNING_RATE = 5e-3
NOISE = 0.3  # std of the noise on actions that explores


# ---- the model ------------------------------------------------------------------------------------
#
# p(x, r, z | a) = p(z_1) ∏_t p(x_t | z_t) p(r_t | z_t) ∏_{t≥2} p(z_t | z_{t−1}, a_{t−1})           (1)


def mlp(size_in: int, size_out: int, layers: int = 2) -> nn.Sequential:
    """A network with hidden layers of SiLU units."""
    modules: list[nn.Module] = []
    for size in [size_in, *[HIDDEN] * (layers - 1)]:
        modules += [nn.Linear(size, HIDDEN), nn.SiLU()]
    return nn.Sequential(*modules, nn.Linear(HIDDEN, size_out))


def normal(raw: Tensor, shift: float = 0.0) -> Normal:
    """A diagonal Gaussian from a network's outputs."""
    mean, raw_std = raw.chunk(2, -1)
    return Normal(mean, F.softplus(raw_std + shift) + MIN_STD)


class Encoder(nn.Module):
    """Frames → features: where things are, since their places are what matters here.

    Two convolutions make 16 maps. A softmax over the places of a map turns it into an expected row,
    an expected column and an expected activation (spatial softmax, arXiv 1509.06113).
    """

    grid: Tensor

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, 32, 4, stride=4)
        self.maps = nn.Conv2d(32, KEYPOINTS, 3, padding=1, bias=False)
        self.mix = nn.Linear(3 * KEYPOINTS, KEYPOINTS)
        rows, columns = torch.linspace(-1, 1, height // 4), torch.linspace(-1, 1, width // 4)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        self.register_buffer("grid", grid.flatten(1))  # (2, places)

    def keypoints(self, frames: Tensor) -> Tensor:
        """Row, column and activation of each map, (N, 3 · maps)."""
        maps = self.maps(F.silu(self.patches(frames.permute(0, 3, 1, 2)))).flatten(
            2
        )  # (N, maps, places)
        weights = maps.softmax(-1)
        places = self.grid @ weights.transpose(1, 2)  # (N, 2, maps)
        return torch.cat([places.flatten(1), (weights * maps).sum(-1) / 8], -1)

    def forward(self, frames: Tensor) -> Tensor:
        """Features (N, 16) of centred frames (N, H, W, C)."""
        return self.mix(self.keypoints(frames))

    @torch.no_grad()
    def initialise(self, frames: Tensor) -> None:
        """Begin with features that vary: sharp maps, and whitened principal components of keypoints.

        Random weights see everything weakly and much the same, so that learning begins on a plateau.
        """
        maps = self.maps(F.silu(self.patches(frames.permute(0, 3, 1, 2))))
        self.maps.weight *= (4 / maps.std((0, 2, 3)))[:, None, None, None]
        keypoints = self.keypoints(frames)
        centre = keypoints.mean(0)
        _, scale, directions = torch.linalg.svd(keypoints - centre, full_matrices=False)
        std = scale[:KEYPOINTS, None] / math.sqrt(len(frames))
        self.mix.weight.copy_(directions[:KEYPOINTS] / (std + 0.02))  # do not blow up rounding errors
        self.mix.bias.copy_(-self.mix.weight @ centre)


class Decoder(nn.Module):
    """z → image, a sum of products (profile of rows) × (profile of columns): a square is one of them.

    The profiles are a network's outputs. It also gets sinusoids of z, since an edge is a sharp function
    of a position, which networks are slow to learn (arXiv 2006.10739).
    """

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.shape = height, width, channels
        self.waves = nn.Linear(LATENTS, 64)
        nn.init.normal_(self.waves.weight, std=1.5)
        nn.init.uniform_(self.waves.bias, -math.pi, math.pi)
        self.profiles = mlp(LATENTS + 64, RANK * (height + width * channels), layers=1)

    def forward(self, z: Tensor) -> Tensor:
        """Images (…, H, W, C) of states (…, D), as changes of the mean frame."""
        height, width, channels = self.shape
        profiles = self.profiles(torch.cat([z, self.waves(z).sin()], -1)).unflatten(-1, (RANK, -1))
        rows, columns = profiles.split([height, width * channels], -1)
        return (rows.mT @ columns).unflatten(-1, (width, channels))


class Batch(NamedTuple):
    """Windows of episodes: B windows of T frames."""

    frames: Tensor  # (B, T, H, W, C), from 0 to 1
    actions: Tensor  # (B, T − 1, A)
    rewards: Tensor  # (B, T)
    rewarded: Tensor  # (B, T), 0 on the first frame of an episode, otherwise 1


class WorldModel(nn.Module):
    """The densities of (1), the posterior q, and the bound."""

    mean_frame: Tensor
    reward_offset: Tensor
    reward_scale: Tensor

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(height, width, channels)
        self.decoder = Decoder(height, width, channels)
        self.evidence = nn.Linear(KEYPOINTS, 2 * LATENTS)
        self.transition_net = mlp(LATENTS + ACTIONS, 2 * LATENTS)
        self.reward_net = mlp(LATENTS, 1)
        self.register_buffer("mean_frame", torch.zeros(height, width, channels))
        self.register_buffer("reward_offset", torch.zeros(()))
        self.register_buffer("reward_scale", torch.ones(()))

    @torch.no_grad()
    def initialise(self, frames: Tensor, rewards: Tensor) -> None:
        """Centre and scale on the first data; z begins as the leading features of a frame, (N, …)."""
        self.mean_frame.copy_(frames.mean(0))
        self.reward_offset.copy_(rewards.mean())
        self.reward_scale.copy_(rewards.std())
        self.encoder.initialise(frames - self.mean_frame)
        self.evidence.weight[:LATENTS] = torch.eye(LATENTS, KEYPOINTS)
        self.evidence.weight[LATENTS:] *= 0.1
        self.evidence.bias.copy_(torch.tensor([0.0, -3.0]).repeat_interleave(LATENTS))

    def initial(self, count: int) -> Normal:
        """p(z_1), a standard Gaussian."""
        return Normal(torch.zeros(count, LATENTS), torch.ones(count, LATENTS))

    def transition(self, z: Tensor, action: Tensor) -> Normal:
        """p(z_t | z_{t−1}, a_{t−1}): the last state plus a learned change."""
        change = normal(self.transition_net(torch.cat([z, action], -1)), shift=-1)
        return Normal(z + change.mean, change.stddev)

    def log_p_frames(self, frames: Tensor, z: Tensor) -> Tensor:
        """The log-density log p(x_t | z_t), a Gaussian around the decoded image, summed over pixels."""
        squared = (frames - self.mean_frame - self.decoder(z)).square().sum((-3, -2, -1))
        log_scale = math.log(FRAME_STD * math.sqrt(2 * math.pi)) * self.mean_frame.numel()
        return -squared / (2 * FRAME_STD**2) - log_scale

    def reward(self, z: Tensor) -> Normal:
        """p(r_t | z_t)."""
        mean = self.reward_offset + self.reward_scale * self.reward_net(z)[..., 0]
        return Normal(mean, REWARD_STD * self.reward_scale)

    def posterior(self, prior: Normal, features: Tensor) -> Normal:
        """q(z_t | x_t, z_{t−1}, a_{t−1}) ∝ p(z_t | z_{t−1}, a_{t−1}) N(z_t; m(x_t), s(x_t)²).

        What was predicted times what was seen, as in a Kalman filter: precisions add, and weigh the
        means. It depends on the sampled z_{t−1}, so q(z_1 … z_T) is a chain (Problem 4).
        """
        seen = normal(self.evidence(features))
        predicted, observed = prior.stddev**-2, seen.stddev**-2
        mean = (predicted * prior.mean + observed * seen.mean) / (predicted + observed)
        return Normal(mean, (predicted + observed) ** -0.5)

    def elbo(self, batch: Batch) -> Tensor:
        """Equations (3) and (4), one sample of the expectation, in nats per step.

        Σ_t E[log p(x_t | z_t) + log p(r_t | z_t)] − Σ_{t≥2} E KL[q(z_t) ‖ p(z_t | z_{t−1}, a_{t−1})]
        − KL[q(z_1) ‖ p(z_1)]
        """
        windows, length = batch.rewards.shape
        features = self.encoder((batch.frames - self.mean_frame).flatten(0, 1))
        features = features.unflatten(0, (windows, length))
        zs, kl = [], torch.zeros(windows)
        for t in range(length):
            prior = self.transition(zs[-1], batch.actions[:, t - 1]) if t > 0 else self.initial(windows)
            q = self.posterior(prior, features[:, t])
            zs.append(q.mean + q.stddev * torch.randn_like(q.mean))  # so that gradients reach q
            kl = kl + kl_divergence(q, prior).sum(-1)
        z = torch.stack(zs, 1)
        log_p_frames = self.log_p_frames(batch.frames, z)
        log_p_rewards = self.reward(z).log_prob(batch.rewards) * batch.rewarded
        return ((log_p_frames + log_p_rewards).sum(1) - kl).mean() / length


# ---- planning -------------------------------------------------------------------------------------
#
# argmax over a_{t:t+H−1} of E Σ_{k=1..H} γ^k r(z_{t+k})                                            (18)


def imagined_return(model: WorldModel, z: Tensor, plans: Tensor) -> Tensor:
    """Σ_k γ^k r(z_{t+k}) of each plan (K, H, A), along the transition's means from one state z (D,)."""
    z, total = z.expand(len(plans), -1), torch.zeros(len(plans))
    for k, action in enumerate(plans.clamp(-1, 1).unbind(1), start=1):
        z = model.transition(z, action).mean
        total = total + DISCOUNT**k * model.reward(z).mean
    return total


@torch.no_grad()
def cem(model: WorldModel, z: Tensor, mean: Tensor) -> Tensor:
    """The cross-entropy method: a Gaussian over plans (H, A), fitted to its best samples repeatedly."""
    std, elites = torch.ones_like(mean), mean[None]
    for _ in range(ITERATIONS):
        plans = torch.cat([mean + std * torch.randn(CANDIDATES, *mean.shape), elites])
        elites = plans[imagined_return(model, z, plans).topk(ELITES).indices]
        mean, std = elites.mean(0), elites.std(0)
    return mean.clamp(-1, 1)


class Controller:
    """Filter, plan, take the first action, and plan again at the next frame: a receding horizon."""

    def __init__(self, model: WorldModel, noise: float = 0.0) -> None:
        self.model, self.noise = model, noise
        self.prior: Normal = model.initial(1)
        self.plan = torch.zeros(HORIZON, ACTIONS)

    @torch.no_grad()
    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The next action, after a frame (H, W, C)."""
        features = self.model.encoder(torch.from_numpy(frame)[None] / 255 - self.model.mean_frame)
        z = self.model.posterior(self.prior, features).mean  # the belief's mean is planned from
        plan = cem(self.model, z[0], self.plan)
        action = (plan[0] + self.noise * torch.randn(ACTIONS)).clamp(-1, 1)
        self.prior = self.model.transition(z, action[None])
        self.plan = torch.cat([plan[1:], torch.zeros(1, ACTIONS)])  # where the next search begins
        return action.numpy()


# ---- collect and fit ------------------------------------------------------------------------------


class RandomActions:
    """Uniform actions, each repeated for a while, so that the robot gets somewhere."""

    def __init__(self) -> None:
        self.action = np.zeros(ACTIONS, np.float32)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The next action."""
        if np.random.random() < 0.3 or not self.action.any():
            self.action = np.random.uniform(-1, 1, ACTIONS).astype(np.float32)
        return self.action


class Episode(NamedTuple):
    """T frames, the T − 1 actions between them, and the reward that arrives with each (0 at first)."""

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    success: bool


def run_episode(env: Any, act: Callable[[np.ndarray], np.ndarray], seed: int) -> Episode:
    """One episode."""
    frames, actions, rewards, done, info = [env.reset(seed=seed)[0]], [], [0.0], False, {}
    while not done:
        actions.append(act(frames[-1]))
        frame, reward, terminated, truncated, info = env.step(actions[-1])
        frames.append(frame)
        rewards.append(float(reward))
        done = terminated or truncated
    arrays = np.stack(frames), np.stack(actions), np.array(rewards, np.float32)
    return Episode(*arrays, success=info["is_success"])


def sample(episodes: list[Episode]) -> Batch:
    """Windows of episodes, uniformly over all there are."""
    places = [(e, first) for e in episodes for first in range(len(e.frames) - LENGTH + 1)]
    chosen = [places[i] for i in np.random.randint(len(places), size=WINDOWS)]
    frames = [e.frames[first : first + LENGTH] for e, first in chosen]
    actions = [e.actions[first : first + LENGTH - 1] for e, first in chosen]
    rewards = [e.rewards[first : first + LENGTH] for e, first in chosen]
    rewarded = [np.arange(first, first + LENGTH) > 0 for _, first in chosen]
    columns = map(np.stack, (frames, actions, rewards, rewarded))
    frames, actions, rewards, rewarded = map(torch.from_numpy, columns)
    return Batch(frames / 255, actions, rewards, rewarded.float())


def train(seed: int, steps: int) -> tuple[WorldModel, int]:
    """Alternate between episodes and updates of the model; returns it and the steps taken."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    env = gym.make(ENV_ID, max_episode_steps=EPISODE)
    model = WorldModel(*env.reset(seed=0)[0].shape)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    episodes, taken, updates = [], 0, 0
    while taken < steps:
        policy = RandomActions() if taken < RANDOM_STEPS else Controller(model, NOISE)
        episodes.append(run_episode(env, policy, seed=1000 * seed + len(episodes)))
        taken += len(episodes[-1].actions)
        if taken < RANDOM_STEPS:
            continue
        if updates == 0:
            frames = np.concatenate([e.frames for e in episodes])
            rewards = np.concatenate([e.rewards[1:] for e in episodes])
            model.initialise(torch.from_numpy(frames) / 255, torch.from_numpy(rewards))
        while updates < UPDATES_PER_STEP * taken:
            loss = -model.elbo(sample(episodes))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10)
            warm_up, left = min(1, (updates + 1) / 20), max(0, 1 - taken / steps)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * warm_up * min(1, 0.1 + 1.8 * left)
            optimizer.step()
            updates += 1
    return model, taken


def success_rate(model: WorldModel, starts: int) -> float:
    """The fraction of held-out starts from which the goal is reached within the room's 100 steps."""
    env = gym.make(ENV_ID)
    torch.manual_seed(0)
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + starts)
    return sum(run_episode(env, Controller(model), seed).success for seed in seeds) / starts


def main() -> None:
    """Train with each seed, evaluate, and print a line of JSON."""
    parser = argparse.ArgumentParser(description="A world model in one file.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training")
    parser.add_argument("--steps", type=int, default=400, help="environment steps of training")
    parser.add_argument("--starts", type=int, default=1000, help="held-out starts of the evaluation")
    arguments = parser.parse_args()
    for name, least in (("steps", RANDOM_STEPS), ("starts", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"{name}: got {getattr(arguments, name)}, allowed: at least {least}")
    if min(arguments.seeds) < 0:
        parser.error(f"seeds: got {min(arguments.seeds)}, allowed: at least 0")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # tiny numbers are slow
    for seed in arguments.seeds:
        began = time.process_time()
        model, taken = train(seed, arguments.steps)
        seconds = time.process_time() - began  # of one thread
        rate = success_rate(model, arguments.starts)
        result = {"seed": seed, "steps": taken, "cpu_seconds": round(seconds, 1), "success": rate}
        print(json.dumps(result | {"starts": arguments.starts}), flush=True)


if __name__ == "__main__":
    main()
