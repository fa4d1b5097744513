"""``cross-encoder``: query and passage in one pass, one score a pair (Nogueira and Cho, arXiv 1901.04085)."""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import BertForSequenceClassification

from retrieval.config import ModelConfig
from retrieval.data.batches import RankingBlock
from retrieval.data.layout import TokenBatch
from retrieval.data.testset import IntArray
from retrieval.models import inputs
from retrieval.models.architecture import CLASSIFICATION
from retrieval.models.checkpoint import Checkpoint, read_settings
from retrieval.models.encoding import batches_of
from retrieval.models.export import save_cross_encoder
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.pair_scores import PairScores
from retrieval.models.pairs import Pairs, Template
from retrieval.models.scorer import Scorer, stacked
from retrieval.models.soundness import positions


class CrossEncoder(Scorer):
    """Scores a pair by a classifier of one label on the backbone's pass over both texts.

    Rows are token ids ``[length, 1]``, each plus one, and 0 for nothing; with an offset of the word
    embeddings ``[length, 1 + hidden]``, the offset beside its id. The score is the logit over the
    temperature, which is 1 unless set. The classifier is fp32.
    """

    family = "cross-encoder"
    kind = "CrossEncoder"
    head = CLASSIFICATION
    by_pair = True

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        super().__init__(backbone, config, precision)
        self.temperature = config.temperature or 1.0
        self.packed = self.packed and isinstance(self.model, BertForSequenceClassification)
        self.longest = positions(self.backbone)
        """Tokens of a pair at most; ``None``: any number."""
        self._template: Template | None = None

    def know(self, tokenizer: Any) -> None:
        """See :class:`Scorer`: how the tokenizer joins a pair."""
        template = Template.of(tokenizer)
        kinds = int(getattr(self.backbone.config, "type_vocab_size", 0))
        self._template = template if kinds > 1 else replace(template, types=(0,) * 5)

    @property
    def template(self) -> Template:
        """How texts are joined."""
        if self._template is None:
            raise ValueError("a cross-encoder reads pairs as a tokenizer joins them; call know first")
        return self._template

    def use_adapters(self) -> None:
        """As any family, but the pooler, which is new or next to the classifier, is trained whole."""
        super().use_adapters()
        for name, parameter in self.backbone.named_parameters():
            if "pooler" in name:
                parameter.requires_grad_(True)

    def adopt(self, checkpoint: Checkpoint) -> list[str]:
        """The classifier comes with the backbone; its activation is left out, as scores are logits."""
        left = [part for part in super().adopt(checkpoint) if part != f"the head of a {self.kind}"]
        activation = _activation(checkpoint.source)
        if activation and not activation.endswith("Identity"):
            left.append(f"the activation {activation.rpartition('.')[2]} (scores are logits)")
        return left

    def forward(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """What :meth:`encode` gives: pairs, not texts, are what takes memory."""
        return self.encode(tokens, offset)

    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Token ids, see the class; nothing is computed."""
        ids = tokens.blocks(tokens.ids + 1)
        offsets = [None] * len(ids) if offset is None else tokens.blocks(offset)
        rows = []
        for block, beside in zip(ids, offsets, strict=True):
            values = block.values[:, : block.longest, None].float()
            if beside is not None:
                values = torch.cat([values, beside.values[:, : block.longest]], -1)
            rows.append(values if block.mask is None else values * block.mask[:, : block.longest, None])
        return tokens.by_caller(stacked(rows))

    def scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Logits of all pairs: a pass each."""
        return self.listed_scores(queries, passages, np.tile(np.arange(len(passages)), (len(queries), 1)))

    def pair_scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Logits of the pairs that stand beside each other."""
        return self.listed_scores(queries, passages, np.arange(len(passages))[:, None])[:, 0]

    def listed_scores(self, queries: Tensor, passages: Tensor, columns: IntArray) -> Tensor:
        """Logits of the listed pairs; see :class:`Scorer`."""
        owners, places = np.nonzero(columns >= 0)
        found = torch.full((columns.size,), float("-inf"), device=queries.device)
        if len(owners):
            members = owners, columns[owners, places]
            pairs = Pairs.of(self.template, (queries, passages), members, self.longest)
            listed = torch.from_numpy(np.flatnonzero(columns >= 0)).to(queries.device)
            found = found.index_copy(0, listed, self._scored(pairs, queries.device))
        return found.view(columns.shape)

    def columns(self, block: RankingBlock) -> IntArray:
        """The positive, the query's own hard negatives, and the next ``model.listed_negatives`` positives.

        These are the passages of the queries after it in the batch, the first after the last; the batch is
        shuffled. Relevant ones are left out.
        """
        excluded = block.excluded.cpu().numpy()
        count, passages = excluded.shape
        hard = passages // count - 1
        own = np.arange(count)[:, None]
        following = (own + np.arange(1, count)) % count
        bad = np.take_along_axis(excluded, following, 1)
        order = np.argsort(bad, axis=1, kind="stable")[:, : self.config.listed_negatives]
        sampled = np.take_along_axis(following, order, 1)
        columns = np.concatenate([own, count + own * hard + np.arange(hard), sampled], axis=1)
        return np.where(np.take_along_axis(excluded, columns, 1), -1, columns)

    def row_shape(self, length: int) -> tuple[int, ...]:
        """An id for each token."""
        return (length, 1)

    def host_scores(self) -> PairScores:
        """Pairs are joined and scored when they are asked for."""
        return PairScores(self)

    def encoding_work(self, sizes: NDArray[np.int64]) -> Work:
        """None: the work is that of pairs."""
        return Work()

    def scoring_work(
        self, queries: NDArray[np.int64], passages: NDArray[np.int64], columns: IntArray | None = None
    ) -> Work:
        """A forward pass of each pair."""
        if columns is None:
            columns = np.tile(np.arange(len(passages)), (len(queries), 1))
        owners, places = np.nonzero(columns >= 0)
        kept = self.template.lengths(queries[owners], passages[columns[owners, places]], self.longest)
        return super().encoding_work(kept[0] + kept[1] + self.template.specials)

    def flops(self, work: Work) -> float:
        """With the classifier, which sees each pair once."""
        inside = {id(part) for name, part in self.backbone.named_modules() if "pooler" not in name}
        head = (
            part for part in self.model.modules() if isinstance(part, nn.Linear) and id(part) not in inside
        )
        weights = sum(part.weight.numel() for part in head)
        of_backbone = backbone_flops(self.backbone, work)
        return float(of_backbone + 2.0 * weights * work.sequences + work.other)

    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        """As a folder of sentence-transformers: ``CrossEncoder(folder).predict`` gives the same scores.

        The temperature is in the classifier. A pair keeps as many tokens as two texts of ``lengths``.
        """
        longest = sum(lengths) - 2 * sum(self.template.single) + self.template.specials
        longest = min(longest, self.longest or longest)
        last = [
            part for part in self.model.modules() if isinstance(part, nn.Linear) and part.out_features == 1
        ]
        scaled = [weight for weight in (last[-1].weight, last[-1].bias) if weight is not None]
        with torch.no_grad():
            kept = [weight.clone() for weight in scaled]
            for weight in scaled:
                weight /= self.temperature
            save_cross_encoder(self.model, self.template.joining(tokenizer), lengths, longest, folder)
            for weight, before in zip(scaled, kept, strict=True):
                weight.copy_(before)

    def _scored(self, pairs: Pairs, device: torch.device) -> Tensor:
        """Scores of pairs, float32[n], some at a time where no gradient is recorded or it is cached."""
        order = [np.arange(len(pairs.lengths))]
        recorded = torch.is_grad_enabled()
        if not recorded:
            order = batches_of(pairs.lengths, self.hidden, device)
        elif self.mini_batch_size is not None:
            by_length = np.argsort(pairs.lengths, kind="stable")
            order = np.split(by_length, np.arange(self.mini_batch_size, len(by_length), self.mini_batch_size))
        parts = [pairs.part(chosen, device) for chosen in order]
        if recorded and self.mini_batch_size is not None:
            found = [checkpoint(self._logits, *part, part[1], use_reentrant=False) for part in parts]
        else:
            found = [self._logits(*part) for part in parts]
        places = torch.from_numpy(np.argsort(np.concatenate(order))).to(device)
        return torch.cat(found)[places] / self.temperature

    def _logits(
        self, batch: TokenBatch, types: Tensor, offset: Tensor | None, _: Tensor | None = None
    ) -> Tensor:
        """float32[n] in the caller's order; a last tensor says which device's generator is to be replayed."""
        if not self.packed:
            return batch.by_caller(self._by_blocks(batch, types, offset))
        model = cast(BertForSequenceClassification, self.model)
        table = self._bert.embeddings.token_type_embeddings.weight
        if any(self.template.types):
            of_type = types[:, None] * (table[1] - table[0])
            offset = of_type if offset is None else offset + of_type
        states = self._packed_states(batch, offset)
        first = states[torch.from_numpy(batch.starts()[:-1]).to(states.device)].float()
        pooler: Any = self._bert.pooler
        pooled = pooler(first[:, None])
        logits: Tensor = model.classifier(model.dropout(pooled))[:, 0]
        return batch.by_caller(logits)

    def _by_blocks(self, batch: TokenBatch, types: Tensor, offset: Tensor | None) -> Tensor:
        """Logits in layout order, by the model's own forward: every other architecture than BERT."""
        takes_types = "token_type_ids" in inspect.signature(self.model.forward).parameters
        words: nn.Module = self.backbone.get_input_embeddings()  # type: ignore[operator]
        kinds = batch.blocks(types)
        offsets = [None] * len(kinds) if offset is None else batch.blocks(offset)
        found = []
        for ids, kind, beside in zip(batch.blocks(batch.ids), kinds, offsets, strict=True):
            given = inputs.of_block(ids, self.backbone.config)
            if takes_types:
                given["token_type_ids"] = kind.values[:, : ids.longest] * given["attention_mask"]
            with inputs.moved(words, beside), self._lowered():
                found.append(self.model(**given).logits[:, 0].float())
        return torch.cat(found)

    @contextlib.contextmanager
    def _lowered(self) -> Iterator[None]:
        """Within, the backbone computes in the type of :attr:`precision`, and what stands on it in fp32."""
        backbone = self.backbone
        autocast: Any = torch.autocast(self.word_table.device.type, dtype=torch.bfloat16)

        def enter(_module: nn.Module, _inputs: Any) -> None:
            autocast.__enter__()

        def leave(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            autocast.__exit__(None, None, None)
            output.last_hidden_state = output.last_hidden_state.float()
            return output

        if self.precision != "bf16":
            yield
            return
        hooks = [backbone.register_forward_pre_hook(enter), backbone.register_forward_hook(leave)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _activation(source: str) -> str:
    """What sentence-transformers puts after the classifier of a folder or hub id; empty: nothing is said."""
    shape = read_settings(source, "config.json")
    named = read_settings(source, "config_sentence_transformers.json").get("activation_fn")
    named = named or (shape.get("sentence_transformers") or {}).get("activation_fn")
    return str(named or shape.get("sbert_ce_default_activation_function") or "")
