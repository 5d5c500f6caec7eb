"""Shapes in signatures are checked while testing; one thread, so that sums are repeatable."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

from jaxtyping import install_import_hook

TENSORS = (
    "types distributions networks posteriors world_model belief gate control replay "
    "restoration.denoiser restoration.noise restoration.inpainting restoration.critic "
    "restoration.conformal restoration.restorer restoration.autoencoder restoration.degradation "
    "restoration.harm planning.problem planning.colour planning.planner "
    "planning.random_shooting planning.cem planning.icem planning.mppi"
).split()
install_import_hook([f"agent.{name}" for name in TENSORS], "beartype.beartype")

import pytest
import torch

import robot_room  # noqa: F401 - registers its environments


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """What a test leaves to the process's other tests: numbers below 1e-38 that count."""
    yield
    left = (torch.tensor(1e-40) * 1).item()
    torch.set_flush_denormal(False)
    assert left > 0, "this test leaves denormal numbers flushed to zero"


@pytest.fixture
def browser():
    """A headless Chromium: the system's, or else Playwright's own, which is fetched once."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()
