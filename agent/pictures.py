"""Sheets of reconstructed, imagined, sampled and denoised frames."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agent.actions import scale_actions
from agent.agent import Agent
from agent.control import Decision
from agent.restoration import diffusion
from agent.restoration.autoencoder import Autoencoder
from agent.restoration.degradation import OPERATORS
from agent.restoration.denoiser import Denoiser, to_frames, to_images

Picture = NDArray[np.uint8]
PAPER, INK, FAINT = (250, 250, 250), (40, 40, 40), (110, 110, 110)
MARGIN, LABEL = 8, 20  # pixels
MOST_SHOWN = 40  # frames of an episode


class TimeStep(NamedTuple):
    """One time step of an episode in which the agent acts."""

    frame: Picture
    decision: Decision
    info: dict[str, Any]
    last: bool


def episode(agent: Agent, env: gym.Env[Any, Any], seed: int) -> Iterator[TimeStep]:
    """Run one episode from the start given by `seed`, including its final frame."""
    frame, info = env.reset(seed=seed)
    state, last = None, False
    while True:
        decision, state = agent.decide(frame, state)
        yield TimeStep(frame, decision, info, last)
        if last:
            return
        action = scale_actions(agent.action_space, decision.action[0].cpu().numpy())
        frame, _, terminated, truncated, info = env.step(action)
        last = bool(terminated or truncated)


@torch.no_grad()
def imagination(agent: Agent, env: gym.Env[Any, Any], seed: int, scale: int = 2) -> Picture:
    """An episode in three rows: camera frames, reconstructions and open-loop predictions.

    The predictions start from the first frame and roll out the transition with the actions taken. Of a
    long episode the first `MOST_SHOWN` frames are shown.
    """
    z = action = None
    rows: dict[str, list[Picture]] = {"camera": [], "reconstructed": [], "imagined open loop": []}
    for step in islice(episode(agent, env, seed), MOST_SHOWN):
        belief = step.decision.belief.density.mean
        z = belief if z is None or action is None else agent.world_model.transition(z, action).mean
        action = step.decision.action
        decoded = [agent.world_model.decode(latent)[0].cpu().numpy() for latent in (belief, z)]
        for row, frame in zip(rows.values(), [step.frame, *decoded], strict=True):
            row.append(frame)
    return sheet(rows, scale, [f"step {number}" for number in range(len(rows["camera"]))])


@torch.no_grad()
def diffusion_samples(denoiser: Denoiser, count: int = 48, steps: int = 50, scale: int = 1) -> Picture:
    """Frames sampled from the diffusion model in `steps` steps."""
    generator = torch.Generator().manual_seed(0)
    height, width, channels = denoiser.shape
    noise = torch.randn(count, channels, height, width, generator=generator)
    schedule = denoiser.schedule
    down = diffusion.sub_sequence(schedule, min(steps, schedule.steps))
    frames = to_frames(diffusion.sample(schedule, denoiser.denoise, noise, down, 1.0, generator))
    across = count // 4
    rows = {
        f"samples {first + 1} to {first + across}": list(frames[first : first + across].numpy())
        for first in range(0, count, across)
    }
    return sheet(rows, scale)


@torch.no_grad()
@torch.no_grad()
def restored_frames(network: Denoiser | Autoencoder, frames: torch.Tensor) -> Picture:
    """Clean frames, then degraded and restored ones.

    A denoiser is shown noise of several stds (images in [−1, 1]), which it is told; an autoencoder is
    shown each operator of `agent.restoration.degradation`, and is not told.
    """
    generator = torch.Generator().manual_seed(0)
    images, rows = to_images(frames), {"clean": list(frames.numpy())}

    def show(name: str, seen: torch.Tensor, restored: torch.Tensor) -> None:
        rows[name] = list(to_frames(seen).numpy())
        rows[f"restored from {name}"] = list(to_frames(restored).numpy())

    if isinstance(network, Autoencoder):
        for operator in OPERATORS:
            seen = operator(images, generator).clamp(-1, 1)
            show(operator.__name__.replace("_", " "), seen, network.read(seen).images)
        return sheet(rows, 1)
    for std in (0.1, 0.3, 0.6, 1.0, 1.5):
        noisy = images + std * torch.randn(images.shape, generator=generator)
        n = network.schedule.nearest(std)
        xn = network.schedule.alpha_bar[n].sqrt().float() * noisy
        show(f"noise {std:g}", noisy, network.denoise(xn, n))
    return sheet(rows, 1)


def coloured(picture: Picture) -> Picture:
    """One with three channels: a single one is grey, and of stacked frames the last is taken."""
    last = picture[..., -3:] if picture.shape[-1] >= 3 else picture[..., -1:]
    return np.broadcast_to(last, (*picture.shape[:2], 3))


def sheet(rows: dict[str, list[Picture]], scale: int, columns: Sequence[str] = ()) -> Picture:
    """Labelled rows of frames, stacked vertically, with names of the columns at the top."""
    strips = []
    for label, frames in rows.items():
        big = [frame.repeat(scale, 0).repeat(scale, 1) for frame in frames]
        strips.append((label, [coloured(frame) for frame in big]))
    height, width = strips[0][1][0].shape[:2]
    row_height = LABEL + height + MARGIN
    head = LABEL if columns else 0
    size = (MARGIN + len(strips[0][1]) * (width + MARGIN), head + len(strips) * row_height)
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, name in enumerate(columns):
        draw.text((MARGIN + number * (width + MARGIN), 3), name, fill=FAINT, font=font)
    for number, (label, frames) in enumerate(strips):
        top = head + number * row_height
        draw.text((MARGIN, top + 2), label, fill=INK, font=font)
        for column, frame in enumerate(frames):
            place = (MARGIN + column * (width + MARGIN), top + LABEL)
            sheet.paste(Image.fromarray(frame), place)
    return np.asarray(sheet)
