"""Draw every variant of the room, and every way in which its camera fails."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import robot_room
from robot_room.app.command_line import run
from robot_room.sensors import SEVERITIES

TILE, GAP, LABEL = 192, 12, 22  # pixels


DRAWING = """
........
.####.#.
......#.
.#....#.
.#....#.
.#......
.#.####.
........
"""


def circles() -> NDArray[np.bool_]:
    """A mask of four pillars."""
    row, column = np.mgrid[:64, :64]
    mask = np.zeros((64, 64), np.bool_)
    for y, x in ((14, 14), (14, 50), (50, 14), (50, 50)):
        mask |= (row - y) ** 2 + (column - x) ** 2 < 30
    return mask


def comb(number: int) -> NDArray[np.bool_]:
    """Teeth of random lengths from the top and the bottom."""
    walls, generator = np.zeros((32, 32), np.bool_), np.random.default_rng(number)
    for tooth, column in enumerate((6, 13, 20, 27)):
        length = generator.integers(8, 15)
        rows = slice(0, length) if tooth % 2 else slice(32 - length, 32)
        walls[rows, column] = True
    return walls


@dataclass
class Gallery:
    """Write the README's pictures of the variants; what is shown are the observations, enlarged."""

    out: Path = Path("docs")
    """The directory for variants.png, corruptions.png and layouts.png."""
    seed: int = 4
    """Of the starts."""
    steps: int = 6
    """Taken before the picture, so that what moves is on its way."""


def observe(config: Gallery, env_id: str, **kwargs: Any) -> NDArray[np.uint8]:
    """What an agent sees after some steps to the upper right."""
    env = gym.make(env_id, **kwargs)
    observation, _ = env.reset(seed=config.seed)
    for _ in range(config.steps):
        observation = env.step(np.array([0.4, 0.3], np.float32))[0]
    return observation["observation"] if isinstance(observation, dict) else observation


def sheet(tiles: list[tuple[str, NDArray[np.uint8]]], columns: int) -> Image.Image:
    """Pictures with labels above them, row by row."""
    rows = -(-len(tiles) // columns)
    width, height = columns * (TILE + GAP) + GAP, rows * (TILE + LABEL + GAP) + GAP
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for number, (label, observation) in enumerate(tiles):
        row, column = divmod(number, columns)
        x, y = GAP + column * (TILE + GAP), GAP + row * (TILE + LABEL + GAP)
        draw.text((x, y), label, "black", font)
        picture = Image.fromarray(observation).resize((TILE, TILE), Image.Resampling.NEAREST)
        canvas.paste(picture, (x, y + LABEL))
    return canvas


def main(config: Gallery) -> None:
    """Run the script."""
    config.out.mkdir(parents=True, exist_ok=True)
    variants = [(name, observe(config, name)) for name in robot_room.VARIANTS]
    sheet(variants, 4).save(config.out / "variants.png", optimize=True)
    name = "RobotRoomNoisyCamera-v0"
    corruptions = [
        (f"{kind} {severity}", observe(config, name, corruption=kind, severity=severity))
        for kind in SEVERITIES
        for severity in range(1, 6)
    ]
    sheet(corruptions, 5).save(config.out / "corruptions.png", optimize=True)
    robot_room.register_layout("comb", comb)
    rooms: list[tuple[str, Any, int]] = [
        ("a drawing", DRAWING, 1),
        ("a mask", circles(), 1),
        ("a generator", "comb", 500),
        ("the same, another seed", "comb", 500),
    ]
    layouts = [
        (label, observe(config, "RobotRoom-v0", walls=walls, num_layouts=count, layout_seed=seed))
        for (label, walls, count), seed in zip(rooms, (0, 0, 0, 1), strict=True)
    ]
    sheet(layouts, 4).save(config.out / "layouts.png", optimize=True)


if __name__ == "__main__":
    run(Gallery, main)
