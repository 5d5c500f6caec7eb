"""The data card of a dataset: what was recorded, how, and how good it is."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from minari import MinariDataset
from minari.storage import get_dataset_path

from robot_room import __version__
from robot_room.app.evaluation.policies import NOISE_STD, PERSISTENCE

NAME = "data_card.md"
POLICIES = {
    "random": f"uniform actions, each kept with probability {PERSISTENCE:g}",
    "noisy": f"the optimal expert with Gaussian noise of standard deviation {NOISE_STD:g}",
    "mixed": "optimal and random actions; each episode draws its fraction of random ones uniformly",
    "expert": "the optimal expert, which needs the smallest number of steps",
}


def write_card(dataset: MinariDataset, env: gym.Env[Any, Any], policy: str) -> Path:
    """Measure the quality of a dataset, write its card beside it, and return the card's path."""
    returns, lengths, successes = [], [], []
    for episode in dataset.iterate_episodes():
        returns.append(float(np.sum(episode.rewards)))
        lengths.append(len(episode.actions))
        reached = (episode.infos or {}).get("is_success")
        if reached is not None:
            successes.append(bool(np.any(reached)))
    spec = env.spec
    rows = {
        "environment": "unknown" if spec is None else f"`{spec.id}` with `{spec.kwargs}`",
        "observations": f"`{env.observation_space}`",
        "actions": f"`{env.action_space}`",
        "policy": f"{policy}: {POLICIES.get(policy, 'a trained agent')}",
        "episodes": f"{len(lengths):,}",
        "steps": f"{sum(lengths):,}",
        "length of an episode": f"{np.mean(lengths):.1f} (from {min(lengths)} to {max(lengths)})",
        "return": f"{np.mean(returns):.3f} (from {min(returns):.3f} to {max(returns):.3f})",
        "episodes that reach the goal": f"{100 * np.mean(successes):.1f} %" if successes else "unknown",
        "version": f"robot-room {__version__}",
    }
    lines = [f"# {dataset.id}", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]
    lines += [
        "",
        "Episode i starts from `reset(seed=s)` with the seed in its metadata, and replays bit for bit.",
        "For work without rewards, leave out `rewards`; `infos` has positions, never to be observed.",
    ]
    path = Path(get_dataset_path(dataset.id)) / NAME
    path.write_text("\n".join(lines) + "\n")
    return path
