"""What each optimisation step trains: the choice of a loss by ω, and the batch for it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from retrieval.data.batches import Batch, Stream, collate
from retrieval.training.objective import Objective
from retrieval.training.strategy import EFF, ROB
from retrieval.training.streams import Lane, TrainingData, lanes, streams

TIE = 1e-9
"""Credits closer than this are equal: sums of shares carry rounding errors."""


class Sampler:
    """Makes the batch of every step.

    With ``mixing=steps`` it chooses L_rob with frequency ω by error diffusion: ω is added to a credit at
    every step, and a robust step takes one from it. So the number of robust steps differs from the sum of
    all ω so far by half a step at most; of a rule that follows training losses, each ω is that of a step
    before. Which of its losses a term trains is chosen likewise, by their weights. Everything that the next
    choice depends on is in :meth:`state_dict`, and in that of the objective.

    ``batch_size``: pairs of a step; ``rank``: of this process among ``world`` that train the run and make the
    same choices; ``omega``: a fixed ω in place of the objective's, which is read when a step begins.
    """

    def __init__(
        self,
        objective: Objective,
        data: TrainingData,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        omega: float | None = None,
    ) -> None:
        self.omega = omega
        self.objective, self.strategy = objective, objective.strategy
        self.seed, self.rank, self.world = seed, rank, world
        self._in_domain = data.in_domain
        by_steps = self.strategy.by_steps
        self.lanes: tuple[Lane, ...] = lanes(self.strategy, data, batch_size) if by_steps else ()
        self.streams: tuple[Stream, ...] = () if by_steps else streams(self.strategy, data, batch_size)
        self.credit = 0.0
        """Sum of ω over the steps so far, less the robust steps."""
        self.credits = {lane.name: 0.0 for lane in self.lanes}
        """Of each lane among those of its term."""
        self.positions = dict.fromkeys(self._streams(), 0)
        """Batches that each lane or stream has given."""

    def _streams(self) -> dict[str, Stream]:
        together = {stream.name: stream for stream in self.streams}
        return {lane.name: lane.stream for lane in self.lanes} or together

    def batch(self, step: int) -> Batch:
        """The batch of the next step, which is number ``step``; steps are asked for in their order."""
        if not self.lanes:
            made = collate(self.streams, self.seed, step, self.rank, self.world, self.positions)
            self.positions = {name: count + 1 for name, count in self.positions.items()}
            return made
        lane = self._choose(self._term())
        positions = {lane.stream.name: self.positions[lane.name]}
        self.positions[lane.name] += 1
        return collate((lane.stream,), self.seed, step, self.rank, self.world, positions, lane.term)

    def _term(self) -> str:
        if self.strategy.rob is None:
            return EFF
        self.credit += self.objective.choose_by() if self.omega is None else self.omega
        if self.credit <= 0.5 + TIE:
            return EFF
        self.credit -= 1.0
        return ROB

    def _choose(self, term: str) -> Lane:
        """The lane of ``term`` that is furthest behind its share of the term's steps, the first of ties."""
        lanes = [lane for lane in self.lanes if lane.term == term]
        for lane in lanes:
            self.credits[lane.name] += lane.weight
        most = max(self.credits[lane.name] for lane in lanes)
        chosen = next(lane for lane in lanes if self.credits[lane.name] >= most - TIE)
        self.credits[chosen.name] -= 1.0
        return chosen

    def distinct_pairs(self) -> dict[str, int]:
        """Different pairs seen so far: in-domain ones as ``eff``, those of other collections as ``rob``.

        A pair that several losses have seen counts once.
        """
        seen: dict[int, list[np.ndarray]] = {}
        names: dict[int, str] = {}
        for name, stream in self._streams().items():
            for source, indexes in stream.distinct(self.seed, self.positions[name]):
                seen.setdefault(id(source), []).append(indexes)
                names[id(source)] = EFF if source is self._in_domain else ROB
        counts = {EFF: 0, ROB: 0}
        for key, parts in seen.items():
            counts[names[key]] += len(np.unique(np.concatenate(parts)))
        return counts

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs: plain numbers by name."""
        return {"credit": self.credit, "credits": dict(self.credits), "positions": dict(self.positions)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.credit = float(state["credit"])
        self.credits = {name: float(value) for name, value in state["credits"].items()}
        self.positions = {name: int(value) for name, value in state["positions"].items()}
