"""Restoration of frames: a diffusion model denoises them, inpaints them and flags implausible ones.

diffusion    the mathematics: schedules, bound, parameterisations, samplers, scores
denoiser     E[x_0 | x_n], estimated by a small U-Net
training     training of the denoiser
noise        noise estimation and denoising
inpainting   inpainting of implausible or missing pixels
conformal    thresholds with a guaranteed false-alarm rate
critic       plausibility scores of frames
restorer     the full pipeline
"""
