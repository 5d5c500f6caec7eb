"""The records of a sweep: read, checked to belong together, and found by algorithm and environment."""

import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent.checkpoint import Finite, Whole, converted
from benchmarks.comparison.budgets import ALGORITHMS, BUDGETS, OTHER, OURS, PLAIN, REFERENCES
from benchmarks.engine.backends import Record
from benchmarks.engine.jobs import read_record

NAME = re.compile(r"[\w.+:/-]{1,100}")
"""Of an algorithm or an environment."""


class SavedEvaluation(msgspec.Struct, frozen=True):
    """A point of a record's curve."""

    env_steps: Finite
    seconds: Finite
    planning_seconds: Finite
    success_rate: Finite
    spl: Finite
    mean_return: Finite
    path_ratio: Finite
    decision_ms: Finite


class SavedJobSettings(msgspec.Struct, frozen=True):
    """What the result of a job depends on; see `benchmarks.comparison.job.settings`."""

    threshold: Finite
    protocol: Whole | None = None
    episodes: Whole | None = None
    env_steps: Whole | None = None
    seconds: Finite | None = None
    setting: str | None = None
    arguments: str | None = None
    evaluated_with: dict[str, Any] | None = None


class SavedRecord(msgspec.Struct, frozen=True):
    """A record of a sweep, as far as the report uses it."""

    seed: Whole
    curve: Annotated[list[SavedEvaluation], Meta(min_length=1)]
    versions: dict[str, str]
    settings: SavedJobSettings
    clip: str = ""
    """A film, as base64."""


class Records:
    """The records of a sweep, by algorithm, environment and seed.

    Args:
        folder: the output folder of `benchmarks.comparison.sweep`.

    Attributes:
        records: by algorithm, environment id and seed.
        budgets: threshold, env_steps and seconds by environment id, which its records share.
        origin: versions and protocol, which all records share.
        env_ids: the environments that have records, in the order of `BUDGETS`, then others.
        algorithms: the algorithms that have records, in the order of `ALGORITHMS`, then others.
        learners: those of them that learn.
        others: learners that are not ours.
        shared: the environments in which every built-in learner has run: only these are aggregated.

    Raises:
        ValueError: no records, or one that is half written, of an unknown algorithm or environment,
            duplicated, or of other versions, settings or budgets than the rest.
    """

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*/*.json"))
        if not paths:
            raise ValueError(
                f"out: got {folder}, which has no records; run benchmarks.comparison.sweep first"
            )
        self.records: dict[tuple[str, str, int], Record] = {}
        self.budgets: dict[str, Record] = {}
        self.origin: Record = {}
        for path in paths:
            record = read_record(path)
            _require_complete(path, record)
            self._require_same_origin(path, record, paths[0])
            self._require_same_budget(path, record)
            self._require_same_setting(path, record)
            key = record["algorithm"], record["env_id"], record["seed"]
            if key in self.records:
                raise ValueError(f"{path}: got {key}, which is there twice; remove one of the files")
            self.records[key] = record
        for env_id, budget in self.budgets.items():
            usual = BUDGETS.get(env_id, OTHER)
            budget.setdefault("seconds", usual.seconds)  # nobody else has run here
            budget.setdefault("env_steps", usual.env_steps)
        present = {algorithm for algorithm, _, _ in self.records}
        self.env_ids = _known_first(self.budgets, BUDGETS)
        self.algorithms = _known_first(present, ALGORITHMS)
        self.learners = [a for a in self.algorithms if a not in REFERENCES]
        self.others = [a for a in self.learners if a not in (OURS, PLAIN)]
        own = [a for a in self.learners if a in ALGORITHMS] or self.learners
        self.shared = [e for e in self.env_ids if all(self.runs(a, e) for a in own)]

    def runs(self, algorithm: str, env_id: str) -> list[Record]:
        """An algorithm's records in an environment, by seed."""
        keys = sorted(key for key in self.records if key[:2] == (algorithm, env_id))
        return [self.records[key] for key in keys]

    def _require_same_origin(self, path: Path, record: Record, first: Path) -> None:
        origin = {name: record["settings"].get(name) for name in ("protocol", "episodes")}
        origin["versions"] = releases(record["versions"])
        self.origin = self.origin or origin
        for name, others in self.origin.items():
            if (mine := origin[name]) != others:
                raise ValueError(f"{path}: got {name} {mine}, allowed: {others}, as in {first}")

    def _require_same_budget(self, path: Path, record: Record) -> None:
        budget = self.budgets.setdefault(record["env_id"], {})
        for name in ("threshold", "env_steps", "seconds", "evaluated_with"):
            mine = record["settings"].get(name)
            if mine is not None and budget.setdefault(name, mine) != mine:
                allowed = f"{budget[name]}, as in others of {record['env_id']}"
                raise ValueError(f"{path}: got {name} {mine}, allowed: {allowed}")

    def _require_same_setting(self, path: Path, record: Record) -> None:
        for other in self.runs(record["algorithm"], record["env_id"])[:1]:
            mine, others = (each["settings"].get("arguments") for each in (record, other))
            if mine != others:
                raise ValueError(f"{path}: got arguments {mine}, allowed: {others}, as other seeds")


def _known_first(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The known names in their own order, then the others."""
    names, known = set(names), list(known)
    return [name for name in known if name in names] + sorted(names - set(known))


def releases(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions without their builds (+cpu, +cu130), which do not matter."""
    return {name: number.split("+")[0] for name, number in versions.items()}


def _require_complete(path: Path, record: Record) -> None:
    """Refuse a record that no sweep writes."""
    outside = record["settings"].get("setting") if isinstance(record["settings"], dict) else None
    own = record.get("algorithm") in ALGORITHMS or ":" in str(outside)
    for name, fits in (("algorithm", own), ("env_id", True)):
        value = record.get(name)
        if not fits or not isinstance(value, str) or not NAME.fullmatch(value):
            allowed = {
                "algorithm": f"{ALGORITHMS}, or one from outside, with its module:function as setting",
                "env_id": "the id of an environment",
            }[name]
            raise ValueError(f"{path}: {name}: got {value!r}, allowed: {allowed}")
    for field in msgspec.structs.fields(SavedRecord):
        value = record.get(field.encode_name, "" if field.name == "clip" else None)
        try:
            converted(path, value, field.type)
            wrong = field.name == "clip" and not _is_base64(value)
        except ValueError:
            wrong = True
        if wrong:
            raise ValueError(
                f"{path}: {field.name}: got {value!r:.200}, allowed: as a sweep writes it; remove the "
                "file to run its job again"
            )


def _is_base64(clip: object) -> bool:
    """Whether a film is in the form that goes into the page as it is."""
    try:
        return isinstance(clip, str) and bool(base64.b64decode(clip, validate=True) or not clip)
    except ValueError:
        return False
