"""The console command `robot-room`, and the error handling that all commands share."""

import importlib
import importlib.metadata
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
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
"""Exceptions reported in one line. Gymnasium raises TypeError for unknown arguments."""
INTERRUPTED = 130  # exit status after Ctrl-C


def require_writable(field: str, path: Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    Raises:
        ValueError: its folder does not exist or accepts no files.
    """
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        allowed = f"a file in a folder that can be written to ({error.strerror})"
        raise ValueError(f"{field}: got {path}, allowed: {allowed}") from error


class Command(NamedTuple):
    """Where a command is implemented. Its module is imported only when the command is called."""

    module: str
    """Defines `main(options)`, and optionally `INTERRUPTED`, the message after Ctrl-C."""
    options: str
    """Name of the dataclass that holds its options."""
    summary: str


COMMANDS = {
    "train": Command("robot_room.app.commands.train", "Train", "learn an environment from pixels"),
    "evaluate": Command("robot_room.app.commands.evaluate", "Evaluate", "score an agent"),
    "watch": Command(
        "robot_room.app.commands.watch", "Watch", "watch an agent in a window, or record it"
    ),
    "play": Command("robot_room.app.commands.play", "Play", "steer the robot yourself"),
    "collect": Command("robot_room.app.commands.collect", "Collect", "record a Minari dataset"),
    "train-restorer": Command(
        "robot_room.app.commands.train_restorer",
        "TrainRestorer",
        "train an autoencoder that restores frames",
    ),
    "push": Command("robot_room.app.commands.push", "Push", "share an agent on the Hugging Face Hub"),
    "benchmark": Command(
        "benchmarks.comparison.command", "Benchmark", "compare algorithms (in a clone)"
    ),
    "leaderboard": Command(
        "benchmarks.comparison.leaderboard", "Leaderboard", "add to the leaderboard (in a clone)"
    ),
}
ALIASES = {"train-prior": "train-restorer"}
"""Old names of commands, which still work and are not shown in the help."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command: `robot-room COMMAND [OPTIONS]`."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"robot-room {importlib.metadata.version('robot-room')}")
    elif (command := command_named(name)) is None:
        sys.exit(f"error: command: got {name!r}, allowed: {', '.join(COMMANDS)}")
    else:
        try:
            module = importlib.import_module(command.module)
        except ImportError as error:
            sys.exit(f"error: {_what_is_missing(name, error)}")
        options = getattr(module, command.options)
        program = f"robot-room {name}"
        run(options, module.main, getattr(module, "INTERRUPTED", None), program, rest)


def command_named(name: str) -> Command | None:
    """The command with this name or alias, with - or _ between words; None if there is none."""
    name = name.replace("_", "-")
    return COMMANDS.get(ALIASES.get(name, name))


def usage() -> str:
    """The table of commands."""
    rows = "\n".join(f"  {name:<14} {command.summary}" for name, command in COMMANDS.items())
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
    """Parse the command line into `options` and call `function` with it; report errors in one line.

    Args:
        options: a dataclass; its fields are the options.
        function: called with an instance of `options`.
        interrupted: message after Ctrl-C, where the KeyboardInterrupt has none itself.
        program: name shown in the help; None: the name of the process.
        arguments: command-line arguments; None: those of the process.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal without "…" shows "?" instead
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        import tyro
    except ImportError as error:
        sys.exit(f"error: {_what_is_missing(program or sys.argv[0], error)}")
    try:
        chosen = tyro.cli(options, prog=program, args=arguments, config=(tyro.conf.AvoidSubcommands,))
        function(chosen)
    except REFUSED as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as error:
        if message := str(error) or interrupted:
            print(message, file=sys.stderr)
        sys.exit(INTERRUPTED)


def _what_is_missing(name: str, error: ImportError) -> str:
    if (error.name or "").split(".")[0] == "benchmarks":
        return f"{name}: the experiments are part of the repository, not of the package; use a clone"
    extras = {"benchmark": "benchmarks", "leaderboard": "benchmarks", "push": "hub"}
    extra = extras.get(name, "agent")
    return f"{name}: {error}; install what it needs: pip install 'robot-room[{extra}]'"
