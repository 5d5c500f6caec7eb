"""Random numbers from a generator of one's own, also where torch would take its process-wide one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RANDOM = {
    *(Tensor.uniform_, Tensor.normal_, Tensor.random_, Tensor.bernoulli_, Tensor.exponential_),
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli),
    *(torch.multinomial, nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_),
    *(nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.xavier_uniform_),
    *(nn.init.xavier_normal_, nn.init.orthogonal_, nn.init.sparse_),
}
"""Functions that take `generator=`. Without one, they draw from the stream that all threads share."""


class Seeded(TorchFunctionMode):
    """Within this context, and this thread, modules draw their parameters from one generator.

    The numbers are those that `torch.manual_seed(seed)` would give.

    Args:
        seed: the generator's seed.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, with the generator where it takes one."""
        kwargs = kwargs or {}
        if func in RANDOM and kwargs.get("generator") is None:
            kwargs = kwargs | {"generator": self._generator}
        return func(*args, **kwargs)
