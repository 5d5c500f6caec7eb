"""Numbers too small to matter, which cost a processor a hundred times what another number does."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

TINY = 1e-40  # below float32's smallest normal number, 1.2e-38


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 within; afterwards it is as it was.

    A softmax that has made up its mind has such weights, and nothing depends on them: three times the
    time of an update was seen.
    """
    before = (torch.tensor(TINY) * 1).item() == 0  # torch sets the processor's flag, and cannot tell it
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
