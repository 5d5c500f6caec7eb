"""`swm/TwoRoom-v1` of stable-worldmodel: two rooms with a door between them, which others wrote.

Its own reward is always 0, so two are stated here. `TwoRoomDistance-v1` gives minus the distance to the
target over the width of the image, `TwoRoomArrival-v1` gives 1 for arrival and else 0. The target is
drawn. Agent and target start anywhere, in the same room or not.

The package is installed without what it needs for training, some gigabytes:
`pip install --no-deps stable-worldmodel==0.1.1 loguru`.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, SupportsFloat

import gymnasium as gym

PACKAGE = "stable_worldmodel"
WIDTH = 224
MAX_EPISODE_STEPS = 100
"""The longest way, around the wall from corner to corner, takes some 65."""
DISTANCE, ARRIVAL = "TwoRoomDistance-v1", "TwoRoomArrival-v1"


class TwoRoom(gym.Wrapper[Any, Any, Any, Any]):
    """The environment with a reward, and with starts that depend on the seed alone.

    Its own resets without a seed draw from the operating system.

    Args:
        reward: which of the two.
        render_mode: "rgb_array"; there is no other.
    """

    def __init__(
        self, reward: Literal["distance", "arrival"] = "distance", render_mode: str = "rgb_array"
    ) -> None:
        super().__init__(_environment()(render_mode=render_mode, render_target=True))
        self.reward = reward

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        observation, _, terminated, truncated, info = super().step(action)
        if self.reward == "arrival":
            reward = float(terminated)
        else:
            reward = -info["distance_to_target"] / WIDTH
        return observation, reward, terminated, truncated, {**info, "is_success": terminated}


def _environment() -> Any:
    """The class, imported without running its packages' `__init__`, which need what was left out."""
    if PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError("TwoRoom: pip install --no-deps stable-worldmodel==0.1.1 loguru")
        folder = Path(spec.submodule_search_locations[0])
        for name in (PACKAGE, f"{PACKAGE}.envs", f"{PACKAGE}.envs.two_room"):
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        importlib.import_module(f"{PACKAGE}.utils")  # its spaces expect it to be there
    return importlib.import_module(f"{PACKAGE}.envs.two_room.env").TwoRoomEnv


for _id, _reward in ((DISTANCE, "distance"), (ARRIVAL, "arrival")):
    gym.register(
        _id,
        f"{__name__}:{TwoRoom.__name__}",
        max_episode_steps=MAX_EPISODE_STEPS,
        disable_env_checker=True,
        kwargs={"reward": _reward},
    )
