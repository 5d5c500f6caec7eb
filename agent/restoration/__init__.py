"""Restoration of frames: what to make of them when the camera fails, and how far to believe it.

degradation  random degradations of images
autoencoder  E[x_0 | y] in one blind pass, estimated by a U-Net: the default restorer
harm         how far a restored frame will mislead the belief
diffusion    the mathematics: schedules, bound, parameterisations, samplers, scores
denoiser     E[x_0 | x_n], estimated by a small U-Net
training     training of the autoencoder and of the denoiser
noise        noise estimation and denoising
inpainting   inpainting of implausible or missing pixels
conformal    thresholds with a guaranteed false-alarm rate
critic       plausibility scores of frames
restorer     the full pipelines
"""
