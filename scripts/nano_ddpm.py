"""A diffusion model that learns to draw the room, in one file. Read it from top to bottom.

    python scripts/nano_ddpm.py               # trains, prints the bound, writes nano_ddpm.png

A fixed process destroys a frame by adding noise in N small steps; a network learns to undo one step.
Started from pure noise, the undoing draws a new frame. The equations are those of the lecture notes,
with n for the step of the diffusion, where they write t. With α_n = 1 − β_n and ᾱ_n = α_1 α_2 … α_n:

    x_0 ──▶ x_1 ──▶ … ──▶ x_N ~ N(0, I)       q(x_n | x_{n−1}) = N(√α_n x_{n−1}, β_n I)          (19)
    x_0 ◀── x_1 ◀── … ◀── x_N                 p(x_{n−1} | x_n) = N(μ̂(x_n, n), β̃_n I)

Everything here is also in `agent.restoration`, where it is checked and used to repair camera frames. A
test holds the two equal.
"""

import argparse
import math
import struct
import time
import zlib
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import robot_room  # noqa: F401 - registers the environment

ENV_ID = "RobotRoom-v0"
FRAMES = 1000  # to learn from
HELD_OUT_SEED = 1_000_000  # frames that the bound is measured on: seeds from here on
N = 100  # steps of the diffusion
WIDTH = 32  # channels of the network
BATCH, LEARNING_RATE = 32, 2e-3

# ---- the forward process --------------------------------------------------------------------------
# The schedule says how much of a frame is left after n steps. All of it is in float64, and index n is
# step n: at n = 0 there is no noise. (Cosine schedule, arXiv 2102.09672.)

TIME = torch.arange(N + 1, dtype=torch.float64) / N
SIGNAL = ((TIME + 0.008) / 1.008 * math.pi / 2).cos() ** 2
BETA = torch.cat([torch.zeros(1), (1 - SIGNAL[1:] / SIGNAL[:-1]).clamp(max=0.999)])  # β_n
ALPHA = 1 - BETA  # α_n
ALPHA_BAR = ALPHA.cumprod(0)  # ᾱ_n
BEFORE = torch.cat([torch.ones(1), ALPHA_BAR[:-1]])  # ᾱ_{n−1}
BETA_TILDE = BETA * (1 - BEFORE) / (1 - ALPHA_BAR).clamp(min=1e-12)  # β̃_n, 0 at n = 1
SNR = ALPHA_BAR / (1 - ALPHA_BAR)  # signal to noise; infinite at n = 0


def at(values: Tensor, n: Tensor) -> Tensor:
    """A number of the schedule for each image of a batch."""
    return values[n].float().view(-1, 1, 1, 1)


def diffuse(x0: Tensor, n: Tensor, eps: Tensor) -> Tensor:
    """The noise of n steps at once: q(x_n | x_0) = N(√ᾱ_n x_0, (1 − ᾱ_n) I)  (Problem 8)."""
    return at(ALPHA_BAR, n).sqrt() * x0 + (1 - at(ALPHA_BAR, n)).sqrt() * eps


def posterior_mean(x0: Tensor, xn: Tensor, n: Tensor) -> Tensor:
    """Mean μ̃ of q(x_{n−1} | x_n, x_0), whose variance is β̃_n  (Problem 15)."""
    rest = 1 - at(ALPHA_BAR, n)
    of_xn = at(ALPHA, n).sqrt() * (1 - at(BEFORE, n)) / rest
    of_x0 = at(BEFORE, n).sqrt() * at(BETA, n) / rest
    return of_xn * xn + of_x0 * x0


# ---- the network ----------------------------------------------------------------------------------


def block(size_in: int, size_out: int) -> nn.Sequential:
    """Two convolutions."""
    layers = nn.Conv2d(size_in, size_out, 3, padding=1), nn.Conv2d(size_out, size_out, 3, padding=1)
    return nn.Sequential(layers[0], nn.GroupNorm(8, size_out), nn.SiLU(), layers[1], nn.SiLU())


class Denoiser(nn.Module):
    """x̂_0(x_n, n): what the clean frame probably was. A small U-Net, two resolutions with a bridge.

    Frames are first folded into 4 × 4 patches, so that all convolutions run on 16 × 16 places. These
    see no absolute positions, so the network is given, and predicts, changes of the mean frame.
    """

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)  # (C, H, W)
        folded = 16 * len(mean)
        self.down = block(folded + 16, WIDTH)
        self.coarse = block(WIDTH, 2 * WIDTH)
        self.up = block(3 * WIDTH, WIDTH)
        self.out = nn.Conv2d(WIDTH, folded, 3, padding=1)

    def forward(self, xn: Tensor, n: Tensor) -> Tensor:
        """Estimates of x_0, (B, C, H, W), for noisy frames and the step of each."""
        level = 0.5 * SNR[n].log().float()[:, None] * torch.logspace(-1, 0.5, 8)
        level = torch.cat([level.sin(), level.cos()], 1)[:, :, None, None]  # how noisy x_n is
        x = F.pixel_unshuffle(xn - at(ALPHA_BAR, n).sqrt() * self.mean, 4)
        fine = self.down(torch.cat([x, level.expand(-1, -1, *x.shape[2:])], 1))
        coarse = self.coarse(F.avg_pool2d(fine, 2))
        together = torch.cat([fine, F.interpolate(coarse, scale_factor=2)], 1)
        return self.mean + F.pixel_shuffle(self.out(self.up(together)), 4)


# ---- learning -------------------------------------------------------------------------------------


def loss(model: nn.Module, x0: Tensor) -> Tensor:
    """A weighted ‖x_0 − x̂_0‖² at a random step of each frame  (Problems 16 and 17).

    The bound's own weight is ½ (SNR_{n−1} − SNR_n). It makes steps of hardly any noise matter most, as
    no eye would, so min(SNR_n, 5) takes its place in training (arXiv 2303.09556).
    """
    n = torch.randint(1, N + 1, (len(x0),))
    xn = diffuse(x0, n, torch.randn_like(x0))
    weight = at(SNR.clamp(max=5), n)
    return (weight * (x0 - model(xn, n)).square()).mean()


def train(model: nn.Module, x0: Tensor, updates: int) -> None:
    """Stochastic gradient descent."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1, 2 * (1 - update / updates))
        value = loss(model, x0[torch.randint(len(x0), (BATCH,))])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if update % 100 == 0:
            print(f"update {update:5d}  loss {value.item():.4f}", flush=True)


# ---- the bound, term by term ----------------------------------------------------------------------
#
# −log p(x_0) ≤ L_N + Σ_{n=2..N} L_{n−1} + L_0                                                      (20)


@torch.no_grad()
def bound(model: nn.Module, x0: Tensor) -> dict[str, float]:
    """The terms of (20), one draw of x_n each, in nats per frame."""
    rest = 1 - ALPHA_BAR[N]
    prior = 0.5 * (ALPHA_BAR[N] * x0.double().square() + rest - 1 - rest.log()).sum((1, 2, 3))
    denoising = torch.zeros(len(x0))
    for step in range(2, N + 1):
        n = torch.full((len(x0),), step)
        x0_hat = model(diffuse(x0, n, torch.randn_like(x0)), n)
        squared = (x0 - x0_hat).square().sum((1, 2, 3))
        denoising += 0.5 * (SNR[step - 1] - SNR[step]).float() * squared
    n = torch.ones(len(x0), dtype=torch.long)
    mean, std = model(diffuse(x0, n, torch.randn_like(x0)), n).double(), BETA[1].sqrt()
    # A pixel has 256 levels, and a level the probability of its cell under a Gaussian. Its std, of the
    # first step, is three levels, so that each pixel costs two nats however good the network is.
    cdf = torch.distributions.Normal(mean, std).cdf
    upper = torch.where(x0 > 0.999, 1.0, cdf(x0.double() + 1 / 255))
    lower = torch.where(x0 < -0.999, 0.0, cdf(x0.double() - 1 / 255))
    decoder = -(upper - lower).clamp(min=1e-12).log().sum((1, 2, 3))
    terms = {"L_N": prior, "sum of L_n-1": denoising, "L_0": decoder}
    return {name: term.mean().item() for name, term in terms.items()}


# ---- sampling -------------------------------------------------------------------------------------


@torch.no_grad()
def sample(model: nn.Module, count: int) -> Tensor:
    """From x_N ~ N(0, I) down to x_0, one denoising step after the other."""
    x = torch.randn(count, 3, 64, 64)
    for step in range(N, 0, -1):
        n = torch.full((count,), step)
        mean = posterior_mean(model(x, n).clamp(-1, 1), x, n)
        x = mean + BETA_TILDE[step].sqrt().float() * torch.randn_like(x)  # none at step 1, where β̃ = 0
    return x


def room_frames(count: int, seed: int) -> Tensor:
    """First frames of episodes, (B, C, H, W) in [−1, 1]."""
    env = gym.make(ENV_ID)
    frames = np.stack([env.reset(seed=seed + i)[0] for i in range(count)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1


def robots(x: Tensor) -> Tensor:
    """White area of each frame in units of a robot's, 6.4 pixels squared: 1 if there is one robot."""
    whiteness = ((x.amin(1) - 0.1) / 0.9).clamp(min=0)  # 0 for floor and goal
    return whiteness.sum((1, 2)) / 6.4**2


def write_png(path: Path, picture: np.ndarray) -> None:
    """An (H, W, 3) uint8 picture as a file."""
    rows = b"".join(b"\0" + row.tobytes() for row in picture)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", picture.shape[1], picture.shape[0], 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    parts = (
        struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def main() -> None:
    """Train, print the bound, draw samples."""
    parser = argparse.ArgumentParser(description="A diffusion model in one file.")
    parser.add_argument("--seed", type=int, default=0, help="of parameters, batches and noise")
    parser.add_argument("--updates", type=int, default=400, help="of the network")
    parser.add_argument("--out", type=Path, default=Path("nano_ddpm.png"), help="picture of samples")
    arguments = parser.parse_args()
    if arguments.updates < 1:
        parser.error(f"updates: got {arguments.updates}, allowed: at least 1")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    began, frames = time.process_time(), room_frames(FRAMES, seed=0)
    model = Denoiser(frames.mean(0))
    train(model, frames, arguments.updates)
    print(f"trained in {time.process_time() - began:.0f} s of one thread")
    held_out = room_frames(50, seed=HELD_OUT_SEED)
    terms = bound(model, held_out)
    for name, nats in terms.items():
        print(f"{name:>14}  {nats:9.2f} nats per frame")
    total = sum(terms.values()) / (held_out[0].numel() * math.log(2))
    print(f"{'bound':>14}  {total:9.4f} bits per dimension")
    x = sample(model, 32)
    whole = robots(x).sub(1).abs() < 0.2
    print(f"{int(whole.sum())} of {len(x)} samples show one whole robot")
    tiles = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().unflatten(0, (4, 8)).permute(0, 3, 1, 4, 2)
    write_png(arguments.out, tiles.reshape(4 * 64, 8 * 64, 3).numpy())


if __name__ == "__main__":
    main()
