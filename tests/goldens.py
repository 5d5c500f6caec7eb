"""Hashes of seeded rollouts of every id: what v0 means. It needs nothing but the environment.

python tests/goldens.py            compares with goldens.json, exits with 1 if one differs
python tests/goldens.py --write    writes them anew: only for a new version of the environment
"""

import hashlib
import json
import platform
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np

import robot_room

PATH = Path(__file__).parent / "goldens.json"
STEPS = 300
CASES = {name: (name, {}) for name in robot_room.VARIANTS} | {
    f"RobotRoomNoisyCamera-v0 {kind} {severity}": (
        "RobotRoomNoisyCamera-v0",
        {"corruption": kind, "severity": severity},
    )
    for kind in ("gaussian", "dead_pixels", "blackout", "occluder", "dropped_frames")
    for severity in (1, 5)
}
CASES["all at once"] = (
    "RobotRoomMaze-v0",
    {
        **{"goal": "random", "reward": "sparse", "layout_seed": 7, "num_layouts": 50},
        **{"distractors": 6, "slip": 0.5, "corruption": "dead_pixels", "severity": 2},
    },
)


def rollout_hash(name: str, kwargs: dict) -> str:
    """SHA-256 of all that a seeded rollout returns, to the last bit."""
    digest = hashlib.sha256()
    env = gym.make(name, masks=True, **kwargs)
    generator = np.random.default_rng(2026)

    def add(*values) -> None:
        for value in values:
            if isinstance(value, dict):
                add(*(value[key] for key in sorted(value)))
                continue
            value = np.ascontiguousarray(value)
            digest.update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())

    def add_info(info: dict) -> None:
        masks = info.pop("masks")
        for part in (info, masks):
            for key in sorted(part):
                add(part[key])

    observation, info = env.reset(seed=123)
    add(observation)
    add_info(info)
    for _ in range(STEPS):
        action = generator.random(2).astype(np.float32) * 2.4 - 1.2
        observation, reward, terminated, truncated, info = env.step(action)
        add(observation, float(reward), terminated, truncated)
        add_info(info)
        if terminated or truncated:
            observation, info = env.reset()
            add(observation)
            add_info(info)
    return digest.hexdigest()


def main() -> int:
    """Compare or write; the exit code."""
    hashes = {case: rollout_hash(*arguments) for case, arguments in CASES.items()}
    if "--write" in sys.argv:
        PATH.write_text(json.dumps(hashes, indent=1) + "\n")
        return 0
    kept = json.loads(PATH.read_text())
    differ = [case for case in kept if hashes.get(case) != kept[case]]
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(
        f"{versions}, gymnasium {gym.__version__}: {len(kept) - len(differ)} of {len(kept)} agree",
        *differ,
    )
    return 1 if differ or set(hashes) != set(kept) else 0


if __name__ == "__main__":
    sys.exit(main())
