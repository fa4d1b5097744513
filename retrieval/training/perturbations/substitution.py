"""``substitution``: a passage's most influential words give way to near words that raise the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.training.perturbation import Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval.models.scorer import Scorer
    from retrieval.training.adversary import AttackedBatch, Perturbed

NEIGHBOUR_ROWS = 1024
"""Words whose neighbours are looked up at a time: bounds the memory of similarities to the vocabulary."""


class Substitution(Perturbation):
    """Replaces a share ``rate`` of a passage's words.

    Influence is the norm of the gradient at a word. It gives way to that of its ``neighbours`` nearest words
    (cosine of embeddings) which raises the loss most to first order, ``(e_new − e_old)·g`` (HotFlip, Ebrahimi
    et al. 2018, arXiv 1712.06751); it stays where none raises it.
    """

    name = "substitution"
    strength = "rate"
    replaces_words = True

    def perturbed(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch with other words."""
        import torch

        from retrieval.models.flops import Work
        from retrieval.training.adversary import Adversary, most_important, with_words
        from retrieval.training.losses import summed

        adversary, table = Adversary(scorer, batch, self.vocabulary), scorer.word_table.detach()
        tokens, ids = adversary.tokens, adversary.tokens.ids
        gradient = adversary.gradient(torch.zeros(len(ids), table.shape[1], device=table.device))
        replaceable = adversary.free & self.replaceable(ids)
        chosen = most_important(gradient.norm(dim=1), replaceable, tokens, self.config.rate)
        places = chosen.nonzero()[:, 0]
        changed = ids.clone()
        for rows in torch.split(places, NEIGHBOUR_ROWS):
            changed[rows] = self._raising(table, ids[rows], gradient[rows])
        searched = summed(torch.tensor(len(places), device=ids.device))
        work = Work(other=self.search_work(table) * float(searched))
        return with_words(batch, changed, adversary.work + work)

    def _raising(self, table: Tensor, ids: Tensor, gradient: Tensor) -> Tensor:
        """Words int64[n] in the place of ``ids``, where the loss has ``gradient[n, hidden]``."""
        import torch

        near = self.candidates(table, ids)
        gains = torch.einsum("nkh,nh->nk", table[near.clamp_min(0)] - table[ids][:, None], gradient)
        gain, best = gains.masked_fill(near < 0, float("-inf")).max(dim=1)
        return torch.where(gain > 0, near.gather(1, best[:, None])[:, 0], ids)

    def replaceable(self, ids: Tensor) -> Tensor:
        """Which of the tokens ``ids[T]`` are words that can give way: bool[T]."""
        return self.vocabulary.replaceable(ids)

    def candidates(self, table: Tensor, ids: Tensor) -> Tensor:
        """What the words ``ids[n]`` may give way to, by the word embeddings ``table``: int64[n, k]."""
        from torch.nn import functional as F

        candidates = self.vocabulary.choices
        similarity = F.normalize(table[ids], dim=1) @ F.normalize(table[candidates], dim=1).T
        similarity.masked_fill_(candidates == ids[:, None], float("-inf"))
        count = min(self.config.neighbours, len(candidates) - 1)
        return candidates[similarity.topk(count, dim=1).indices]

    def search_work(self, table: Tensor) -> float:
        """FLOPs of finding the candidates of a word."""
        return 2.0 * table.shape[1] * len(self.vocabulary.choices)
