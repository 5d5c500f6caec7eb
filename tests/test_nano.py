"""The two scripts to be read whole: short, with few dependencies, and equal to the package."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.denormals import flushed_denormals
from agent.planning import Problem
from agent.planning import problem as planning
from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule
from agent.types import Batch
from agent.world_model import WorldModel, WorldModelConfig

ROOT = Path(__file__).parents[1]
ALLOWED = {"torch", "gymnasium", "numpy", "robot_room"}


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nano, nano_ddpm = script("nano"), script("nano_ddpm")


@pytest.mark.parametrize(("name", "most"), [("nano", 400), ("nano_ddpm", 250)])
def test_a_script_is_short_and_needs_little(name, most):
    text = (ROOT / "scripts" / f"{name}.py").read_text()
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert len(text.splitlines()) <= most
    assert imported - set(sys.stdlib_module_names) <= ALLOWED


@pytest.fixture(scope="module")
def models():
    """The script's model after some data, and the package's with the same weights."""
    torch.manual_seed(0)
    ours = nano.WorldModel(64, 64, 3)
    ours.initialise(torch.rand(60, 64, 64, 3), torch.randn(60))
    for parameter in ours.parameters():  # away from any symmetry of the start
        parameter.data += 0.02 * torch.randn_like(parameter)
    package = WorldModel((64, 64, 3), 2, WorldModelConfig())
    weights = {k.replace("evidence.", "posterior.evidence."): v for k, v in ours.state_dict().items()}
    package.load_state_dict(weights)
    return ours, package


def test_both_have_the_same_elbo_and_gradients(models):
    ours, package = models
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (5, 4, 64, 64, 3), dtype=np.uint8))
    actions = torch.from_numpy(rng.uniform(-1, 1, (5, 3, 2)).astype(np.float32))
    rewards = torch.from_numpy(rng.normal(size=(5, 4)).astype(np.float32))
    rewarded = torch.ones(5, 4)
    rewarded[::2, 0] = 0
    generator = torch.Generator().manual_seed(7)
    batch = Batch(frames, actions, rewards, rewarded, torch.ones(5, 4), torch.ones(5, 4))
    _, metrics = package.loss(batch, generator)
    torch.manual_seed(7)
    elbo = ours.elbo(nano.Batch(frames / 255, actions, rewards, rewarded))
    torch.testing.assert_close(elbo, metrics["elbo"], rtol=1e-5, atol=0.0)
    for model, value in ((ours, elbo), (package, metrics["elbo"])):
        model.zero_grad()
        value.backward()
    theirs = dict(package.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = theirs[name.replace("evidence.", "posterior.evidence.")].grad
        scale = expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-4 * scale)


def test_both_imagine_the_same_returns(models):
    ours, package = models
    torch.manual_seed(1)
    z, plans = torch.randn(8), 2 * torch.randn(30, nano.HORIZON, 2)
    bound = torch.ones(2)
    problem = Problem(package.step, -bound, bound)
    expected = planning.imagined_return(problem, z[None], plans[None], nano.DISCOUNT)[0]
    with torch.no_grad():
        torch.testing.assert_close(nano.imagined_return(ours, z, plans), expected)


def test_the_planner_finds_the_best_plan_of_a_world_with_a_closed_form():
    class Line:
        """z moves by the action; the reward is −‖z − (2, −3)‖²."""

        def transition(self, z, action):
            return torch.distributions.Normal(z + action, 1.0)

        def reward(self, z):
            squared = (z - torch.tensor([2.0, -3.0])).square().sum(-1)
            return torch.distributions.Normal(-squared, 1.0)

    torch.manual_seed(0)
    plan = torch.zeros(nano.HORIZON, 2)
    for _ in range(5):  # from a warm start, as in control
        plan = nano.cem(Line(), torch.zeros(2), plan)
    assert plan[0].tolist() == pytest.approx([1, -1], abs=0.05)
    best = -(1 + 4) * nano.DISCOUNT - 1 * nano.DISCOUNT**2  # (1, −1), (1, −1), (0, −1), and stay
    found = nano.imagined_return(Line(), torch.zeros(2), plan[None]).item()
    assert best - 1 < found <= best + 1e-4  # staying is worth −53


def test_windows_are_aligned_and_only_first_frames_lack_a_reward():
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    actions = np.arange(8, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    rewards = np.arange(9, dtype=np.float32)
    np.random.seed(0)
    batch = nano.sample([nano.Episode(frames, actions, rewards, False)])
    first = batch.frames[:, 0, 0, 0, 0] * 255
    torch.testing.assert_close(batch.frames[..., 0, 0, 0] * 255, first[:, None] + torch.arange(4))
    torch.testing.assert_close(batch.actions[..., 0], first[:, None] + torch.arange(3))
    torch.testing.assert_close(batch.rewards, first[:, None] + torch.arange(4))
    assert torch.equal(batch.rewarded == 0, batch.rewards == 0) and (batch.rewarded == 0).any()


def test_a_few_steps_of_training_and_evaluation_run(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nano", "--steps", "100", "--starts", "2"])
    for name, few in {"UPDATES_PER_STEP": 0.05, "CANDIDATES": 9, "ITERATIONS": 1}.items():
        monkeypatch.setattr(nano, name, few)
    with flushed_denormals():  # a script flushes them for its whole process
        nano.main()
    line = json.loads(capsys.readouterr().out)
    assert line["seed"] == 0 and 100 <= line["steps"] < 100 + nano.EPISODE and line["starts"] == 2
    monkeypatch.setattr(sys, "argv", ["nano", "--steps", "5"])
    with pytest.raises(SystemExit):
        nano.main()
    assert "steps: got 5, allowed: at least 100" in capsys.readouterr().err


def test_the_diffusion_is_the_packages():
    schedule = Schedule.cosine(nano_ddpm.N)
    torch.testing.assert_close(nano_ddpm.ALPHA_BAR, schedule.alpha_bar)
    torch.testing.assert_close(nano_ddpm.BETA_TILDE[1:], schedule.beta_tilde)
    torch.manual_seed(0)
    x0, xn, eps = torch.rand(3, 10, 3, 8, 8)
    n = torch.tensor([1, 2, 3, 5, 20, 50, 77, 98, 99, 100])
    torch.testing.assert_close(nano_ddpm.diffuse(x0, n, eps), diffusion.diffuse(schedule, x0, n, eps))
    expected = diffusion.posterior_mean(schedule, x0, xn, n)
    torch.testing.assert_close(nano_ddpm.posterior_mean(x0, xn, n), expected, rtol=1e-4, atol=0.0)


class Shrinking(torch.nn.Module):
    """E[x_0 | x_n] for x_0 ~ N(0.1, s² I)."""

    std = 0.2

    def forward(self, xn, n):
        alpha_bar = nano_ddpm.at(nano_ddpm.ALPHA_BAR, n)
        gain = alpha_bar.sqrt() * self.std**2 / (alpha_bar * self.std**2 + 1 - alpha_bar)
        return 0.1 + gain * (xn - alpha_bar.sqrt() * 0.1)


def test_the_bound_is_the_packages_term_by_term():
    schedule, model = Schedule.cosine(nano_ddpm.N), Shrinking()
    torch.manual_seed(0)
    levels = torch.randint(0, 256, (6, 3, 8, 8)).float()
    x0 = levels / 127.5 - 1
    torch.manual_seed(1)
    terms = nano_ddpm.bound(model, x0)
    torch.manual_seed(1)
    denoising = torch.zeros(6, dtype=torch.float64)
    for step in [*range(2, nano_ddpm.N + 1), 1]:
        n = torch.full((6,), step)
        xn = diffusion.diffuse(schedule, x0, n, torch.randn_like(x0))
        if step > 1:
            denoising += diffusion.denoising_term(schedule, x0, xn, n, model(xn, n))
        else:
            decoder = diffusion.decoder_term(schedule, x0, xn, model(xn, n))
    prior = diffusion.prior_matching(schedule, x0).mean().item()
    assert terms["L_N"] == pytest.approx(prior, rel=1e-4, abs=1e-8)
    assert terms["sum of L_n-1"] == pytest.approx(denoising.mean().item(), rel=1e-4)
    assert terms["L_0"] == pytest.approx(decoder.mean().item(), rel=1e-4)


def test_samples_follow_the_distribution_that_the_denoiser_knows():
    torch.manual_seed(0)
    x = nano_ddpm.sample(Shrinking(), 4)
    variance = 1.0  # each step is linear in x, so that the variance follows a recursion
    for n in range(nano_ddpm.N, 0, -1):
        one, zero, step = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([n])
        gain = Shrinking()(one, step) - Shrinking()(zero, step)
        slope = nano_ddpm.posterior_mean(gain, one, step).item()
        variance = slope**2 * variance + nano_ddpm.BETA_TILDE[n].item()
    assert x.mean().item() == pytest.approx(0.1, abs=0.005)
    assert x.std().item() == pytest.approx(variance**0.5, rel=0.01)
    assert x.std().item() == pytest.approx(Shrinking.std, rel=0.1)  # N is not infinite


def test_a_trained_denoiser_does_better_than_the_mean_frame(monkeypatch):
    monkeypatch.setattr(nano_ddpm, "BATCH", 8)
    torch.manual_seed(0)
    frames = nano_ddpm.room_frames(40, seed=0)
    model = nano_ddpm.Denoiser(frames.mean(0))
    nano_ddpm.train(model, frames, updates=60)
    n = torch.full((40,), 30)
    with torch.no_grad():
        x0_hat = model(nano_ddpm.diffuse(frames, n, torch.randn_like(frames)), n)
    assert (x0_hat - frames).square().mean() < 0.7 * (frames - frames.mean(0)).square().mean()


def test_a_frame_of_the_room_shows_one_robot():
    frames = nano_ddpm.room_frames(100, seed=0)
    assert (nano_ddpm.robots(frames) - 1).abs().max() < 0.1
    assert nano_ddpm.robots(frames.median(0, keepdim=True).values).item() == 0  # goal and floor alone


def test_a_written_picture_can_be_read(tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    nano_ddpm.write_png(tmp_path / "a.png", picture)
    assert np.array_equal(imageio.imread(tmp_path / "a.png"), picture)


def test_the_readme_tells_what_was_measured_and_every_seed_reached_the_target():
    path = ROOT / "benchmarks" / "results" / "nano" / "RobotRoom-v0.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    seeds = [run["seed"] for run in runs]
    assert seeds == list(range(len(runs)))
    assert all(run["starts"] == 1000 and run["success"] >= 0.99 for run in runs)
    assert all(run["steps"] <= 1000 and run["cpu_seconds"] <= 60 for run in runs)
    text = " ".join((ROOT / "README.md").read_text().split())
    success, steps, seconds = (
        [factor * run[name] for run in runs]
        for name, factor in (("success", 100), ("steps", 1), ("cpu_seconds", 1))
    )
    for said in (
        f"{np.mean(success):.1f} % ({min(success):.1f} to {max(success):.1f}) success",
        f"after {np.mean(steps):.0f} steps ({min(steps)} to {max(steps)})",
        f"{np.mean(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})",
        f"nano --seeds {' '.join(map(str, seeds))}`",
    ):
        assert said in text, said
