"""Multi-head self-attention, over packed sequences and over dense ones."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from models.inputs.batch import Layout


class SelfAttention(nn.Module):
    """Self-attention within each sequence, and no further (thesis 2.1.1, figure 2.2).

    With a ``layout``, tokens (T, D) are packed: projections run over them as they lie, and only the dot products see a
    dense arrangement, in segments of similar length; the layout says whether a token sees later ones. Without, tokens
    are (B, L, D), all L real. Output as the input.
    """

    def __init__(self, *, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not a multiple of n_heads {n_heads}")
        self.n_heads = n_heads
        self.project_in = nn.Linear(d_model, 3 * d_model)
        self.project_out = nn.Linear(d_model, d_model)

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        projected = self.project_in(tokens)
        mixed = self._attend(projected, None) if layout is None else self._attend_packed(projected, layout)
        output: Tensor = self.project_out(mixed)
        return output

    def one(self, tokens: Tensor, layout: Layout | None = None, places: Tensor | None = None) -> Tensor:
        """What ``forward`` has for one token of each sequence (B, D), without the work for the others.

        It must be one that sees all of its sequence: the first, or ``places`` (B,) in a packed array. A query
        (W_q a) . (W_k b + c) is (W_k' W_q a) . b, up to what all keys share; and a mean of W_v b + c is W_v of the
        mean, plus c. So keys and values of the other tokens need not be made.
        """
        if layout is None:
            mixed = self._mix(tokens[:, 0], tokens, None)
        else:

            def mix(number: Tensor, rectangle: Tensor, observed: Tensor | None) -> Tensor:
                return self._mix(tokens[number if places is None else places[number]], rectangle, observed)

            mixed = _by_sequence(mix, tokens, layout)
        output: Tensor = self.project_out(mixed)
        return output

    def mean(self, tokens: Tensor, layout: Layout) -> Tensor:
        """The mean of what ``forward`` has for each sequence of packed tokens, (B, D), without values a token.

        The mean over queries of how they weigh a key is the key's weight in the mean; the rest is as in ``one``. The
        layout must not be causal.
        """

        def mix(_: Tensor, rectangle: Tensor, observed: Tensor | None) -> Tensor:
            return self._values(self._mean_weights(rectangle, observed), rectangle)

        output: Tensor = self.project_out(_by_sequence(mix, tokens, layout))
        return output

    def _mix(self, asking: Tensor, tokens: Tensor, observed: Tensor | None) -> Tensor:
        """One token (B, D) of each sequence, and dense tokens (B, L, D) -> values mixed, (B, D), heads side by side."""
        query_weight, key_weight, _ = self.project_in.weight.chunk(3)
        query_bias, _, _ = self.project_in.bias.chunk(3)
        query = F.linear(asking, query_weight, query_bias).view(len(tokens), self.n_heads, -1)
        by_head = key_weight.view(self.n_heads, -1, tokens.shape[-1])
        asked = torch.einsum("bhd,hde->bhe", query, by_head) / math.sqrt(query.shape[-1])
        scores = asked @ tokens.transpose(1, 2).to(asked.dtype)
        if observed is not None:
            scores = scores.masked_fill(~observed[:, None], -math.inf)
        return self._values(scores.softmax(-1), tokens)

    def _mean_weights(self, tokens: Tensor, observed: Tensor | None) -> Tensor:
        """Dense tokens (B, L, D) -> what each weighs in the mean of all tokens' attention, (B, H, L)."""
        b, n, d = tokens.shape
        projected = F.linear(tokens, self.project_in.weight[: 2 * d], self.project_in.bias[: 2 * d])
        query, key = projected.view(b, n, 2, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if observed is None else observed[:, None, None, :]
        share = (
            torch.full_like(tokens[:, :, 0], 1 / n) if observed is None else observed / observed.sum(1, keepdim=True)
        )
        with torch.autocast(tokens.device.type, enabled=False):
            weights = _weights(query, key, mask, causal=False)
            return (share.to(weights.dtype)[:, None, None, :] @ weights)[:, :, 0]

    def _values(self, weights: Tensor, tokens: Tensor) -> Tensor:
        """Tokens (B, L, D) weighed by (B, H, L), as values: (B, D), heads side by side."""
        value_weight, value_bias = self.project_in.weight.chunk(3)[2], self.project_in.bias.chunk(3)[2]
        by_head = value_weight.view(self.n_heads, -1, tokens.shape[-1])
        return torch.einsum("bhe,hde->bhd", weights @ tokens, by_head).flatten(1) + value_bias

    def _attend_packed(self, projected: Tensor, layout: Layout) -> Tensor:
        # Gathered and put back in one operation each: one a segment would cost training a zeroed gradient a segment.
        sizes = [b * n for b, n in (segment.shape for segment in layout.segments)]
        rectangles = torch.split(_Gather.apply(projected, layout.gather, layout.place), sizes)
        attended = [
            self._attend(tokens.view(*segment.shape, -1), segment.observed, causal=layout.causal).flatten(0, 1)
            for tokens, segment in zip(rectangles, layout.segments, strict=True)
        ]
        placed: Tensor = _Place.apply(torch.cat(attended), layout.place)
        return placed

    def _attend(self, projected: Tensor, observed: Tensor | None, *, causal: bool = False) -> Tensor:
        """Queries, keys and values side by side (B, L, 3 D), and which positions are real (B, L) -> (B, L, D)."""
        b, n, _ = projected.shape
        query, key, value = projected.view(b, n, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        # Padding stands at the end of a sequence: where attention is causal, no real token sees it.
        mask = None if observed is None or causal else observed[:, None, None, :]
        if projected.is_cuda or not torch.is_grad_enabled():
            heads = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        else:
            heads = _attention(query, key, value, mask, causal=causal)
        return heads.transpose(1, 2).reshape(b, n, -1)


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """Step by step, which a CPU trains faster than fused: of 65 tokens in float32 1.2 times, in bfloat16 6 times."""
    with torch.autocast(query.device.type, enabled=False):
        return _weights(query, key, mask, causal=causal) @ value


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """What each query (B, H, L, d) makes of each key, (B, H, L, L). To be called without autocast."""
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    # In place and unseen by autograd: a product's gradient needs no product, and there is none where softmax is 0.
    with torch.no_grad():
        if causal:
            scores.add_(scores.new_full(scores.shape[-2:], -math.inf).triu(1))
        if mask is not None:
            scores.add_(torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -math.inf))
    return scores.softmax(-1)


def _by_sequence(mix: Callable[[Tensor, Tensor, Tensor | None], Tensor], tokens: Tensor, layout: Layout) -> Tensor:
    """One vector (B, D) of each sequence of packed tokens (T, D).

    ``mix`` makes those of a segment, from the place of each sequence's first token (B'), the tokens as a rectangle
    (B', L, D) and which of them are real (B', L).
    """
    sizes = [b * n for b, n in (segment.shape for segment in layout.segments)]
    rectangles = torch.split(_Gather.apply(tokens, layout.gather, layout.place), sizes)
    rows = torch.split(layout.gather, sizes)
    firsts = [row[:: segment.shape[1]] for row, segment in zip(rows, layout.segments, strict=True)]
    parts = [
        mix(first, rectangle.view(*segment.shape, -1), segment.observed)
        for first, rectangle, segment in zip(firsts, rectangles, layout.segments, strict=True)
    ]
    return torch.cat(parts)[torch.cat(firsts).argsort()]


class _Gather(torch.autograd.Function):
    """Tokens (T, D) -> rectangles (G, D). No gradient comes from padding, so going back is gathering as well."""

    @staticmethod
    def forward(ctx: FunctionCtx, tokens: Tensor, gather: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        return tokens[gather]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return gradient[place], None, None


class _Place(torch.autograd.Function):
    """Rectangles (G, D) -> tokens (T, D), leaving the padding; its gradient is zero."""

    @staticmethod
    def forward(ctx: Any, rectangles: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.size = len(rectangles)
        return rectangles[place]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.size, gradient.shape[1]).index_copy_(0, place, gradient), None
