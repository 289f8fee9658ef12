"""Multi-head self-attention, over packed sequences and over dense ones."""

import torch
from torch import Tensor, nn
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

    def _attend_packed(self, projected: Tensor, layout: Layout) -> Tensor:
        # Gathered and put back in one operation each: one a segment would cost training a zeroed gradient a segment.
        sizes = [b * n for b, n in (segment.shape for segment in layout.segments)]
        rectangles = torch.split(projected[layout.gather], sizes)
        attended = [
            self._attend(tokens.view(*segment.shape, -1), segment.observed, causal=layout.causal).flatten(0, 1)
            for tokens, segment in zip(rectangles, layout.segments, strict=True)
        ]
        return torch.cat(attended)[layout.place]

    def _attend(self, projected: Tensor, observed: Tensor | None, *, causal: bool = False) -> Tensor:
        """Queries, keys and values side by side (B, L, 3 D), and which positions are real (B, L) -> (B, L, D)."""
        b, n, _ = projected.shape
        query, key, value = projected.view(b, n, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        # Padding stands at the end of a sequence: where attention is causal, no real token sees it.
        mask = None if observed is None or causal else observed[:, None, None, :]
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return heads.transpose(1, 2).reshape(b, n, -1)
