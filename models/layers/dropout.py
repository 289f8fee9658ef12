"""Dropout whose random numbers cost little."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DRAWS = 256


class Dropout(nn.Module):
    """As ``nn.Dropout``, but a CPU draws eight places at once, from a 64-bit number.

    Drawing place by place takes a sixth of a training step. The rate is rounded to a 256th, and what is kept is scaled
    by the rounded rate's, so that the mean stays.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._dropped = round(rate * _DRAWS)

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.training or self._dropped == 0:
            return tokens
        if tokens.is_cuda:
            return F.dropout(tokens, self.rate)
        draws = torch.empty(-(-tokens.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = (draws.view(torch.uint8)[: tokens.numel()] >= self._dropped).view(tokens.shape)
        return tokens * (kept.to(tokens.dtype) * (_DRAWS / (_DRAWS - self._dropped)))
