"""A run's agent, with its restorer and gate, in the environment to look at it in."""

from pathlib import Path

from gymnasium.envs.registration import EnvSpec

from agent import Agent
from agent.calibration import Restoration, described
from robot_room.app.evaluation.protocol import import_package, with_kwargs


def loaded(
    run: Path, env_id: str | None, env_kwargs: str, prior: bool, device: str = "auto"
) -> tuple[Agent, EnvSpec, Restoration | None]:
    """A run's agent, and the environment to look at it in.

    Args:
        run: what `robot-room train` made.
        env_id: of another environment with the same spaces; None: the one it was trained in.
        env_kwargs: a JSON object of arguments to change.
        prior: whether the agent uses the run's restorer and gate, which come third.
        device: of the agent.

    Raises:
        ValueError: no such run, prior or environment, or it has other spaces.
    """
    import_package(env_id or "")
    agent = Agent.load(run / "agent", env_id, device)
    assert agent.env_spec is not None
    spec = with_kwargs(agent.env_spec, env_kwargs)
    restoration = None
    if prior:
        if not (run / "prior").is_dir():
            raise ValueError(f"prior: {run} has none; make it with: robot-room train-prior {run}")
        restoration = Restoration.load(run / "prior", str(agent.device))
        restoration.attach(agent)
        known = restoration.calibrated_on
        itself = described(agent if env_id is None else Agent.load(run / "agent", device=device))
        if known != itself:
            allowed = f"{itself}; calibrate it again with: robot-room train-prior {run}"
            raise ValueError(f"prior: got one calibrated on {known}, allowed: {allowed}")
    return agent, spec, restoration
