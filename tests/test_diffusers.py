"""A second opinion: the schedulers of huggingface's diffusers, on the same schedule and estimates."""

import warnings

import numpy as np
import pytest
import torch

from agent.restoration import diffusion
from agent.restoration.diffusion import Schedule

with warnings.catch_warnings():  # of its own imports
    warnings.simplefilter("ignore")
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

SCHEDULES = {"linear": Schedule.linear(50), "cosine": Schedule.cosine(50)}
THEIR_KINDS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def draws(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 3, 4, 4, generator=generator, dtype=torch.float64)


def settings(schedule, kind):
    betas = schedule.beta.float().numpy()  # theirs are in float32
    return {
        "num_train_timesteps": schedule.steps,
        "trained_betas": betas,
        "clip_sample": False,
        "prediction_type": THEIR_KINDS[kind],
    }


@pytest.mark.parametrize("kind", THEIR_KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_an_ancestral_step_is_theirs(name, kind):
    """Their "fixed_small" is σ² = β̃; they count steps from 0, and draw the noise themselves."""
    schedule = SCHEDULES[name]
    theirs = DDPMScheduler(variance_type="fixed_small", **settings(schedule, kind))
    xn, predicted, _ = draws()
    for n in (2, 17, schedule.steps):
        generator = torch.Generator().manual_seed(n)
        expected = theirs.step(predicted, n - 1, xn, generator=generator).prev_sample
        generator = torch.Generator().manual_seed(n)
        noise = torch.randn(xn.shape, generator=generator, dtype=xn.dtype)
        x0_hat = diffusion.to_x0(schedule, predicted, xn, n, kind)
        found = diffusion.ancestral_step(schedule, xn, x0_hat, n, noise)
        torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_ddim_step_is_theirs(name, eta):
    schedule = SCHEDULES[name]
    theirs = DDIMScheduler(timestep_spacing="leading", **settings(schedule, "eps"))
    theirs.set_timesteps(10)  # every fifth
    xn, predicted, noise = draws()
    for n in (46, 26, 6):
        step = theirs.step(predicted, n - 1, xn, eta=eta, variance_noise=noise)
        x0_hat = diffusion.to_x0(schedule, predicted, xn, n, "eps")
        found = diffusion.ddim_step(schedule, xn, x0_hat, n, n - 5, eta, noise)
        torch.testing.assert_close(found, step.prev_sample, rtol=2e-4, atol=2e-4)


def test_their_cosine_schedule_is_ours():
    theirs = DDPMScheduler(num_train_timesteps=50, beta_schedule="squaredcos_cap_v2")
    np.testing.assert_allclose(theirs.betas, SCHEDULES["cosine"].beta, rtol=1e-5)


def test_their_forward_process_is_ours():
    schedule = SCHEDULES["linear"]
    theirs = DDPMScheduler(**settings(schedule, "eps"))
    x0, eps, _ = draws()
    n = torch.tensor([3, 41])
    expected = theirs.add_noise(x0, eps, n - 1)
    torch.testing.assert_close(diffusion.diffuse(schedule, x0, n, eps), expected, rtol=1e-5, atol=1e-5)
