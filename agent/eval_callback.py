"""A callback that evaluates an agent while it learns, and stops when it is good enough."""

from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from annotated_types import Ge, Le
from gymnasium.envs.registration import EnvSpec

from agent.agent import Agent
from agent.collection import as_vector_env
from agent.config import Count, checked
from agent.learner import Progress

SEED = 5_000_000  # of the starts, which no other seed of a run reaches
Rate = Annotated[float, Ge(0), Le(1)] | None
LONGEST = 1000  # steps after which an episode ends whose environment has no limit


class EvalCallback:
    """Acts without noise in episodes that are the same each time, and tells their means.

    The results are logged as `eval/mean_reward`, `eval/mean_ep_length` and `eval/success_rate`.
    Learning does not depend on it, and its time is not counted.

    Args:
        agent: the agent that learns.
        env: where to evaluate, an id, a spec or an environment; None: as where the agent learns.
        eval_freq: environment steps from one evaluation to the next.
        n_eval_episodes: episodes of an evaluation.
        stop_at_success: success rate at which learning ends; None: it does not end early.
        best_model_save_path: where the agent is saved after its best evaluation, by success rate, then
            mean return; None: nowhere. "Best" is since this callback was made.

    Raises:
        ValueError: an argument is not allowed.
    """

    evaluates = True

    def __init__(
        self,
        agent: Agent,
        env: str | EnvSpec | gym.Env[Any, Any] | None = None,
        eval_freq: int = 200,
        n_eval_episodes: int = 20,
        stop_at_success: float | None = None,
        best_model_save_path: str | Path | None = None,
    ) -> None:
        self.agent, self.best_model_save_path = agent, best_model_save_path
        self.eval_freq = checked("eval_freq", eval_freq, Count)
        self.n_eval_episodes = checked(
            "n_eval_episodes", n_eval_episodes, Annotated[int, Ge(1), Le(4096)]
        )
        self.stop_at_success = checked("stop_at_success", stop_at_success, Rate)
        where = agent.env_spec if env is None else env
        if where is None or isinstance(where, gym.vector.VectorEnv):
            allowed = "an id, a spec or an environment, as no id makes the agent's own"
            raise ValueError(f"env: got {env!r}, allowed: {allowed}")
        self._env = as_vector_env(where, self.n_eval_episodes)
        self._before = agent.num_timesteps
        self._best = (-1.0, -np.inf)

    def __call__(self, progress: Progress) -> bool:
        """Evaluate if it is due; False if the agent is good enough."""
        if not progress.stepped or progress.num_updates == 0:
            return True
        due = progress.num_timesteps // self.eval_freq > self._before // self.eval_freq
        self._before = progress.num_timesteps
        if not due:
            return True
        progress.evaluation = found = self.evaluate()
        success = found.get("success_rate")
        score = (-1.0 if success is None else success, found["mean_reward"])
        if score > self._best and self.best_model_save_path is not None:
            self.agent.save(self.best_model_save_path)
        self._best = max(score, self._best)
        if self.stop_at_success is None:
            return True
        if success is None:
            allowed = "None, as the environment's info has no is_success"
            raise ValueError(f"stop_at_success: got {self.stop_at_success}, allowed: {allowed}")
        return success < self.stop_at_success

    def evaluate(self) -> dict[str, float]:
        """Run the episodes."""
        env, count = self._env, self._env.num_envs
        wanted = -(-self.n_eval_episodes // count)  # of each environment
        returns, lengths = np.zeros(count), np.zeros(count, np.int64)
        starts, state, left = np.ones(count, np.bool_), None, np.full(count, wanted)
        frames, _ = env.reset(seed=SEED)
        found: list[tuple[float, int, bool | None]] = []
        while left.any():
            actions, state = self.agent.predict(frames, state, starts)
            frames, rewards, terminated, truncated, infos = env.step(actions)
            returns, lengths = returns + rewards, lengths + 1
            starts = terminated | truncated | (lengths >= LONGEST)
            for i in np.flatnonzero(starts & (left > 0)).tolist():
                told = bool(infos["is_success"][i]) if "is_success" in infos else None
                found.append((float(returns[i]), int(lengths[i]), told))
                left[i] -= 1
            if starts.any():
                frames, _ = env.reset(options={"reset_mask": starts})
                returns[starts], lengths[starts] = 0.0, 0
        outcomes = [success for *_, success in found if success is not None]
        means = {"mean_reward": float(np.mean([each for each, *_ in found]))}
        means["mean_ep_length"] = float(np.mean([length for _, length, _ in found]))
        return means | ({"success_rate": float(np.mean(outcomes))} if outcomes else {})
