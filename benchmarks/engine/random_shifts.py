"""Random shifts of images (DrQ, arXiv 2004.13649)."""

import torch
from torch import Tensor


def shifted(images: Tensor, largest: int, generator: torch.Generator | None = None) -> Tensor:
    """Shift each image (B, H, W, …) by up to so many pixels each way, repeating its edges."""
    batch, height, width = images.shape[:3]
    shifts = torch.randint(-largest, largest + 1, (2, batch, 1), generator=generator)
    rows = (torch.arange(height) + shifts[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + shifts[1]).clamp(0, width - 1)
    image = torch.arange(batch)[:, None, None]
    return images[image, rows[:, :, None], columns[:, None]]
