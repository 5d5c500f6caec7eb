"""A world model whose state holds a static map beside what moves: z_t = (m_t, s_t).

    p(z_t | z_{t−1}, a_{t−1}) = p(m_t | m_{t−1}, a_{t−1}, surroundings of m_{t−1} on s_{t−1})
                                · N(s_t; s_{t−1}, σ_s² I)
    p(x_t | z_t): mean = mean frame + decoder(m_t) + image(s_t)
    p(c_t | z_t), p(r_t | c_t, z_t): functions of m_t, of the landmarks of the mean frame + image(s_1),
                                     and of the distances between them

The first two numbers of m are the place of the thing that the actions steer, which is read from frames
by its colour (`agent.things`); `pointer` is the pixel there. The densities of the map and the evidence
of the place are computed in closed form from the first episodes (`agent.static_map`). The other numbers
of m are features of an encoder, which begin as principal components and are trained slowly.

In all else this is the sequential VAE of `agent.world_model`. Its loss has a further term, which fits
the place's transition (`MappedWorldModel.further_loss`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from agent.config import Width
from agent.distributions import Normal, kl_divergence, product
from agent.episodic_world_model import EpisodicWorldModel
from agent.networks import PATCH, SeparableDecoder, mlp
from agent.novelty import bonus
from agent.posteriors import MIN_STD, inverse_softplus, normal
from agent.static_map import StaticMap
from agent.things import Things
from agent.types import Batch, Step
from agent.world_model import WorldModelConfig

MAP_CHANNELS = 8
THINGS = 6  # coloured things that are told apart, of those that move and of those that do not
MAP_STD = 0.1  # of a frame's evidence of the map; its numbers have unit scale
MAP_DRIFT = 0.05  # σ_s
PLACE_SCALE = 4.0  # std of the two latents that tell the place: others have 1, for a coarser use
ENCODER_RATE = 0.1  # learning rate of the encoder, relative to the others
EVIDENCE_BIAS = -4.0  # std of a frame's evidence of m at first, before softplus
RECALLED = 4096  # steps of the place that are kept
REHEARSED = 256  # of these, in each update
DISPLACEMENT = 2.5  # pixels, std; places that the presence is to tell from real ones
PRESENCE_WIDTH = 64  # hidden units
LEAST_PRESENCE = -3.0  # log-odds of a place, below which steps are shortened
UNCERTAIN = 0.35  # std of a step of the place, over a typical step, above which they are shortened
PLACE_STD = 0.01  # least std of a step of the place, which is read from frames about as exactly
BLUR = 0.05  # std of noise on the surroundings in training: networks of few walls learn them by heart
MOST_DRAWN = 256  # images drawn at a time: more take longer, as memory for them is found anew
KERNEL = 3.0  # pixels, std of the density of places, for their novelty
GOES_ON = 4.0  # log-odds of going on where an episode has not ended, at least
READ_STD = 0.01  # of a frame's evidence of the place, where the thing is seen
UNSEEN_STD = 100.0  # where it is not


@dataclass(frozen=True)
class MappedWorldModelConfig(WorldModelConfig):
    """Those of the sequential VAE, with other defaults: the map holds what else would take latents.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    latent_dim: Width = 3
    """Dimensions of m, what moves; from 3 to `num_keypoints` + 2."""
    hidden_dim: Width = 64
    continuation: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.num_keypoints + 2
        if self.posterior != "filter":
            raise ValueError(f"posterior: got {self.posterior!r}, allowed: 'filter'")
        if not 3 <= self.latent_dim <= most:
            allowed = f"from 3 to {most}, num_keypoints + 2"
            raise ValueError(f"latent_dim: got {self.latent_dim}, allowed: {allowed}")


class Landmarks(NamedTuple):
    """The things of N maps."""

    centres: Tensor  # (N, K, 2), rows and columns in pixels
    seen: Tensor  # (N, K)
    summary: Tensor  # (N, 3 K), centres and masses, of unit scale

    def repeated(self, rows: int) -> "Landmarks":
        """Those of `rows` states, rows / N of each map in turn."""
        count = rows // len(self.seen)
        if count == 1:
            return self
        return Landmarks(*(each.repeat_interleave(count, 0) for each in self))


class MappedWorldModel(EpisodicWorldModel):
    """The sequential VAE with z = (m, s): `latent_dim` dimensions that move, and a static map.

    Args:
        frame_shape: (H, W, C) of a frame.
        action_size: A.
        config: sizes and scales.
    """

    config_type = MappedWorldModelConfig
    initial_length = 16  # so that what moves has left its place by the end
    training_buffers = ("recalled", "reached", "displaced", "outcomes", "num_recalled")
    controlled: Tensor
    floor: Tensor
    half_extent: Tensor
    place_offset: Tensor
    place_scale: Tensor
    landmark_offset: Tensor
    landmark_scale: Tensor
    recalled: Tensor
    reached: Tensor
    displaced: Tensor
    outcomes: Tensor
    num_recalled: Tensor
    typical_step: Tensor

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        config: MappedWorldModelConfig | None = None,
    ) -> None:
        config = config or MappedWorldModelConfig()
        super().__init__(frame_shape, action_size, config)
        moving, width = self.config.latent_dim, self.config.hidden_dim
        self.map = StaticMap(frame_shape, MAP_CHANNELS)
        self.moving_dim, self.latent_dim = moving, moving + self.map.size
        decoder = self.decoder
        assert isinstance(decoder, SeparableDecoder)
        self.posterior = MappedPosterior(config.num_keypoints, moving)
        self.decoder = MappedDecoder(decoder, self.map, moving)
        self.movers, self.fixtures = Things(frame_shape, THINGS), Things(frame_shape, THINGS)
        self.register_buffer("controlled", torch.tensor(0))  # which of the movers is steered
        self.register_buffer("floor", torch.zeros(frame_shape[2]))  # the colour of most pixels
        half_extent = (torch.tensor(frame_shape[:2]) - 1) / 2
        self.register_buffer("half_extent", half_extent, persistent=False)  # pixels
        self.register_buffer("place_offset", torch.zeros(2))
        self.register_buffer("place_scale", torch.ones(2))
        landmarks = 3 * THINGS
        self.register_buffer("landmark_offset", torch.zeros(landmarks))
        self.register_buffer("landmark_scale", torch.ones(landmarks))
        self.drive = nn.Linear(action_size, 2, bias=False).requires_grad_(False)
        inputs = moving - 2 + action_size + self.map.num_surroundings
        self.place_net = mlp(inputs, width, 2 * 2)
        self.transition_net = mlp(moving + action_size, width, 2 * (moving - 2))
        self.register_buffer("recalled", torch.zeros(RECALLED, inputs + 2))
        self.register_buffer("num_recalled", torch.tensor(0))
        self.presence_net = mlp(self.map.num_surroundings, PRESENCE_WIDTH, 1)
        self.register_buffer("reached", torch.zeros(RECALLED, self.map.num_surroundings))
        self.register_buffer("displaced", torch.zeros(RECALLED, self.map.num_surroundings))
        self.register_buffer("typical_step", torch.tensor(1e4))  # of the place, RMS; here unknown
        known = moving + landmarks + THINGS
        self.register_buffer("outcomes", torch.zeros(RECALLED, known + 2))
        self.reward_net = mlp(known, width, 2)
        if self.continuation_net is not None:
            self.continuation_net = mlp(known, width, 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See `WorldModel.parameter_groups`."""
        slow = [*self.encoder.parameters(), *self.posterior.parameters()]
        kept = {id(each) for each in slow}
        fast = [each for each in self.parameters() if id(each) not in kept and each.requires_grad]
        return [{"params": slow, "rate": ENCODER_RATE}, {"params": fast, "rate": 1.0}]

    # ---- the densities -------------------------------------------------------------------------

    def _features(self, frames: Float[Tensor, "N H W C"]) -> Float[Tensor, "N F"]:
        """The place of what is steered and whether it is seen; the encoder's features; the map."""
        moving = self.map.moving(frames)
        s, known = self._read(frames, moving)
        moved = frames - self.map.draw(s)
        place, seen = self._place(moved, moving)
        return torch.cat([place, seen, self.encoder(moved), s, known.float()], -1)

    def _read(self, frames: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The map behind what moves, and which of its numbers are known."""
        return self.map.read(frames, self.movers.hidden(frames, moving))

    def _place(self, moved: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The two latents that tell the place, (N, 2), and whether it is seen, (N, 1)."""
        centres, masses = self.movers(moved, moving, int(self.controlled))
        centre, mass = centres[:, 0], masses[:, 0]
        place = PLACE_SCALE * (centre - self.place_offset) / self.place_scale
        return place, (mass > 0).float()[:, None]

    def pointer(self, m: Float[Tensor, "N M"]) -> Float[Tensor, "N 2"]:
        """The row and column, in pixels, where m says that the steered thing is."""
        return self._pixels(m[..., :2] / PLACE_SCALE * self.place_scale + self.place_offset)

    def _pixels(self, centre: Tensor) -> Tensor:
        """Rows and columns, −1 to 1, in pixels."""
        return (centre + 1) * self.half_extent

    @torch.no_grad()
    def _landmarks(self, background: Tensor) -> Landmarks:
        """The things that stand in backgrounds, such as a goal."""
        centres, masses = self.fixtures(background)
        found = torch.cat([centres.flatten(1), masses.sqrt()], -1)
        summary = (found - self.landmark_offset) / self.landmark_scale
        return Landmarks(self._pixels(centres), masses > 0, summary)

    def transition(self, z: Float[Tensor, "N D"], action: Float[Tensor, "N A"]) -> Normal:
        """p(z_t | z_{t−1}, a_{t−1}); see the module's docstring."""
        if len(z) > MOST_DRAWN:
            rows = zip(z.split(MOST_DRAWN), action.split(MOST_DRAWN), strict=True)
            means, stds = zip(*(self.transition(*each) for each in rows), strict=True)
            return Normal(torch.cat(means), torch.cat(stds))
        m, s = self._split(z)
        moved = self._moved(m, self._surroundings(m, self._background(s)), action)
        drift = torch.full_like(s, MAP_DRIFT)
        return Normal(torch.cat([moved.mean, s], -1), torch.cat([moved.std, drift], -1))

    def _moved(self, m: Tensor, surroundings: Tensor, action: Tensor) -> Normal:
        with torch.no_grad():  # it is trained by `further_loss` alone
            inputs = torch.cat([m[:, 2:], action, surroundings], -1)  # not the place itself
            place = step_density(self.place_net(inputs))
        rest = normal(self.transition_net(torch.cat([m, action], -1)), bias=-1.0)
        mean = torch.cat([m[:, :2] + self.drive(action) + place.mean, rest.mean], -1)
        return Normal(mean, torch.cat([place.std, rest.std], -1))

    @torch.no_grad()
    def _background(self, s: Tensor) -> Tensor:
        """The images of maps, with the mean frame: a wall that is always there is a wall, too.

        They are relative to the colour of most pixels, so that most are 0.
        """
        return self.map.draw(s) + (self.mean_frame - self.floor)

    @torch.no_grad()
    def _surroundings(self, m: Tensor, image: Tensor) -> Tensor:
        """What surrounds m's place on backgrounds."""
        return self.map.surroundings(image, self.pointer(m))

    def further_loss(
        self, features: Tensor, q: Normal, batch: Batch, generator: torch.Generator | None
    ) -> Tensor:
        """Losses of the place's transition, of the presence and of outcomes, means, nats.

        The place is read from frames nearly exactly, so that its transition is fitted to what was read,
        and not to samples of z. It is a sharp function of the walls around, which takes many examples:
        those of earlier batches cost no encoding. Its mean and scale are fitted as those of a Laplace
        density (`step_loss`), which a few collisions disturb less than squares.

        The presence tells real places from those displaced at random, by their surroundings. The best
        classifier's log-odds are ln p(place) / p̃(place), p̃ being p blurred: near 0 in the open, however
        rarely the thing comes there, and −∞ inside of a wall. Places are those that steps lead to: an
        episode may end at its last one, and a goal is no wall.

        Rewards and ends are rehearsed likewise, without constants: a sparse reward is rare in a batch.
        """
        if torch.is_grad_enabled():
            self._remember(features.detach().view(*batch.mask.shape, -1), q, batch, generator)
        count = min(int(self.num_recalled), RECALLED)
        if count == 0:
            return q.mean.new_zeros(())
        chosen = torch.randint(count, (REHEARSED,), generator=generator, device=q.mean.device)
        known, around, step = self.recalled[chosen].split(
            [self.recalled.shape[1] - 2 - self.map.num_surroundings, self.map.num_surroundings, 2], -1
        )
        around, real, unreal = (
            each + BLUR * torch.randn(each.shape, generator=generator, device=each.device)
            for each in (around, self.reached[chosen], self.displaced[chosen])
        )
        density = step_density(self.place_net(torch.cat([known, around], -1)))
        error = step_loss(density, step)
        presence = F.softplus(-self.presence_net(real)) + F.softplus(self.presence_net(unreal))
        inputs, reward, continues = self.outcomes[chosen].split([self.outcomes.shape[1] - 2, 1, 1], -1)
        outcome = self.outcome_loss(inputs, reward, continues)
        return error.mean() + presence.mean() + outcome.mean()

    @torch.no_grad()
    def _remember(
        self, features: Tensor, q: Normal, batch: Batch, generator: torch.Generator | None
    ) -> None:
        """Store the place's steps of a batch, in place of the oldest ones."""
        seen = batch.mask.bool() & (features[..., 2] > 0)
        pairs = seen[:, 1:] & seen[:, :-1]
        if not pairs.any():
            return
        places, action = features[..., :2], batch.actions[pairs]
        m = torch.cat([places, q.mean[..., 2 : self.moving_dim]], -1)[:, :-1][pairs]
        image = self._background(q.mean[:, :-1, self.moving_dim :][pairs])
        step = (places[:, 1:] - places[:, :-1])[pairs] - self.drive(action)
        rows = [m[:, 2:], action, self._surroundings(m, image), step]
        rows = torch.cat(rows, -1)[-RECALLED:]
        at = (self.num_recalled + torch.arange(len(rows), device=rows.device)) % RECALLED
        self.recalled[at] = rows
        place = self.pointer(places[:, 1:][pairs])
        noise = torch.randn(place.shape, generator=generator, device=m.device)
        self.reached[at] = self.map.surroundings(image, place)[-RECALLED:]
        displaced = self.map.surroundings(image, place + DISPLACEMENT * noise)
        self.displaced[at] = displaced[-RECALLED:]
        inputs = self.outcome_inputs(torch.cat([places, q.mean[..., 2:]], -1))
        told = torch.stack([batch.rewards, batch.continues], -1)
        self.outcomes[at] = torch.cat([inputs, told], -1)[:, 1:][pairs][-RECALLED:]
        self.num_recalled += len(rows)

    def outcome_inputs(self, z: Tensor) -> Tensor:
        """Inputs of rewards and continuation. The map of a sequence is that of its first time step."""
        m, s = self._split(z)
        if z.ndim == 2:
            return self.beside(m, self._landmarks(self._background(s)))
        landmarks = self._landmarks(self._background(s[:, 0]))
        return self.beside(m.flatten(0, 1), landmarks).view(*z.shape[:-1], -1)

    def beside(self, m: Tensor, landmarks: Landmarks) -> Tensor:
        """Rows of m with landmarks and distances from them, M / N for each of N maps in turn.

        A distance makes what happens at a landmark a simple function, which a few arrivals from one
        side tell for all others. The place has a coarser scale here than elsewhere: it matters less.
        """
        centres, seen, summary = landmarks.repeated(len(m))
        distances = (self.pointer(m)[:, None] - centres).norm(dim=-1) / PATCH * seen
        return torch.cat([m[:, :2] / PLACE_SCALE, m[:, 2:], summary, distances], -1)

    def divergence(self, q: Normal, p: Normal) -> Tensor:
        """KL[q ‖ p] of what moves. That of the map has no parameters, and would add noise alone."""
        place, rest = (
            [Normal(d.mean[..., part], d.std[..., part]) for d in (q, p)]
            for part in (slice(2), slice(2, self.moving_dim))
        )
        return kl_divergence(*place).detach() + kl_divergence(*rest)

    def imagine(self, z: Float[Tensor, "N D"]) -> tuple[Tensor, Step, Any]:
        """See `WorldModel.imagine`. Only m is rolled out: the map is held as it is.

        A step is shortened by its `trust`, and an episode goes on with the model's log-odds, raised by
        what is `lacking` in z.
        """
        start, s = self._split(z)

        @cache  # many ask only for the part of z that changes
        def image() -> Tensor:
            return self._background(s)

        @cache
        def landmarks() -> Landmarks:
            return self._landmarks(image())

        @cache
        def for_each(rows: int) -> Landmarks:
            return landmarks().repeated(rows)

        @cache
        @torch.no_grad()
        def lacking() -> Tensor:
            return self.lacking(self._continuation_logit(beside(start)))

        def beside(m: Tensor) -> Tensor:
            return self.beside(m, for_each(len(m)))

        def goes_on(inputs: Tensor) -> Tensor | None:
            if self.continuation_net is None:
                return None
            logit = self._continuation_logit(inputs)
            return (logit.view(len(start), -1) + lacking()[:, None]).sigmoid().flatten()

        def at_start(m: Tensor) -> Tensor:
            if len(start) > 1:
                return self._surroundings(m, image())
            # All plans begin in one state, and a state is left by several actions.
            distinct, row = m.unique_consecutive(dim=0, return_inverse=True)
            return self._surroundings(distinct, image())[row]

        # The m of the last step, its surroundings, and its probability of going on.
        known: tuple[Tensor, Tensor, Tensor | None] | None = None

        @torch.no_grad()
        def step(m: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal known
            here = known[1] if known is not None and known[0] is m else at_start(m)
            moved = self._moved(m, here, action)
            there = self._surroundings(moved.mean, image())
            share = self.trust(moved, there)
            m = torch.lerp(m, moved.mean, share)
            inputs = beside(m)
            probability = goes_on(inputs)
            known = m, torch.lerp(here, there, share), probability
            return m, self._expected(inputs, probability)

        @torch.no_grad()
        def continuation(m: Tensor) -> Tensor | None:
            return known[2] if known is not None and known[0] is m else goes_on(beside(m))

        return start, step, None if self.continuation_net is None else continuation

    def trust(self, moved: Normal, there: Float[Tensor, "N R"]) -> Float[Tensor, "N 1"]:
        """The share of an imagined step that is taken, given where it leads and what surrounds that.

        It is small where the model is uncertain of the step, or where it leads to a place that looks
        like none where the thing has ever been. A search for the best of many plans finds every wall
        that a model believes open. Where all ways are doubtful there is still a best one: steps that
        are refused altogether would leave a plan nowhere to go.
        """
        std = moved.std[:, :2].norm(dim=1, keepdim=True)
        certainty = (UNCERTAIN * self.typical_step / std).square()
        likeness = (self.presence_net(there) - LEAST_PRESENCE).exp()
        return certainty.clamp(max=1) * likeness.clamp(max=1)

    def lacking(self, logit: Float[Tensor, "N"]) -> Float[Tensor, "N"]:  # noqa: F821 - shapes
        """What the log-odds of going on lack in the present state, in which the episode has not ended.

        Without it, a plan stays where the model wrongly believes that the episode ends.
        """
        return (GOES_ON - logit).clamp(min=0)

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        m, s = z.split([self.moving_dim, self.map.size], -1)
        return m, s

    # ---- initialisation ------------------------------------------------------------------------

    def initialise_encoder(self, frames: Float[Tensor, "N H W C"]) -> None:
        """Nothing: `initialise` does more than whitening."""

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Fit map, places, encoder and the linear part of the transition to whole episodes."""
        super().initialise(batch)
        self.floor.copy_(self.mean_frame.flatten(0, 1).median(0).values)
        mask = batch.mask.bool()
        frames = self._centred(batch.frames.flatten(0, 1))
        kept = mask.flatten()
        moved = self.map.initialise(frames.view(*mask.shape, *frames.shape[1:]), mask).flatten(0, 1)
        moving = self.map.moving(frames)
        self.movers.initialise(moved[kept], moving[kept])
        self.movers.forget_unsteady(frames[kept], moving[kept])
        hidden = self._fit_map(frames, moving, mask)
        s = self.map.read(frames, hidden)[0]
        moved = frames - self.map.draw(s)
        centres, masses = self.movers(moved, moving)
        self.controlled.fill_(
            steered(centres.view(*mask.shape, -1, 2), masses.view(*mask.shape, -1), batch)
        )
        centre = centres[kept & (masses[:, self.controlled] > 0), self.controlled]
        if len(centre) > 1:
            self.place_offset.copy_(centre.mean(0))
            self.place_scale.copy_(centre.std(0) + 0.02)
        background = self._background(s[kept])
        self.fixtures.initialise(background)
        found = self._landmarks(background).summary
        self.landmark_offset.copy_(found.mean(0))
        self.landmark_scale.copy_(found.std(0) + 0.02)

        place, _ = self._place(moved, moving)
        self.encoder.initialise(moved[kept], place[kept])
        m = torch.cat([place, self.encoder(moved)[:, : self.moving_dim - 2]], -1).view(*mask.shape, -1)
        pairs = mask[:, 1:]
        change, action = (m[:, 1:, :2] - m[:, :-1, :2])[pairs], batch.actions[pairs]
        drive = torch.linalg.lstsq(action, change).solution
        self.drive.weight.copy_(drive.T)
        self.typical_step.copy_(change.square().sum(1).mean().sqrt())
        for net, left in (
            (self.place_net, change - action @ drive),
            (self.transition_net, m[..., 2:][mask]),
        ):
            last, std = net[-1], left.std(0)
            assert isinstance(last, nn.Linear)
            last.weight.mul_(0.1)
            last.bias[: len(std)] = 0
            last.bias[len(std) :] = inverse_softplus((std - MIN_STD).clamp(min=0.01)) + 1.0

    @torch.no_grad()
    def refit(self, batch: Batch, rewards: Tensor, returns_vary: bool) -> None:
        """Fit the map's components to more episodes, and the scale of rewards to all of them.

        What was learned of the images that the map draws stays true: they come nearer to the frames.
        """
        super().refit(batch, rewards, returns_vary)
        frames = self._centred(batch.frames.flatten(0, 1))
        self._fit_map(frames, self.map.moving(frames), batch.mask.bool())

    @property
    def novelty(self) -> Callable[[Tensor], Tensor] | None:
        """See `agent.novelty`; of places."""
        if self.rewarded:
            return None
        count = min(int(self.num_recalled), RECALLED)
        found = bonus(self.pointer(PLACE_SCALE * self.outcomes[:count, :2]), KERNEL)
        return lambda m: found(self.pointer(m))

    def _fit_map(self, frames: Tensor, moving: Tensor, mask: Tensor) -> Tensor:
        """Fit the map to what is not hidden by things that move; the hidden pixels."""
        hidden = self.movers.hidden(frames, moving)
        episodes, covered = (each.view(*mask.shape, *each.shape[1:]) for each in (frames, hidden))
        self.map.fit(episodes, covered, mask)
        return hidden


def step_density(output: Tensor) -> Normal:
    """The density of a step of the place, from the output of its network."""
    mean, raw = output.chunk(2, -1)
    return Normal(mean, F.softplus(raw - 1.0) + PLACE_STD)


def step_loss(density: Normal, step: Float[Tensor, "N 2"]) -> Float[Tensor, "N"]:  # noqa: F821 - shapes
    """Σ σ (|step − mean| / σ + ln σ), where no gradient goes through the first σ.

    This is −ln p of a Laplace density without constants, with a weight for each number. Without it,
    many steps that are certain would leave nothing of the gradient of a rare one that is not yet
    understood: it is divided by its σ (arXiv 2203.09168).
    """
    error = (step - density.mean).abs() / density.std + density.std.log()
    return (density.std.detach() * error).sum(-1)


def steered(centres: Tensor, masses: Tensor, batch: Batch) -> int:
    """The thing whose steps a linear function of the actions explains best, by R² of the steps."""
    best, chosen = -math.inf, 0
    for k in range(centres.shape[2]):
        seen = batch.mask.bool() & (masses[..., k] > 0)
        pairs = seen[:, 1:] & seen[:, :-1]
        if pairs.sum() < 2 * (batch.actions.shape[-1] + 1):
            continue
        step, action = (centres[:, 1:, k] - centres[:, :-1, k])[pairs], batch.actions[pairs]
        left = step - action @ torch.linalg.lstsq(action, step).solution
        share = pairs.sum() / batch.mask[:, 1:].sum()
        explained = (1 - left.square().sum() / step.square().sum().clamp(min=1e-9)) * share
        if explained > best:
            best, chosen = explained.item(), k
    return chosen


class MappedPosterior(nn.Module):
    """q(z_t) = q(m_t | ·) q(s_t | x_t, s_{t−1}): Kalman updates with a frame's evidence.

    Where the steered thing is not seen, there is no evidence of its place, and where a number of the
    map is not known, none of that.

    Args:
        features: features of the encoder.
        size: dimensions of m.
    """

    memory_size = 0

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.features, self.size = features, size
        self.std = nn.Linear(features, size - 2)
        with torch.no_grad():
            self.std.weight.mul_(0.1)
            self.std.bias.fill_(EVIDENCE_BIAS)

    def forward(
        self, features: Tensor, prior: Normal, action: Tensor, memory: Tensor
    ) -> tuple[Normal, Tensor]:
        """See `agent.posteriors`; the features are those of `MappedWorldModel.features`."""
        static = Normal(prior.mean[:, self.size :], prior.std[:, self.size :])
        cells = static.mean.shape[1]
        place, seen, encoded, s, known = features.split([2, 1, self.features, cells, cells], -1)
        std = F.softplus(self.std(encoded)) + MIN_STD
        std = torch.cat([torch.where(seen > 0, READ_STD, UNSEEN_STD).expand(-1, 2), std], -1)
        evidence = Normal(torch.cat([place, encoded[:, : self.size - 2]], -1), std)
        moved = product(Normal(prior.mean[:, : self.size], prior.std[:, : self.size]), evidence)
        with torch.no_grad():  # nothing of the map is trained
            updated = product(static, Normal(s, torch.full_like(s, MAP_STD)))
            mean, std = (torch.where(known > 0, a, b) for a, b in zip(updated, static, strict=True))
        return Normal(torch.cat([moved.mean, mean], -1), torch.cat([moved.std, std], -1)), memory


class MappedDecoder(nn.Module):
    """z ↦ decoder(m) + image(s).

    Args:
        moving: the decoder of m.
        static: the map.
        size: dimensions of m.
    """

    def __init__(self, moving: SeparableDecoder, static: StaticMap, size: int) -> None:
        super().__init__()
        self.moving, self.size = moving, size
        self._static = [static]  # a list, as the map's buffers are saved with the model

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N H W C"]:
        """Images of z, in the units of `squared_error`'s frames."""
        return self.moving(z[:, : self.size]) + self._static[0].draw(z[:, self.size :])

    def squared_error(
        self, z: Float[Tensor, "N D"], frames: Float[Tensor, "N H W C"]
    ) -> Float[Tensor, "N"]:  # noqa: F821 - a shape, not a name
        """‖frame − image(z)‖²; see `SeparableDecoder`."""
        with torch.no_grad():
            static = self._static[0].draw(z[:, self.size :])
        return self.moving.squared_error(z[:, : self.size], frames - static)
