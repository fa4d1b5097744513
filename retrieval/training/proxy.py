"""A proxy: a bag-of-words model, trained on the run's batches with a given ω before the run.

What a mixture of training data brings is a property of the data first, so that a small model ranks mixtures
as a large one does (Xie et al. 2023, arXiv 2305.10429; Ye et al. 2024, arXiv 2403.16952).
"""

import math
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from retrieval.config import Config
from retrieval.data.batches import Batch
from retrieval.data.layout import TokenBatch
from retrieval.models.flops import BACKWARD, FORWARD, Work
from retrieval.training.losses import contrastive_loss
from retrieval.training.measurement import Samples
from retrieval.training.objective import Objective
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData

WIDTH, SCALE, RATE = 128, 20.0, 5e-3
"""Numbers in a vector, factor of the cosine, Adam's initial rate."""


class BagOfWords(nn.Module):
    """``f(x) = n(Σ_t e^{a_t}·n(v_t))`` over the tokens t of a text, n(v) = v/‖v‖; v_t and a_t are learned.

    Without the inner normalisation a token that no step has seen would count for ever less beside the others,
    whose vectors grow, and the loss on other domains would say how often their words occur in the training.
    """

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.randn(vocabulary, WIDTH, generator=generator) / WIDTH**0.5)
        self.weights = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, tokens: TokenBatch) -> Tensor:
        """Vectors of all sequences in the caller's order: float32[n, WIDTH]."""
        # A batch repeats its tokens: what a token adds is computed once.
        ids, places = torch.unique(tokens.ids[: tokens.tokens], return_inverse=True)
        terms = self.weights[ids].exp()[:, None] * F.normalize(F.embedding(ids, self.vectors), dim=-1)
        starts = torch.from_numpy(np.cumsum(tokens.sizes) - tokens.sizes)
        return F.normalize(F.embedding_bag(places, terms, starts, mode="sum"), dim=-1)[tokens.inverse]

    def loss(self, batch: Batch) -> tuple[Tensor, Work]:
        """Mean contrastive loss of the blocks, 0-d, and the FLOPs of a forward pass."""
        vectors = self(batch.tokens)
        losses, scores = [], 0
        for block in batch.blocks.values():
            queries, passages = vectors[block.queries], vectors[block.passages]
            losses.append(contrastive_loss(SCALE * queries @ passages.T, block.labels, block.excluded))
            scores += len(queries) * len(passages)
        return torch.stack(losses).mean(), Work(other=2.0 * WIDTH * (batch.tokens.tokens + scores))


class Proxies:
    """Trains proxies of a run, one a call, and counts what they take.

    The proxies see the batches that the run would see with a fixed ω, for as many steps. They are trained on
    the CPU, and no random state outside them changes.

    The arguments are the run's, its losses chosen by steps. ``samples``: dev pairs of E_dev and R_dev, on the
    CPU; ``vocabulary``: number of token ids.
    """

    def __init__(
        self, cell: Config, objective: Objective, data: TrainingData, samples: Samples, vocabulary: int
    ) -> None:
        self.cell, self.objective, self.data = cell, objective, data
        self.samples, self.vocabulary = samples, vocabulary
        self.work, self.seconds = Work(), 0.0

    def __call__(self, omega: float, repeat: int) -> tuple[float, float]:
        """E_dev and R_dev of the proxy number ``repeat`` that was trained with ``omega``.

        Proxies of the same number start from the same weights and draw the same streams of pairs.
        """
        start = time.perf_counter()
        seed = int(np.random.SeedSequence([self.cell.seed, repeat]).generate_state(1)[0])
        proxy = BagOfWords(self.vocabulary, seed)
        steps, batch_size = self.cell.train.steps, self.cell.train.batch_size
        sampler = Sampler(self.objective, self.data, batch_size, seed, omega=omega)
        optimizer = torch.optim.Adam(proxy.parameters(), RATE, fused=True)
        for step in tqdm(
            range(steps),
            f"proxy {repeat + 1} of ω = {omega:g}",
            disable=not self.cell.trainer.progress,
            leave=False,
            mininterval=0.5,
        ):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            loss, work = proxy.loss(sampler.batch(step))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.work += Work(other=(FORWARD + BACKWARD) * work.other)
        found = self._measure(proxy, "eff"), self._measure(proxy, "rob")
        self.seconds += time.perf_counter() - start
        return found

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def _measure(self, proxy: BagOfWords, side: str) -> float:
        losses = []
        for batch in self.samples[side]:
            loss, work = proxy.loss(batch)
            losses.append(float(loss))
            self.work += work
        return sum(losses) / len(losses)
