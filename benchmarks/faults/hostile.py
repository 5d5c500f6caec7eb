"""Hostile files: good ones, of which a field, some bytes or a whole file is changed."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import robot_room  # noqa: F401 - registers its environments
from agent import Agent
from agent.calibration import Restoration
from agent.datasets import load_episodes
from agent.restoration.training import AutoencoderTrainer, DenoiserTrainer
from benchmarks.comparison.records import Records
from benchmarks.faults import samples
from benchmarks.faults.processes import forked
from benchmarks.faults.tally import Tally
from robot_room.app.datasets.recording import Recorder, record
from robot_room.app.evaluation.policies import Scripted

SLACK = 48 * 2**20  # bytes that code and its caches may take, beside the files
SECONDS = 60.0
NAUGHTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**9, 2**63, 2**64, 10**30, 0.5, -0.5, 1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "os:system", "../../x", "\0", "é" * 1000),
    *([], [0], [-1], [10**9] * 3, [[]], {}, {"x": 1}, {"": {}}, [None], ["os:system"]),
    *('{"id": "os:system"}', "<script>alert(1)</script>", "antigravity:RobotRoom-v0", "9" * 5000),
)
RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn")


def kinds(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A good sample of each kind of thing, and what reads and uses it."""
    samples.stopped_agent(folder / "agent")
    samples.restorations(folder / "restorer", folder / "diffusion")
    samples.trainer().save(folder / "trainer")
    samples.autoencoder_trainer().save(folder / "autoencoder")
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "datasets")
    env = gym.make("RobotRoom-v0")
    recorder = Recorder("a-v0", env, "random", append=False)
    for seed in range(2):
        recorder.add(record(env, Scripted(env, "expert"), seed))
    recorder.publish()
    origin = Path("benchmarks/results/sweep/RobotRoom-v0")
    (folder / "records" / "RobotRoom-v0").mkdir(parents=True)
    for path in sorted(origin.glob("world-model-seed[01].json")):
        shutil.copy(path, folder / "records" / "RobotRoom-v0")
    return {
        "agent": (folder / "agent", _use_agent),
        "restorer": (folder / "restorer", Restoration.load),
        "diffusion": (folder / "diffusion", Restoration.load),
        "trainer": (folder / "trainer", DenoiserTrainer.load),
        "autoencoder": (folder / "autoencoder", AutoencoderTrainer.load),
        "dataset": (folder / "datasets" / "a-v0" / "data", _use_dataset),
        "records": (folder / "records", Records),
    }


def files(tally: Tally, count: int, generator: np.random.Generator) -> None:
    """Change a good sample in one place and read it; each trial in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = kinds(folder / "good")
        ground = forked(lambda: "", SECONDS).peak
        while tally.trials < count:
            kind = list(good)[int(generator.integers(len(good)))]
            origin, use = good[kind]
            target = folder / "trial" / origin.relative_to(folder / "good")
            shutil.rmtree(folder / "trial", ignore_errors=True)
            shutil.copytree(origin, target)
            change = _changed(target, generator)
            size = sum(f.lstat().st_size for f in target.rglob("*") if not f.is_symlink())

            def trial(use: Callable[[Path], object] = use, target: Path = target) -> str:
                os.environ["MINARI_DATASETS_PATH"] = str(folder / "trial" / "datasets")
                return _read(use, target)

            ended = forked(trial, SECONDS)
            over = ended.peak - ground - 1.5 * size - SLACK
            said = ended.said if ended.code == 0 else f"died ({ended.code})"
            bad = "" if said in ("read", "refused") else f"{kind}: {change}: {said}"
            if over > 0:
                said, bad = "memory", f"{kind}: {change}: {over / 2**20:.0f} MiB over the bound"
            tally.add(f"{kind}: {said.splitlines()[0][:40]}", bad)


def _read(use: Callable[[Path], object], target: Path) -> str:
    """What comes of reading: "read", "refused", or something that must not be."""
    ran = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in RUNS_CODE else None)
    before = set(sys.modules)
    try:
        use(target)
        said = "read"
    except ValueError as error:
        said = "refused" if str(error) else "refused without a word"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    foreign = {name.split(".")[0] for name in set(sys.modules) - before} & {"antigravity", "this"}
    return f"ran code: {ran} {foreign}" if ran or foreign else said


def _use_agent(path: Path) -> None:
    agent = Agent.load(path)
    agent.predict(np.zeros((64, 64, 3), np.uint8))


def _use_dataset(path: Path) -> None:
    env = gym.make("RobotRoom-v0")
    frames, actions = env.observation_space, env.action_space
    assert isinstance(frames, gym.spaces.Box) and isinstance(actions, gym.spaces.Box)
    list(load_episodes("a-v0", env.spec, frames, actions))


def _changed(folder: Path, generator: np.random.Generator) -> str:
    """Change one thing; returns what."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = paths[int(generator.integers(len(paths)))]
    if path.suffix == ".json" and generator.random() < 0.7:
        return f"{path.name}: {_changed_json(path, generator)}"
    return f"{path.name}: {_changed_bytes(path, paths, generator)}"


def _changed_json(path: Path, generator: np.random.Generator) -> str:
    contents = json.loads(path.read_text())
    places = list(_places(contents))
    holder, key, where = places[int(generator.integers(len(places)))]
    value = NAUGHTY[int(generator.integers(len(NAUGHTY)))]
    match int(generator.integers(4)):
        case 0:
            del holder[key]
            value = "removed"
        case 1 if isinstance(holder[key], str) and holder[key].startswith("{"):  # JSON within JSON
            inner = json.loads(holder[key])
            name = list(inner)[int(generator.integers(len(inner)))]
            inner[name] = value
            holder[key], where = json.dumps(inner), f"{where}.{name}"
        case _:
            holder[key] = value
    path.write_text(json.dumps(contents))
    return f"{where} = {value!r:.60}"


def _places(value: Any, where: str = "$") -> Iterator[tuple[Any, Any, str]]:
    """Every entry of nested lists and objects, as its holder, key and path."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in list(items):
        yield value, key, f"{where}.{key}"
        if isinstance(each, dict | list):
            yield from _places(each, f"{where}.{key}")


def _changed_bytes(path: Path, paths: list[Path], generator: np.random.Generator) -> str:
    data = bytearray(path.read_bytes())
    size = len(data)
    # Headers are short and matter most; half of the changes are made there.
    first = int(generator.integers(min(size, 4096) if generator.random() < 0.5 else size))
    length = int(2 ** generator.uniform(0, 10))
    match int(generator.integers(9)):
        case 0:
            data[first] ^= 1 << int(generator.integers(8))
            change = f"bit of byte {first}"
        case 1:
            data[first : first + length] = generator.bytes(len(data[first : first + length]))
            change = f"{length} random bytes at {first}"
        case 2:
            data[first : first + length] = bytes([int(generator.choice([0, 255]))]) * length
            change = f"{length} equal bytes at {first}"
        case 3:
            del data[first:]
            change = f"cut to {first}"
        case 4:
            data[first:first] = generator.bytes(length)
            change = f"{length} bytes put in at {first}"
        case 5:
            del data[first : first + length]
            change = f"{length} bytes taken out at {first}"
        case 6:
            data = bytearray(paths[int(generator.integers(len(paths)))].read_bytes())
            change = "another file"
        case 7:
            data = bytearray(b"[" * 100_000)
            change = "100,000 brackets"
        case _:
            path.unlink()
            return _no_file(path, generator)
    path.write_bytes(data)
    return change


def _no_file(path: Path, generator: np.random.Generator) -> str:
    """Put something that is no regular file in a file's place."""
    match int(generator.integers(5)):
        case 0:
            return "missing"
        case 1:
            path.symlink_to("/dev/zero")
            return "link to /dev/zero"
        case 2:
            os.mkfifo(path)
            return "pipe"
        case 3:
            path.mkdir()
            return "folder"
        case _:
            path.symlink_to(path.name)
            return "link to itself"
