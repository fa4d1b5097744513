"""From the states of a text's tokens to its vector, by the modes of sentence-transformers."""

import torch
from torch import Tensor

from retrieval.config.model import POOLINGS
from retrieval.data.layout import Block
from retrieval.errors import ConfigError


def pooled(modes: tuple[str, ...], block: Block) -> Tensor:
    """float32[texts, len(modes)·hidden] for states [texts, width, hidden].

    Raises:
        ConfigError: A mode is not known.
    """
    parts = [_pooled(mode, block) for mode in modes]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _pooled(mode: str, block: Block) -> Tensor:
    states, mask = block.values, block.mask
    if mode == "cls":
        return states[:, 0].float()
    if mode == "mean" and mask is None:
        return states.float().mean(1)
    weights = torch.ones(states.shape[:2], device=states.device, dtype=torch.bool) if mask is None else mask
    if mode == "lasttoken":
        last = weights.sum(1) - 1
        return states[torch.arange(len(states), device=states.device), last].float()
    if mode == "max":
        return states.float().masked_fill(~weights[..., None], float("-inf")).amax(1)
    if mode == "weightedmean":  # by place, as of SGPT (Muennighoff 2022, arXiv 2202.08904)
        places = torch.arange(1, states.shape[1] + 1, device=states.device)
        shares = (weights * places).float()
        return torch.bmm(shares[:, None], states.float())[:, 0] / shares.sum(1, keepdim=True)
    if mode not in ("mean", "mean_sqrt_len_tokens"):
        raise ConfigError(f"pooling {mode} is not known; valid: {', '.join(POOLINGS)}")
    # The sum over tokens is a matrix product, which accumulates in fp32 whatever the type.
    summed = torch.bmm(weights.to(states.dtype)[:, None], states)[:, 0].float()
    counts = weights.to(states.dtype).sum(1, keepdim=True, dtype=torch.float32)
    return summed / (counts if mode == "mean" else counts.sqrt())
