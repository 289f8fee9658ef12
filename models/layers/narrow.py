"""Linear layers that multiply in bfloat16 on a CPU, at few different numbers of rows."""

from copy import deepcopy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.transformer import Block, Transformer

Module = TypeVar("Module", bound=nn.Module)

_LEAST_ROWS = 64
_OF_AN_OCTAVE = 8
"""So many numbers of rows between one and its double: of a product of more than a few hundred rows, at most an eighth
is not asked for."""


class NarrowLinear(nn.Linear):
    """As ``nn.Linear``, without gradients: values (..., D) multiplied in bfloat16, (..., E) of type ``output``.

    oneDNN, which multiplies, compiles a kernel for each number of rows that it has not met of late, which takes longer
    than the product. The batches of a stream all differ in how many tokens they have: so rows are added, and what comes
    of them is left.
    """

    def __init__(self, layer: nn.Linear, *, output: torch.dtype = torch.float32) -> None:
        super().__init__(layer.in_features, layer.out_features, dtype=torch.bfloat16)
        self.load_state_dict(layer.state_dict())
        self.output = output

    def forward(self, values: Tensor) -> Tensor:
        given = values.reshape(-1, values.shape[-1])
        rows = given.new_empty(_enough(len(given)), given.shape[1], dtype=torch.bfloat16)
        rows[: len(given)] = given
        product = F.linear(rows, self.weight, self.bias)[: len(given)]
        return product.to(self.output).view(*values.shape[:-1], -1)


def narrowed(module: Module) -> Module:
    """A copy whose transformers multiply so, but for their last blocks: those are asked for one token a sequence."""
    copy = deepcopy(module)
    for transformer in copy.modules():
        if isinstance(transformer, Transformer):
            for block in list(transformer.blocks)[:-1]:
                _narrow(cast(Block, block))
    return copy


def _narrow(block: Block) -> None:
    block.attention.project_in = NarrowLinear(block.attention.project_in)
    block.attention.project_out = NarrowLinear(block.attention.project_out)
    norm, into, gelu, out = block.feed_forward
    block.feed_forward = nn.Sequential(
        norm, NarrowLinear(cast(nn.Linear, into), output=torch.bfloat16), gelu, NarrowLinear(cast(nn.Linear, out))
    )


def _enough(rows: int) -> int:
    """As many rows, or a few more."""
    step = max(_LEAST_ROWS, (1 << max(rows.bit_length() - 1, 0)) // _OF_AN_OCTAVE)
    return -(-rows // step) * step
