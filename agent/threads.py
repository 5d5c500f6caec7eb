"""The number of threads of torch's operations, which belongs to the process, not to an agent."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
_inside = 0
_before = 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within this context torch uses `count` threads; the number of before is restored after it.

    Several Python threads may be inside at once; the last to leave restores what the first has found.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_before)
