"""Results that others can add to: checked entries of one protocol, and a page that lists them all.

    robot-room leaderboard submit --algorithm ppo --env-id RobotRoom-v0 --author "A. Name"
    robot-room leaderboard page

An entry is one algorithm in one room: its runs from the raw scores of the sweep, in a small JSON file.
The protocol is frozen and has a version (docs/results/protocol.md); another would be v1, and entries of
v0 would stay as they are.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import numpy as np
import tyro
from msgspec import Meta

from agent.checkpoint import Finite, Whole, converted, require_regular
from benchmarks.comparison.budgets import REFERENCES
from benchmarks.comparison.records import NAME, Records
from benchmarks.comparison.scores import Reached
from benchmarks.comparison.tables import markdown, median, percent
from benchmarks.engine.backends import PACKAGES
from benchmarks.engine.jobs import Record, parse_record, write_record

FEWEST_SEEDS = 3


class Room(msgspec.Struct, frozen=True):
    """A room of a protocol."""

    threshold: float
    """Success rate that counts as learned."""
    evaluated_with: dict[str, Any] = {}
    """Arguments in which evaluation differs from training."""


class Protocol(msgspec.Struct, frozen=True):
    """What entries of one version have in common. A published one is never changed."""

    sweep: int
    """The sweep's own number for how a run is made."""
    first_start: int
    """Seed of the first start of an evaluation; the others follow."""
    episodes: int
    """Of an evaluation."""
    rooms: dict[str, Room]


PROTOCOLS = {
    "v0": Protocol(
        sweep=3,
        first_start=1_000_000,
        episodes=100,
        rooms={
            "RobotRoom-v0": Room(0.99),
            "RobotRoomRandomGoal-v0": Room(0.95),
            "RobotRoomSparse-v0": Room(0.95),
            "RobotRoomDistractors-v0": Room(0.95),
            "RobotRoomDoor-v0": Room(0.95),
            "RobotRoomMaze-v0": Room(0.8, {"layout_seed": 1}),
        },
    )
}
NEWEST = "v0"


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training run of an entry; the figures are those of its last evaluation."""

    seed: Whole
    env_steps: Whole
    seconds: Finite
    success_rate: Finite
    spl: Finite
    path_ratio: Finite
    steps_to_threshold: Whole | None
    """Environment steps at the first evaluation that reached the threshold; None: there was none."""
    record: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the raw record."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An algorithm in a room."""

    protocol: str
    algorithm: str
    env_id: str
    author: str
    url: str
    setting: str
    """What the algorithm ran with."""
    versions: dict[str, str]
    runs: Annotated[list[Run], Meta(min_length=1)]


@dataclass
class Leaderboard:
    """Check a run and write its entry, or write the page of all entries."""

    action: tyro.conf.Positional[Literal["submit", "page"]]
    """submit: check an algorithm's runs in a room, and write their entry; page: list all entries."""
    algorithm: str = ""
    """The algorithm, as the sweep's files name it."""
    env_id: str = "RobotRoom-v0"
    """The room."""
    author: str = ""
    """Who ran it."""
    url: str = ""
    """Where its code is, https://…"""
    protocol: str = NEWEST
    """Version of the protocol."""
    results: Path = Path("benchmarks/results/sweep")
    """Raw scores of the sweep."""
    folder: Path = Path("benchmarks/leaderboard")
    """Where the entries are."""
    page: Path = Path("docs/results/leaderboard.md")
    """The page to write."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            refuse(
                "protocol", self.protocol, f"{', '.join(PROTOCOLS)}; newer ones need a newer version"
            )
        if not re.fullmatch(r"[\w .,'@-]{0,60}", self.author):
            refuse("author", self.author, "up to 60 letters, digits, spaces and .,'@-")
        if self.url and not re.fullmatch(r"https?://[\w./~%#?=&:+-]{1,200}", self.url):
            refuse("url", self.url, "an address with http:// or https://")


def refuse(name: str, got: object, allowed: str, path: Path | None = None) -> NoReturn:
    """Raise a ValueError that names field, value and what is allowed."""
    where = f"{path}: " if path is not None else ""
    raise ValueError(f"{where}{name}: got {got!r:.200}, allowed: {allowed}")


def submit(config: Leaderboard) -> Path:
    """Check the runs of an algorithm in a room and write their entry.

    Raises:
        ValueError: there are no such runs, or they are not of the protocol; nothing is written.
    """
    protocol = PROTOCOLS[config.protocol]
    records = Records(config.results)
    if config.algorithm not in records.algorithms:
        refuse("algorithm", config.algorithm, f"one that has run: {', '.join(records.algorithms)}")
    if config.env_id not in protocol.rooms:
        refuse(
            "env_id", config.env_id, f"a room of protocol {config.protocol}: {tuple(protocol.rooms)}"
        )
    runs = records.runs(config.algorithm, config.env_id)
    least = 1 if config.algorithm in REFERENCES else FEWEST_SEEDS
    seeds = [run["seed"] for run in runs]
    if len(seeds) < least or seeds != list(range(len(seeds))):
        refuse("seeds", seeds, f"0, 1, 2 and so on, at least {least} of them")
    for run in runs:
        check_run(run, protocol)
    room = protocol.rooms[config.env_id]
    settings = runs[0]["settings"]
    entry = Entry(
        config.protocol,
        config.algorithm,
        config.env_id,
        config.author,
        config.url,
        settings.get("arguments") or "",
        runs[0]["versions"],
        [entry_run(run, room) for run in runs],
    )
    path = config.folder / config.protocol / f"{config.algorithm}-{config.env_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, msgspec.to_builtins(entry))
    return path


def check_run(run: Record, protocol: Protocol) -> None:
    """Hold a raw record against the protocol, and its figures against each other.

    Raises:
        ValueError: it names what does not fit.
    """
    name = Path(f"{run['algorithm']}, seed {run['seed']}")
    settings, room = run["settings"], protocol.rooms[run["env_id"]]
    for field_name, allowed in (
        ("protocol", protocol.sweep),
        ("episodes", protocol.episodes),
        ("threshold", room.threshold),
    ):
        if settings.get(field_name) != allowed:
            refuse(field_name, settings.get(field_name), str(allowed), name)
    if settings.get("evaluated_with", {}) != room.evaluated_with:
        refuse("evaluated_with", settings.get("evaluated_with"), f"{room.evaluated_with}", name)
    if missing := [package for package in PACKAGES if not run["versions"].get(package)]:
        refuse("versions", run["versions"], f"also those of {', '.join(missing)}", name)
    before = -1
    for point in run["curve"]:
        for field_name, allowed in (("seed", protocol.first_start), ("episodes", protocol.episodes)):
            if point.get(field_name) != allowed:
                refuse(f"{field_name} of an evaluation", point.get(field_name), str(allowed), name)
        rate, spl, steps = point["success_rate"], point["spl"], point["env_steps"]
        if not 0 <= rate <= 1 or abs(rate * protocol.episodes - round(rate * protocol.episodes)) > 1e-6:
            refuse("success_rate", rate, f"a number of {protocol.episodes} starts", name)
        if not 0 <= spl <= rate + 1e-4:  # rounded; no path is shorter than the oracle's
            refuse("spl", spl, f"0 to the success rate, {rate}", name)
        if point["path_ratio"] < 1 - 1e-4:
            refuse("path_ratio", point["path_ratio"], "at least 1", name)
        if steps < before:
            refuse("env_steps", steps, f"at least {before}, those of the evaluation before", name)
        before = steps


def entry_run(run: Record, room: Room) -> Run:
    """What an entry keeps of a run."""
    last = run["curve"][-1]
    reached = (p["env_steps"] for p in run["curve"] if p["success_rate"] >= room.threshold)
    digest = hashlib.sha256(msgspec.json.encode(run, order="sorted")).hexdigest()
    kept = {name: last[name] for name in ("env_steps", "seconds", "success_rate", "spl", "path_ratio")}
    return Run(seed=run["seed"], **kept, steps_to_threshold=next(reached, None), record=digest)


def entries(folder: Path) -> list[Entry]:
    """All entries in a folder, by file.

    Raises:
        ValueError: a file is no entry, or of an unknown protocol or a room that its protocol lacks.
    """
    found = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            record = parse_record(require_regular(path).read_text())
            version = record["protocol"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: got no entry ({error}); remove it") from error
        if version not in PROTOCOLS:
            refuse(
                "protocol", version, f"{', '.join(PROTOCOLS)}; newer ones need a newer version", path
            )
        entry = converted(path, record, Entry)
        if entry.env_id not in PROTOCOLS[entry.protocol].rooms:
            refuse("env_id", entry.env_id, "a room of its protocol", path)
        Leaderboard("page", author=entry.author, url=entry.url)
        if not NAME.fullmatch(entry.algorithm):
            refuse("algorithm", entry.algorithm, "letters, digits and .+:/-", path)
        found.append(entry)
    return found


def page(found: list[Entry]) -> str:
    """The entries as a page in Markdown, a table for each room, the best SPL first."""
    parts = [INTRODUCTION]
    for version, protocol in PROTOCOLS.items():
        parts.append(f"## Protocol {version}\n")
        for env_id, room in protocol.rooms.items():
            here = [e for e in found if (e.protocol, e.env_id) == (version, env_id)]
            if here:
                parts.append(f"### {env_id}\n\n{markdown(rows(here, room))}\n")
    return "\n".join(parts)


def rows(here: list[Entry], room: Room) -> list[list[str]]:
    """A room's table."""
    head = ["algorithm", "by", "runs", f"steps to {room.threshold:.0%}", "steps at the end", "seconds"]
    table = [[*head, "success at the end, %", "SPL", "path ratio"]]
    for entry in sorted(here, key=lambda e: -np.mean([run.spl for run in e.runs])):
        runs = entry.runs
        name = {"random": "*random, the floor*", "oracle": "*oracle, the ceiling*"}
        said = name.get(entry.algorithm, entry.algorithm)
        if entry.url:
            said = f"[{said}]({entry.url})"
        learns = entry.algorithm not in REFERENCES
        arrived = [float(r.steps_to_threshold) for r in runs if r.steps_to_threshold is not None]
        reached = Reached(arrived, [float(r.env_steps) for r in runs if r.steps_to_threshold is None])
        means = {n: np.mean([getattr(run, n) for run in runs]) for n in ("env_steps", "seconds", "spl")}
        table.append(
            [
                said,
                entry.author,
                str(len(runs)),
                f"{median(reached, 0)}; {len(arrived)} of {len(runs)} runs" if learns else "",
                f"{means['env_steps']:,.0f}" if learns else "",
                f"{means['seconds']:,.0f}" if learns else "",
                percent([run.success_rate for run in runs]),
                f"{means['spl']:.3f}",
                f"{np.mean([run.path_ratio for run in runs]):.2f}",
            ]
        )
    return table


INTRODUCTION = """# Leaderboard

Every entry was checked against the [protocol](protocol.md#version-v0) and made from raw scores by
`robot-room leaderboard submit`; [Your own algorithm](../own_algorithm.md#leaderboard) tells how to add
one. `random` draws actions uniformly, `oracle` knows the state and takes the smallest number of steps.
Steps to a success rate are the median over runs (lowest to highest), other figures the mean; seconds
compare on one machine only. This page is written by `robot-room leaderboard page` from
`benchmarks/leaderboard`.
"""


def main(config: Leaderboard) -> None:
    """Run the command."""
    if config.action == "submit":
        print(submit(config))
    else:
        text = page(entries(config.folder))
        config.page.parent.mkdir(parents=True, exist_ok=True)
        config.page.write_text(text)
        print(config.page)
