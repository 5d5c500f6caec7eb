"""Two forms of a diffusion model's bound, with the same expectation and different variances.

    python -m benchmarks.model.bound_variance

The bound is derived in two ways. In the posterior form each term is a KL divergence given x_n and
x_0, estimated from one draw of x_n. In the consistency form a term compares the denoising step into
x_n with the noising step into it, log p(x_n | x_{n+1}) − log q(x_n | x_{n−1}), and needs x_{n−1}, x_n
and x_{n+1} drawn together. (Written as KL[q(x_n | x_{n−1}) ‖ p(x_n | x_{n+1})], as it can be found,
x_n and x_{n+1} are taken for independent given x_{n−1}, and the expectation is another one; this is
measured, too.)

The data are the room's frames at 16 × 16, the denoiser the exact one, a mean over all of them. Each
estimate is of the whole bound from one image, by one draw for every term.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule
from robot_room.app.command_line import run
from robot_room.app.figures import name_curves, styled_figure
from robot_room.rendering import Scene, render


@dataclass
class BoundVariance:
    """Measure, write the raw numbers, print the table and draw the figure."""

    steps: tuple[int, ...] = (5, 10, 20, 50, 100)
    """Numbers of steps N of the cosine schedules."""
    draws: int = 2000
    """Number of images, each with one noise chain."""
    seed: int = 0
    """Seed of the samples."""
    out: Path = Path("benchmarks/results/bound_variance.json")
    """File for the raw numbers."""
    figure: Path = Path("docs/bound_variance.png")
    """The figure's file."""


def enumerated_frames(side: int = 25) -> Tensor:
    """Frames of the room with the robot at side² places, 16 × 16 grey levels in [−1, 1], (K, 256)."""
    places = np.linspace(-0.9, 0.9, side)
    robot = np.stack(np.meshgrid(places, places), -1).reshape(-1, 2)
    frames = render(Scene(robot, np.zeros_like(robot))).mean(-1)
    small = frames.reshape(len(frames), 16, 4, 16, 4).mean((2, 4))
    return torch.from_numpy(small / 127.5 - 1).flatten(1)


def exact_denoiser(schedule: Schedule, frames: Tensor, xn: Tensor, n: int) -> Tensor:
    """E[x_0 | x_n] for x_0 uniform over the frames."""
    alpha_bar = schedule.alpha_bar[n]
    distance = torch.cdist(xn, alpha_bar.sqrt() * frames).square()
    return (-distance / (2 * (1 - alpha_bar))).softmax(1) @ frames


def estimates(schedule: Schedule, frames: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """One estimate of the bound (nats) from each x_0, in each form, without log p(x_0 | x_1)."""
    variances = diffusion.variances(schedule, "beta_tilde")
    chain = [x0]
    for n in range(schedule.steps):
        noise = schedule.beta[n].sqrt() * torch.randn_like(x0)
        chain.append(schedule.alpha[n].sqrt() * chain[-1] + noise)
    posterior = -diffusion.prior_matching(schedule, x0)
    last, step = chain[-2] * schedule.alpha[-1].sqrt(), schedule.beta[-1]
    printed = -0.5 * (last.square() + step - 1 - step.log()).sum(1)
    prior = torch.zeros((), dtype=x0.dtype), torch.ones((), dtype=x0.dtype)
    consistency = diffusion.gaussian_log_prob(chain[-1], *prior)
    consistency = consistency - diffusion.gaussian_log_prob(chain[-1], last, step)
    for n in range(2, schedule.steps + 1):  # x_{n−1} between x_{n−2} and x_n
        below, here, above = chain[n - 2], chain[n - 1], chain[n]
        x0_hat = exact_denoiser(schedule, frames, above, n)
        posterior = posterior - diffusion.denoising_term(schedule, x0, above, n, x0_hat)
        mean, variance = diffusion.posterior_mean(schedule, x0_hat, above, n), variances[n - 1]
        drift, noise = schedule.alpha[n - 2].sqrt() * below, schedule.beta[n - 2]
        consistency = consistency + diffusion.gaussian_log_prob(here, mean, variance)
        consistency = consistency - diffusion.gaussian_log_prob(here, drift, noise)
        ratio = noise / variance
        apart = (drift - mean).square() / variance
        printed = printed - 0.5 * (ratio - 1 - ratio.log() + apart).sum(1)
    return {"posterior": posterior, "consistency": consistency, "as printed": printed}


def main(config: BoundVariance) -> None:
    """Run the benchmark."""
    frames = enumerated_frames()
    table = Table(title="the bound, nats for an image: mean ± standard error; standard deviation")
    for heading in ("N", "posterior", "consistency", "as printed", "ratio of variances"):
        table.add_column(heading, justify="right")
    rows = []
    for steps in config.steps:
        torch.manual_seed(config.seed)
        x0 = frames[torch.randint(len(frames), (config.draws,))]
        found = estimates(Schedule.cosine(steps), frames, x0)
        moments = {name: (e.mean().item(), e.std().item()) for name, e in found.items()}
        ratio = (moments["consistency"][1] / moments["posterior"][1]) ** 2
        rows.append({"steps": steps, "draws": config.draws, "mean_and_std": moments, "ratio": ratio})
        written = (
            f"{mean:.2f} ± {std / config.draws**0.5:.2f}; {std:.2f}" for mean, std in moments.values()
        )
        table.add_row(str(steps), *written, f"{ratio:.1f}")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=120).print(table)
    draw(rows, config.figure)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Standard deviations of the two forms against the number of diffusion steps."""
    steps = [row["steps"] for row in rows]
    with styled_figure(path, figsize=(6.2, 3.0)) as (_, axis):
        for name in ("posterior", "consistency"):
            stds = [row["mean_and_std"][name][1] for row in rows]
            axis.plot(steps, stds, marker="o", label=f"{name} form")
        axis.set(xscale="log", yscale="log", xlabel="N, diffusion steps")
        axis.set(title="Two forms of one bound, with the same mean", ylabel="std of one estimate, nats")
        axis.set_xticks(steps, [str(step) for step in steps])
        axis.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
        name_curves(axis)


if __name__ == "__main__":
    run(BoundVariance, main)
