"""The transformer of thesis 4.3.4: blocks of attention and a feed-forward network, each with a skip connection."""

from typing import cast

from torch import Tensor, nn

from models.inputs.batch import Layout
from models.layers.attention import SelfAttention
from models.layers.dropout import Dropout


class Block(nn.Module):
    """Eq. 4.4-4.5, normalised before each part (pre-LN, as the released code does; the text is silent).

    Dropout acts on both parts' outputs (the text does not say where). Tokens as in ``SelfAttention``.
    """

    def __init__(self, *, d_model: int, n_heads: int, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = SelfAttention(d_model=d_model, n_heads=n_heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d_model),
            nn.Linear(d_model, d_hidden),
            nn.GELU(),
            nn.Linear(d_hidden, d_model),
        )
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), layout))
        output: Tensor = tokens + self.dropout(self.feed_forward(tokens))
        return output

    def one(self, tokens: Tensor, layout: Layout | None = None, places: Tensor | None = None) -> Tensor:
        """The output at one token of each sequence (B, D), for a layer above which nothing else is looked at.

        Which one: as in ``SelfAttention.one``.
        """
        attended = self.attention.one(self.attention_norm(tokens), layout, places)
        token = tokens[:, 0] if layout is None else tokens[: len(attended)] if places is None else tokens[places]
        token = token + self.dropout(attended)
        output: Tensor = token + self.dropout(self.feed_forward(token))
        return output


class Transformer(nn.Module):
    """Eq. 4.6: ``n_layers`` blocks. Tokens as in ``SelfAttention``."""

    def __init__(self, *, d_model: int, n_heads: int, n_layers: int, d_hidden: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(d_model=d_model, n_heads=n_heads, d_hidden=d_hidden, dropout=dropout) for _ in range(n_layers)
        )

    def forward(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, layout)
        return tokens

    def one(self, tokens: Tensor, layout: Layout | None = None, places: Tensor | None = None) -> Tensor:
        """The output at one token of each sequence (B, D): its first, the class token, or ``places`` (B,) as in
        ``SelfAttention.one``. A third of the work is not done.
        """
        for block in self.blocks[:-1]:
            tokens = block(tokens, layout)
        return self._last.one(tokens, layout, places)

    @property
    def _last(self) -> Block:
        return cast(Block, self.blocks[-1])
