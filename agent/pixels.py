"""Any Gymnasium environment as a task from pixels: `Agent(pixels("Pendulum-v1"))`.

They are what the environment draws, or images among its observations. It is registered as "Pixels-v0",
with the other one's id among its arguments, so that a saved agent makes it again.
"""

import copy
import sys
from collections.abc import Sequence
from typing import Annotated, Any, SupportsFloat, TypeGuard

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agent.config import checked

PIXELS = "Pixels-v0"
Repeat = Annotated[int, Ge(1), Le(1000)]
Side = Annotated[int, Ge(16), Le(1024)]


class Pixels(gym.Env[NDArray[np.uint8], Any]):
    """An environment seen through its camera, `render()`, or in observed images, scaled to a square.

    What the environment itself observes is `info["observation"]`.

    Args:
        env_id: the registered environment; its package must have been imported.
        size: height and width of the image in pixels.
        frame_repeat: steps for which each action is repeated; their rewards are added.
        frames: the last frames that are observed together, as channels.
        env_kwargs: arguments of the environment.
        keys: names of images in the observation, a dictionary, that are seen instead of the camera's;
            together they are one frame. The last one is what pictures show.
        render_mode: "rgb_array" or None; both are the same.

    Raises:
        ValueError: an argument is not allowed, or the environment cannot be made with a camera; at
            `reset`, if what it draws is no image.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        env_id: str,
        size: int = 64,
        frame_repeat: int = 1,
        frames: int = 1,
        env_kwargs: dict[str, Any] | None = None,
        keys: Sequence[str] = (),
        render_mode: str | None = "rgb_array",
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, allowed: 'rgb_array' or None")
        self.size = checked("size", size, Side)
        self.frame_repeat = checked("frame_repeat", frame_repeat, Repeat)
        self.frames = checked("frames", frames, Annotated[int, Ge(1), Le(16)])
        self.render_mode = "rgb_array"
        self.inner = _made(env_id, env_kwargs or {})
        self.keys, channels = _images_among(self.inner.observation_space, keys)
        self.action_space = self.inner.action_space
        shape = (self.size, self.size, (channels or 3) * self.frames)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self._last: list[NDArray[np.uint8]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """See `gymnasium.Env.reset`. The first frame stands for those before it."""
        super().reset(seed=seed)
        observation, info = self.inner.reset(seed=seed, options=options)
        self._last = [self._frame(observation)] * self.frames
        return np.concatenate(self._last, -1), {**info, "observation": observation}

    def step(self, action: Any) -> tuple[NDArray[np.uint8], SupportsFloat, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        observation, reward, terminated, truncated, info = self.inner.step(action)
        total = float(reward)
        for _ in range(self.frame_repeat - 1):
            if terminated or truncated:
                break
            observation, reward, terminated, truncated, info = self.inner.step(action)
            total += float(reward)
        self._last = [*self._last[1:], self._frame(observation)]
        info = {**info, "observation": observation}
        return np.concatenate(self._last, -1), total, bool(terminated), bool(truncated), info

    def render(self) -> NDArray[np.uint8]:
        """The environment's own image, unscaled."""
        return _image(self.inner)

    def close(self) -> None:
        """See `gymnasium.Env.close`."""
        self.inner.close()

    def _frame(self, observation: Any) -> NDArray[np.uint8]:
        images = [observation[key] for key in self.keys] or [_image(self.inner)]
        return np.concatenate([scaled(image, self.size) for image in images], -1)


def pixels(
    env_id: str,
    size: int = 64,
    frame_repeat: int = 1,
    frames: int = 1,
    env_kwargs: dict[str, Any] | None = None,
    keys: Sequence[str] = (),
) -> EnvSpec:
    """The spec of an environment as a task from pixels; for the arguments, see `Pixels`.

    Raises:
        ValueError: an argument is not allowed, or the environment cannot be made with a camera.
    """
    kwargs: dict[str, Any] = {
        "env_id": env_id,
        "size": size,
        "frame_repeat": frame_repeat,
        "frames": frames,
    }
    if keys:
        kwargs["keys"] = list(keys)
    if env_kwargs:
        kwargs["env_kwargs"] = env_kwargs
    Pixels(**kwargs).close()
    spec = copy.deepcopy(gym.spec(PIXELS))
    spec.kwargs = kwargs
    return spec


def scaled(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image (H, W, C) scaled to (size, size, C); each pixel is the mean of those that it covers."""
    if image.shape[:2] == (size, size):
        return image
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    mean = F.interpolate(planes, (size, size), mode="area")[0].permute(1, 2, 0)
    return (mean + 0.5).to(torch.uint8).contiguous().numpy()


def _made(env_id: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    """The environment, made without importing a package that a file might name.

    Raises:
        ValueError: it is not registered, or cannot be made with a camera.
    """
    if not isinstance(env_id, str):
        raise ValueError(f"env_id: got {env_id!r:.200}, allowed: the id of a registered environment")
    package, _, name = env_id.rpartition(":")
    if package and package not in sys.modules:
        raise ValueError(f"env_id: got {env_id!r}, allowed: one whose package was imported before")
    if name == PIXELS or (name in gym.registry and imports_others(gym.registry[name])):
        raise ValueError(f"env_id: got {env_id!r}, allowed: an environment of its own")
    try:
        return gym.make(name, render_mode="rgb_array", **kwargs)
    except (gym.error.Error, ImportError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        allowed = "a registered environment with the render mode rgb_array"
        raise ValueError(f"env_id: got {env_id!r} ({problem}), allowed: {allowed}") from error


def _images_among(observations: gym.Space[Any], keys: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """The keys, if they are names of images in a dictionary of observations, and their channels.

    Raises:
        ValueError: one is not.
    """
    named = observations.spaces if isinstance(observations, gym.spaces.Dict) else {}
    images = {name: space.shape[2] for name, space in named.items() if is_image(space)}
    several = isinstance(keys, Sequence) and not isinstance(keys, str)
    known = several and all(isinstance(key, str) and key in images for key in keys)
    if not known or len(set(keys)) < len(keys):
        raise ValueError(f"keys: got {keys!r}, allowed: several of {list(images)}, images observed")
    return tuple(keys), sum(images[key] for key in keys)


def is_image(space: gym.Space[Any]) -> TypeGuard[gym.spaces.Box]:
    """Whether a space is of images, (H, W, C) of uint8."""
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def imports_others(spec: EnvSpec) -> bool:
    """Whether an environment makes others, of any module, by a name among its arguments.

    Gymnasium's ids for environments of its predecessor do; shimmy implements them.
    """
    return isinstance(spec.entry_point, str) and spec.entry_point.startswith("shimmy.")


def _image(env: gym.Env[Any, Any]) -> NDArray[np.uint8]:
    image: Any = env.render()
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,)):
        got = type(image).__name__ if not isinstance(image, np.ndarray) else image.shape
        raise ValueError(f"env_id: got {got} from render(), allowed: an image (H, W, 3) of uint8")
    return image


gym.register(PIXELS, "agent.pixels:Pixels", disable_env_checker=True, order_enforce=True)
