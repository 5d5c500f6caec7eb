"""The protocol of world models, and the checks made when an agent is given parts of one's own.

A part is tried once, on two black frames, before anything is learned: what it returns must have the
shapes of its protocol. The other protocols stand beside the parts that the project has:
`agent.planning.Planner`, `agent.exploration.Exploration`, `agent.restoration.restorer.Restorer` and
`agent.gate.Gate`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from agent.distributions import Normal
from agent.seeded import Seeded
from agent.types import Batch, Step

Posterior = Callable[[Tensor, Normal, Tensor, Tensor], tuple[Normal, Tensor]]
"""(features, prior, previous action, memory) ↦ q(z_t) and the next memory; see `agent.posteriors`."""


@runtime_checkable
class Model(Protocol):
    """A world model, which is also a `torch.nn.Module`.

    `agent.deterministic.DeterministicModel` has all of this but `encode`, `step` and `loss`.
    """

    @property
    def latent_dim(self) -> int:
        """D, dimensions of z."""
        ...

    @property
    def action_size(self) -> int:
        """A, dimensions of an action."""
        ...

    @property
    def initial_length(self) -> int:
        """Frames that a window for `initialise` should have at least."""
        ...

    @property
    def reach_ends(self) -> bool:
        """Whether windows of training should also begin near the ends of episodes."""
        ...

    @property
    def training_buffers(self) -> tuple[str, ...]:
        """Names of buffers that only learning needs: weights for others are saved without them."""
        ...

    # ---- learning ------------------------------------------------------------------------------

    def initialise(self, batch: Batch) -> None:
        """Prepare for training, on the first data."""
        ...

    def refit(
        self,
        batch: Batch,
        rewards: Float[Tensor, "N"],  # noqa: F821 - a shape
        returns_vary: bool,
    ) -> None:
        """Fit anew what `initialise` computed in closed form, to whole episodes and all rewards.

        Called online, each time that the environment steps have doubled, and when `novelty` is not None
        though one course of an episode may be better than another (`returns_vary`).
        """
        ...

    def loss(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, a scalar, and scalars to log."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameters, in groups with a `rate` relative to the learning rate each."""
        ...

    # ---- filtering -----------------------------------------------------------------------------

    def initial(self, batch: int, /) -> tuple[Normal, Float[Tensor, "N M"]]:
        """p(z_1), N rows, and the posterior's first memory."""
        ...

    def features(self, frames: UInt8[Tensor, "N H W C"], /) -> Float[Tensor, "N F"]:
        """What the posterior is given of frames."""
        ...

    @property
    def posterior(self) -> Posterior:
        """q(z_t | frame, prior, memory)."""
        ...

    def transition(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """p(z_t | z_{t−1}, a_{t−1})."""
        ...

    # ---- planning ------------------------------------------------------------------------------

    def step(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> tuple[Tensor, Tensor]:
        """The expected next z, (N, D), and the expected reward there, (N,)."""
        ...

    def sampled_step(self, generator: torch.Generator | None = None) -> Step:
        """A `step` that samples, for planning with several particles."""
        ...

    def imagine(
        self, z: Float[Tensor, "N D"]
    ) -> tuple[Tensor, Step, Callable[[Tensor], Tensor] | None]:
        """How to roll out plans: the part of z that changes, its `Step`, and its continuation or None.

        The part is z's first M numbers.
        """
        ...

    def continuation(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N"]:  # noqa: F821 - a shape
        """The probability that the episode goes on from z."""
        ...

    @property
    def novelty(self) -> Callable[[Tensor], Tensor] | None:
        """How new imagined states are, (N,) for the first part of `imagine`'s result, (N, M).

        None where the model cannot tell, and once returns vary.
        """
        ...

    def decode(self, z: Float[Tensor, "N D"]) -> UInt8[Tensor, "N H W C"]:
        """Frames drawn from z, for pictures and restorers."""
        ...

    # ---- of torch.nn.Module --------------------------------------------------------------------

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """See `torch.nn.Module`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """See `torch.nn.Module`."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """See `torch.nn.Module`."""
        ...


NAMES = [name for name in vars(Model) if not name.startswith("_")]
TRIED = 2  # frames


def check_model(model: Any, frame_shape: tuple[int, ...], action_size: int) -> None:
    """Try a world model once.

    Raises:
        ValueError: it lacks a part of the protocol, raises an error, or returns another shape.
    """
    kind, is_module = type(model).__name__, isinstance(model, nn.Module)
    if not is_module:
        raise ValueError(f"world_model: got {kind}, allowed: a torch.nn.Module with {', '.join(NAMES)}")
    missing = [name for name in NAMES if not hasattr(model, name)]
    if missing:
        raise ValueError(
            f"world_model: got {kind} without {', '.join(missing)}, allowed: one with all of "
            f"agent.protocols.Model; agent.deterministic.DeterministicModel has defaults"
        )
    if model.action_size != action_size:
        got = f"action_size {model.action_size}"
        raise ValueError(
            f"world_model: {kind}: got {got}, allowed: {action_size}, as the environment's"
        )
    first = next(model.parameters(), None)
    if first is None:
        raise ValueError(f"world_model: got {kind} without parameters, allowed: something to learn")
    device, size, training = first.device, int(model.latent_dim), model.training
    frames = torch.zeros(TRIED, 2, *frame_shape, dtype=torch.uint8, device=device)
    action = torch.zeros(TRIED, action_size, device=device)
    every = torch.ones(TRIED, 2, device=device)
    reward_mask = torch.cat([0 * every[:, :1], every[:, 1:]], 1)
    batch = Batch(frames, action[:, None], 0 * every, reward_mask, every, every)
    model.eval()  # so that nothing of the model changes
    try:
        with Seeded(0):
            with torch.no_grad(), telling("world_model", kind, "filtering"):
                prior, memory = model.initial(TRIED)
                features = model.features(frames[:, 0])
                q, after = model.posterior(features, prior, action, memory)
                moved = model.transition(q.mean, action)
            for name, density in (("initial", prior), ("posterior", q), ("transition", moved)):
                for part in density:
                    shaped("world_model", f"{kind}.{name}", part, (TRIED, size))
            shaped("world_model", f"{kind}.posterior's memory", after, tuple(memory.shape))
            with torch.no_grad(), telling("world_model", kind, "step"):
                z, step, _ = model.imagine(q.mean)
                stepped = [*model.step(q.mean, action), *step(z, action)]
            for got, like in zip(stepped, (q.mean, action[:, 0], z, action[:, 0]), strict=True):
                shaped("world_model", f"{kind}.step", got, tuple(like.shape))
            with telling("world_model", kind, "loss"):
                loss, metrics = model.loss(batch, torch.Generator(device).manual_seed(0))
                scalars = {"loss": loss, **metrics}
        for name, scalar in scalars.items():
            shaped("world_model", f"{kind}.loss: {name}", scalar, ())
        if not loss.requires_grad:
            raise ValueError(f"world_model: {kind}.loss: got no gradient, allowed: one to minimise")
    finally:
        model.train(training)


def shaped(field: str, name: str, got: Any, shape: tuple[int, ...]) -> None:
    """Require a tensor of a shape, of finite numbers.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(got, Tensor) or tuple(got.shape) != shape:
        found = f"a tensor {tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
        raise ValueError(f"{field}: {name}: got {found}, allowed: a tensor {shape}")
    if got.is_floating_point() and not got.isfinite().all():
        raise ValueError(f"{field}: {name}: got NaN or infinity, allowed: finite numbers")


@contextmanager
def telling(field: str, name: str, what: str) -> Iterator[None]:
    """Within this context, an error of code that is on trial says whose it is.

    Raises:
        ValueError: instead of any other error.
    """
    try:
        yield
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{field}: {name} cannot be used: {what} raised {problem}") from error
