"""The console command `robot-room`, and one way for every command to end when something is wrong."""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym

REFUSED = (
    ValueError,
    TypeError,
    RuntimeError,
    FloatingPointError,
    ImportError,
    OSError,
    gym.error.Error,
)
"""What a command ends with in one line; Gymnasium gives a TypeError for unknown arguments."""
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


class Command(NamedTuple):
    """Where a command is, imported only when it is called."""

    module: str
    """It has a `main(options)`, and where Ctrl-C leaves something a sentence `INTERRUPTED`."""
    options: str
    """The name of the dataclass of its options."""
    summary: str


COMMANDS = {
    "train": Command("robot_room.app.commands.train", "Train", "learn an environment from pixels"),
    "evaluate": Command("robot_room.app.commands.evaluate", "Evaluate", "score an agent"),
    "watch": Command("robot_room.app.commands.watch", "Watch", "see what an agent sees and intends"),
    "play": Command("robot_room.app.commands.play", "Play", "steer the robot yourself"),
    "collect": Command("robot_room.app.commands.collect", "Collect", "record a Minari dataset"),
    "train-prior": Command(
        "robot_room.app.commands.train_prior", "TrainPrior", "learn what frames look like"
    ),
    "benchmark": Command(
        "benchmarks.comparison.command", "Benchmark", "compare with model-free baselines (in a clone)"
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command: `robot-room COMMAND [OPTIONS]`."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"robot-room {importlib.metadata.version('robot-room')}")
    elif (command := COMMANDS.get(name.replace("_", "-"))) is None:
        sys.exit(f"error: command: got {name!r}, allowed: {', '.join(COMMANDS)}")
    else:
        try:
            module = importlib.import_module(command.module)
        except ImportError as error:
            sys.exit(f"error: {_what_is_missing(name, error)}")
        options = getattr(module, command.options)
        program = f"robot-room {name}"
        run(options, module.main, getattr(module, "INTERRUPTED", None), program, rest)


def usage() -> str:
    """The table of commands."""
    rows = "\n".join(f"  {name:<12} {command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: robot-room COMMAND [OPTIONS]\n\n"
        f"{rows}\n\nrobot-room COMMAND --help explains every option."
    )


def run(
    options: type[Any],
    function: Callable[[Any], Any],
    interrupted: str | None = None,
    program: str | None = None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Call a function with what the command line says; what goes wrong is one line.

    Args:
        options: a dataclass; its fields are the options.
        function: takes such an object.
        interrupted: what to say after Ctrl-C.
        program: its name in the help; None: as it was called.
        arguments: None: those of the process.
    """
    try:
        import tyro
    except ImportError as error:
        sys.exit(f"error: {_what_is_missing(program or sys.argv[0], error)}")
    try:
        chosen = tyro.cli(options, prog=program, args=arguments, config=(tyro.conf.AvoidSubcommands,))
        function(chosen)
    except REFUSED as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        sys.exit(INTERRUPTED)


def _what_is_missing(name: str, error: ImportError) -> str:
    if (error.name or "").split(".")[0] == "benchmarks":
        return f"{name}: the experiments are part of the repository, not of the package; use a clone"
    extra = "benchmarks" if name == "benchmark" else "agent"
    return f"{name}: {error}; install what it needs: pip install 'robot-room[{extra}]'"
