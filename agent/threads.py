"""The number of threads of torch's operations, which belongs to the process, not to an agent."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local

import torch

_lock = Lock()
_own = local()  # the count of the context that a Python thread is in
_inside = 0
_before = 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within this context torch uses `count` threads; the number of before is restored after it.

    A context within a context restores the count of the outer one. Several Python threads may be inside
    at once; each restores what the first of them has found.
    """
    global _inside, _before
    outer = getattr(_own, "count", None)
    with _lock:
        if _inside == 0:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(count)
    _own.count = count
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_before if outer is None else outer)
        _own.count = outer
