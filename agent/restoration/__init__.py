"""Restoration of frames: a diffusion model cleans them, mends them, and tells which cannot be.

diffusion   the mathematics: schedules, bound, parameterisations, samplers, scores
denoiser    E[x_0 | x_n] by a small U-Net
training    its training
noise       how noisy is a frame? Tweedie's estimate at that noise
mending     pixels that cannot be, or are known to be missing, filled
conformal   thresholds that keep a promise
critic      can this be a frame at all?
restorer    all of it in a row, as control asks for it
"""
