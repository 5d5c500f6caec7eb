"""Loading the agent of a run, with its restorer and gate, and the environment to run it in."""

from pathlib import Path

from gymnasium.envs.registration import EnvSpec

from agent import Agent
from agent.calibration import Restoration, described
from agent.hub import RESTORER, SHIPPED, shipped
from robot_room.app.evaluation.protocol import import_package, with_kwargs

OLD_NAMES = {"restorer": "prior", "restorer_training": "prior_training"}
"""What the folders of a run were called before."""


def existing_folder(run: Path, name: str) -> Path | None:
    """A run's folder `restorer` or `restorer_training`, or the same under its old name.

    Returns:
        None if the run, or the shipped agent of this name, has neither.
    """
    folder = _shipped(run) or run
    candidates = folder / name, folder / OLD_NAMES.get(name, name)
    return next((path for path in candidates if path.is_dir()), None)


def agent_folder(run: Path) -> Path:
    """The checkpoint of a run's agent, or of a shipped one, if no such directory exists.

    Raises:
        ValueError: there is neither.
    """
    if (run / "agent").exists():
        return run / "agent"
    if (folder := _shipped(run)) is not None:
        return folder
    found = sorted(str(path.parent) for path in Path("runs").glob("*/agent"))
    raise ValueError(
        f"run: got {run}, which has no agent; allowed: a directory made by robot-room train, "
        + (f"as {', '.join(found)}" if found else "and there is none in runs")
        + (f"; or a shipped agent: {', '.join(shipped())}" if shipped() else "")
    )


def _shipped(run: Path) -> Path | None:
    """The folder of the shipped agent of this name, if there is one and nothing else has the name."""
    return SHIPPED / run if str(run) in shipped() and not run.exists() else None


def calibrated_restoration(run: Path, agent: str, device: str = "cpu") -> Restoration:
    """A run's restorer and gate.

    Args:
        run: a directory made by `robot-room train`, or the name of a shipped agent.
        agent: the run's agent, as `described`.
        device: where the restorer's tensors are.

    Raises:
        ValueError: the run has none, or it was calibrated on another agent.
    """
    saved = existing_folder(run, RESTORER)
    if saved is None:
        raise ValueError(f"restorer: {run} has none; make it with: robot-room train-restorer {run}")
    restoration = Restoration.load(saved, device)
    if (known := restoration.calibrated_on) != agent:
        allowed = f"{agent}; calibrate it again with: robot-room train-restorer {run}"
        raise ValueError(f"restorer: got one calibrated on {known}, allowed: {allowed}")
    return restoration


def loaded(
    run: Path,
    env_id: str | None,
    env_kwargs: str,
    restorer: bool,
    device: str = "auto",
    threads: int = 1,
) -> tuple[Agent, EnvSpec, Restoration | None]:
    """A run's agent, the environment to run it in, and its restorer and gate.

    Args:
        run: a directory made by `robot-room train`, or the name of a shipped agent.
        env_id: another environment with the same spaces; None: the one the agent was trained in.
        env_kwargs: arguments to change, as a JSON object.
        restorer: whether to load the run's restorer and gate and attach them to the agent.
        device: the agent's device.
        threads: as for `Agent`.

    Raises:
        ValueError: there is no such run, restorer or environment, the spaces differ, or the restorer
            was calibrated on another agent.
    """
    import_package(env_id or "")
    folder = agent_folder(run)
    agent = Agent.load(folder, env_id, device, threads=threads)
    assert agent.env_spec is not None
    spec = with_kwargs(agent.env_spec, env_kwargs)
    restoration = None
    if restorer:
        itself = described(agent if env_id is None else Agent.load(folder, device=device))
        restoration = calibrated_restoration(run, itself, str(agent.device))
        restoration.attach(agent)
    return agent, spec, restoration
