"""Break the code on purpose, one place at a time, and see whether the tests notice.

    pip install -c constraints.txt cosmic-ray
    python -m benchmarks.faults.mutants
    python -m benchmarks.faults.mutants --only agent/replay.py,agent/gate.py

The changes are those of Cosmic Ray, at places drawn from each file, and those of `breaks.toml`, which
were thought out by hand. A change that no test of its file notices survives; it is either *equivalent*,
for a reason given in `equivalent.toml`, or a test is missing, and the command fails.

A call tests what was not killed before, and all of a file that was changed. Tests are loaded once for
each file. A function gets its changed code in a fork of that process; only a change outside functions
loads everything anew.
"""

import difflib
import gc
import hashlib
import importlib
import inspect
import json
import os
import random
import resource
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from rich.console import Console

from agent.atomic import replace_file
from benchmarks.engine.jobs import command
from benchmarks.faults.processes import forked

ROOT = Path(__file__).parents[2]
OURS = ("agent", "robot_room", "benchmarks", "tests")
LIBRARIES = (
    "beartype diffusers gymnasium.vector h5py hypothesis imageio jaxtyping matplotlib.pyplot minari "
    "msgspec pandas plotly pygame rich.console rliable.library safetensors.torch scipy.stats "
    "stable_baselines3 torch.distributions torch.utils.tensorboard torchrl tyro"
).split()
"""Loaded once, because they take longer than most tests."""
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow")
SLOWER = 5.0  # than the tests of the unchanged file: then it hangs

TESTS = {
    "agent/distributions.py": "distributions",
    "agent/networks.py": "networks",
    "agent/gate.py": "restoration belief",
    "agent/planning/random_shooting.py": "planning",
    "agent/planning/cem.py": "planning",
    "agent/planning/icem.py": "planning",
    "agent/planning/mppi.py": "planning",
    "agent/planning/problem.py": "planning",
    "agent/planning/colour.py": "planning",
    "agent/planning/planner.py": "planning",
    "agent/restoration/conformal.py": "restoration",
    "agent/replay.py": "replay",
    "benchmarks/engine/spread.py": "protocol",
    "robot_room/app/evaluation/protocol.py": "protocol",
    "robot_room/room.py": "room goldens wall_masks env",
    "robot_room/randomness.py": "randomness",
    "robot_room/layouts.py": "layouts goldens wall_masks oracle env factors",
    "robot_room/goals.py": "goals",
    "robot_room/distractors.py": "distractors goldens rendering",
    "robot_room/rendering.py": "rendering goldens",
    "robot_room/sensors.py": "sensors goldens env",
    "robot_room/oracle.py": "oracle",
    "robot_room/checking.py": "checking env factors",
    "robot_room/starts.py": "goldens env factors vector_env",
    "robot_room/vector_env.py": "vector_env goldens",
    "robot_room/env.py": "env goldens",
    "robot_room/goal_env.py": "goals",
    "agent/restoration/noise.py": "restoration",
    "agent/restoration/inpainting.py": "restoration",
    "agent/restoration/critic.py": "restoration belief",
    "agent/restoration/restorer.py": "restoration belief",
    "agent/belief.py": "belief",
    "agent/static_map.py": "static_map",
    "agent/control.py": "control belief value",
    "agent/exploration.py": "training control",
    "agent/seeded.py": "process_state",
    "agent/collection.py": "collection training",
    "agent/learner.py": "training",
    "agent/training.py": "training actions",
    "agent/mapped_world_model.py": "mapped_world_model",
    "agent/world_model.py": "world_model hierarchical_vae",
    "benchmarks/comparison/evaluation_curve.py": "comparison_job",
    "robot_room/rooms.py": "env factors goals sensors wall_masks vector_env",
    "robot_room/factors.py": "factors",
    "robot_room/appearance.py": "loops factors",
    "robot_room/loops.py": "loops factors rendering",
    "agent/restoration/diffusion.py": "diffusion diffusers hierarchical_vae",
    "agent/calibration.py": "calibration autoencoder restoration",
    "agent/posteriors.py": "world_model posteriors",
    "agent/linear_gaussian.py": "linear_gaussian",
    "benchmarks/comparison/scores.py": "report",
    "benchmarks/comparison/losses.py": "report",
    "agent/restoration/denoiser.py": "denoiser",
    "agent/restoration/training.py": "denoiser",
}
"""Files that are changed, and the tests that should notice, the quickest first."""

SLOW = ("comparison_job", "denoiser", "oracle", "posteriors", "report", "resume", "vector_env")
"""Those of them that are marked slow as a whole."""


class Mutant(NamedTuple):
    """One change of one file."""

    module: str
    name: str
    """Cosmic Ray's operator and the place, or "by hand" and the reason."""
    line: int
    before: str
    after: str
    source: str
    """All of the changed file."""


class Record:
    """What became of the mutants, in a file; it is written after each of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: dict[str, Any] = {}
        if path.exists():
            self.modules = json.loads(path.read_text())["modules"]

    def of(self, module: str) -> dict[str, Any]:
        """The entry of a file; a new one where the file is no longer the one that was changed."""
        digest = hashlib.sha256((ROOT / module).read_bytes()).hexdigest()[:16]
        entry = self.modules.get(module)
        if entry is None or entry["sha256"] != digest:
            entry = {"sha256": digest, "killed": [], "survived": []}
            self.modules[module] = entry
        return entry

    def write(self) -> dict[str, int]:
        """Write the file; returns the counts."""
        reasons = equivalent()
        counts = {"killed": 0, "equivalent": 0, "survived: BAD": 0}
        for module, entry in self.modules.items():
            counts["killed"] += len(entry["killed"])
            for each in entry["survived"]:
                reason = reasons.get((module, each["before"], each["after"]))
                each["equivalent"] = reason
                counts["survived: BAD" if reason is None else "equivalent"] += 1
        content = {"counts": counts, "modules": dict(sorted(self.modules.items()))}
        replace_file(self.path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        return counts


@dataclass
class Mutants:
    """Test mutants, except for those that were killed before."""

    per_file: int = 20
    """Places that are drawn from a file."""
    seed: int = 0
    """Seed of the draws."""
    only: str = ""
    """Files, separated by commas; empty: all."""
    out: Path = Path("benchmarks/results/faults/mutants.json")
    """Where the results are."""

    def __post_init__(self) -> None:
        if self.per_file < 0:
            raise ValueError(f"per_file: got {self.per_file}, allowed: 0 or more")
        if unknown := set(self.only.split(",")) - {*TESTS, ""}:
            raise ValueError(f"only: got {', '.join(unknown)}, allowed: {', '.join(TESTS)}")


def main(config: Mutants) -> None:
    """Run the command.

    Raises:
        RuntimeError: there are survivors without a reason.
    """
    sys.dont_write_bytecode = True
    for name in LIBRARIES:
        importlib.import_module(name)
    for module in config.only.split(",") if config.only else TESTS:
        ended = forked(lambda name=module: _test_file(name, config), 24 * 3600.0)
        if ended.code != 0:
            raise RuntimeError(f"{module}: {ended.said}")
    counts = Record(config.out).write()
    Console().print(counts)
    if counts["survived: BAD"]:
        raise RuntimeError(f"{counts['survived: BAD']} mutants survived")


def _test_file(module: str, config: Mutants) -> str:
    """Test the mutants of one file."""
    record = Record(config.out)
    entry = record.of(module)
    mutants = [*breaks(module), *drawn(module, config.per_file, config.seed)]
    names = {mutant.name for mutant in mutants}
    entry["killed"] = [name for name in entry["killed"] if name in names]
    entry["survived"] = []
    wanted = [mutant for mutant in mutants if mutant.name not in entry["killed"]]
    if wanted:
        trials = Trials(module, wanted, entry, record)
        code = _pytest(module, [trials])
        if code != 0 or trials.seconds < 0:  # or there are none
            raise RuntimeError(f"its tests fail without any change ({code})")
        for mutant in trials.elsewhere:
            limit = SLOWER * trials.seconds + 30

            def afresh(mutant: Mutant = mutant, limit: float = limit) -> str:
                _limit(limit)
                _exchange(ROOT / module, mutant.source)
                return str(_pytest(module, []))

            ended = forked(afresh, 20 * limit + 600)
            trials.note(mutant, (ended.code, ended.said) == (0, "0"))
    record.write()
    return ""


class Trials:
    """A plugin of pytest that runs the collected tests once for each mutant, each in a fork.

    Attributes:
        seconds: CPU time of the tests without any change; negative: they fail.
        elsewhere: mutants that change more than a function; they are not tested here.
    """

    def __init__(
        self, module: str, mutants: list[Mutant], entry: dict[str, Any], record: Record
    ) -> None:
        self.seconds = -1.0
        self.elsewhere: list[Mutant] = []
        self._path, self._mutants = ROOT / module, mutants
        self._entry, self._record, self._done = entry, record, 0

    def pytest_runtestloop(self, session: Any) -> bool:
        """In place of running the tests once."""
        if not session.items:
            return True

        def unchanged() -> str:
            times = []
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                before = _cpu()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                times.append(_cpu() - before)
                if session.testsfailed:
                    return f"{item.nodeid} failed"
            return json.dumps(times)

        ended = forked(unchanged, 3600.0)
        if ended.code != 0 or not ended.said.startswith("["):
            print(ended.said, file=sys.stderr)
            return True
        spent = list(zip(json.loads(ended.said), session.items, strict=True))
        of_file: dict[Path, float] = {}
        for seconds, item in spent:
            of_file[item.path] = of_file.get(item.path, 0.0) + seconds
        self.seconds = sum(of_file.values())
        # The fastest first, but a file at a time, as its tests share what they need.
        spent.sort(key=lambda each: (of_file[each[1].path], str(each[1].path), each[0]))
        items = [item for _, item in spent]
        original = compile(self._path.read_text(), str(self._path), "exec")
        functions: dict[str, list[FunctionType]] = {}
        for each in gc.get_objects():
            if type(each) is FunctionType and each.__code__.co_filename == str(self._path):
                functions.setdefault(each.__code__.co_qualname, []).append(each)
        gc.freeze()
        for mutant in self._mutants:
            changed = _changed_function(original, compile(mutant.source, str(self._path), "exec"))
            found = functions.get(changed.co_qualname, []) if changed else []
            if changed is None or not found:
                self.elsewhere.append(mutant)
                continue

            def trial(code: CodeType = changed, found: list[FunctionType] = found) -> str:
                _limit(SLOWER * self.seconds + 5)
                for function in found:
                    function.__code__ = code
                return "passed" if _run(session, items) else "failed"

            ended = forked(trial, 20 * SLOWER * self.seconds + 600)
            self.note(mutant, ended[:2] == (0, "passed"))
        return True

    def pytest_internalerror(self, excrepr: Any) -> None:
        """Tell what went wrong here."""
        print(excrepr, file=sys.stderr)

    def note(self, mutant: Mutant, survived: bool) -> None:
        """Write down what became of a mutant."""
        if survived:
            place = {"name": mutant.name, "line": mutant.line}
            self._entry["survived"].append(place | {"before": mutant.before, "after": mutant.after})
        else:
            self._entry["killed"].append(mutant.name)
        self._record.write()
        self._done += 1
        outcome = "SURVIVED" if survived else "killed"
        text = (
            f"{self._done}/{len(self._mutants)} {outcome} {mutant.module}:{mutant.line} {mutant.after}"
        )
        print(text, file=sys.stderr, flush=True)


def _pytest(module: str, plugins: list[Any]) -> int:
    """Run the tests of a file, as if nothing of this project had been imported; pytest's exit code."""
    import gymnasium
    import hypothesis
    import pytest

    folders = tuple(str(ROOT / each) for each in OURS)
    for name, loaded in list(sys.modules.items()):
        if str(getattr(loaded, "__file__", "")).startswith(folders):
            del sys.modules[name]
    for name, spec in list(gymnasium.registry.items()):
        if str(spec.entry_point).startswith(OURS):
            del gymnasium.registry[name]
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # what fails need not be small
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
    options = ["-x", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # it is loaded already
    names = TESTS[module].split()
    marks = "not screen" if set(names) & set(SLOW) else "not slow and not screen"
    files = [f"tests/test_{name}.py" for name in names]
    return int(pytest.main([*options, "-m", marks, *files], plugins))


def _run(session: Any, items: list[Any]) -> bool:
    """Run tests until one fails; whether none did."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return False
    return True


def _limit(seconds: float) -> None:
    """Let this process end after that much CPU time."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _exchange(module: Path, source: str) -> None:
    """Let Python find another source at a path."""
    original = SourceFileLoader.get_data

    def get_data(self: SourceFileLoader, path: str) -> bytes:
        if path == str(module):
            return source.encode()
        compiled = Path(path)
        if compiled.name.startswith(f"{module.stem}.cpython") and compiled.parents[1] == module.parent:
            raise OSError("its bytecode is that of the unchanged file")
        return original(self, path)

    SourceFileLoader.get_data = get_data


def _changed_function(before: CodeType, after: CodeType) -> CodeType | None:
    """The new code of the only function that a change is in; None if it is elsewhere."""
    if before.co_flags & inspect.CO_OPTIMIZED:  # a function's
        return after if before.co_freevars == after.co_freevars else None
    if _alone(before) != _alone(after):
        return None
    pairs = zip(_inner(before), _inner(after), strict=True)
    different = [(old, new) for old, new in pairs if old != new]
    return _changed_function(*different[0]) if len(different) == 1 else None


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _alone(code: CodeType) -> tuple[Any, ...]:
    """What a code is without the codes inside of it."""
    constants = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_code, constants, code.co_names, code.co_varnames, len(_inner(code))


def drawn(module: str, count: int, seed: int) -> list[Mutant]:
    """Mutants of Cosmic Ray at `count` places of a file, drawn without replacement; one each."""
    from cosmic_ray.commands.init import _all_work_items  # pyright: ignore[reportMissingImports] - of the extra `maintenance`
    from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports] - of the extra `maintenance`
    from cosmic_ray.plugins import get_operator  # pyright: ignore[reportMissingImports] - of the extra `maintenance`

    path = ROOT / module
    code = path.read_text()
    places: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for item in _all_work_items([path], {}):
        mutation = item.mutations[0]
        operator = mutation.operator_name.removeprefix("core/")
        if _counts(operator, code.splitlines()[mutation.start_pos[0] - 1]):
            places.setdefault(mutation.start_pos, []).append((operator, mutation.occurrence))
    generator = random.Random(f"{seed} {module}")
    mutants = []
    for place in generator.sample(sorted(places), len(places)):
        operator, occurrence = generator.choice(places[place])
        changed = mutate_code(code, get_operator(f"core/{operator}")(), occurrence)
        if changed is not None and changed != code and _compiles(changed):
            name = f"{operator} {occurrence}"
            mutants.append(Mutant(module, name, place[0], *_difference(code, changed), changed))
        if len(mutants) == count:
            break
    return mutants


def _compiles(code: str) -> bool:
    try:
        compile(code, "changed", "exec")
    except SyntaxError:
        return False
    return True


def _counts(operator: str, line: str) -> bool:
    """Whether a change is worth a test: some only make a type error, or touch no value at all."""
    if operator in ("RemoveDecorator", "ExceptionReplacer"):
        return False
    if operator.startswith("ReplaceBinaryOperator"):
        _, old, new = operator.split("_")
        return (old in ARITHMETIC and new in ARITHMETIC) or (old, new) == ("BitAnd", "BitOr")
    if operator.endswith(("_Is", "_IsNot")):
        return operator in ("ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is")
    return True


def breaks(module: str) -> list[Mutant]:
    """The changes of `breaks.toml`.

    Raises:
        ValueError: what is to be replaced is not there once.
    """
    code = (ROOT / module).read_text()
    mutants = []
    for each in tomllib.loads(Path(__file__).with_name("breaks.toml").read_text()).get("break", []):
        if each["module"] != module:
            continue
        if code.count(each["before"]) != 1:
            found = code.count(each["before"])
            raise ValueError(f"breaks.toml: got {found} of {each['before']!r} in {module}, allowed: 1")
        changed = code.replace(each["before"], each["after"])
        line = code[: code.index(each["before"])].count("\n") + 1
        name = f"by hand: {each['what']}"
        mutants.append(Mutant(module, name, line, *_difference(code, changed), changed))
    return mutants


def equivalent() -> dict[tuple[str, str, str], str]:
    """Reasons why changes change nothing that matters, by file, lines before and lines after."""
    entries = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text())
    return {
        (each["module"], each["before"], each["after"]): each["reason"]
        for each in entries.get("mutant", [])
    }


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, stripped."""
    lines = list(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=0))[2:]

    def marked(mark: str) -> Iterator[str]:
        return (line[1:].strip() for line in lines if line.startswith(mark))

    return "\n".join(marked("-")), "\n".join(marked("+"))


if __name__ == "__main__":
    command(Mutants, main)
