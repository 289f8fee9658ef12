"""The perceptron of three layers that heads and tokens are made by."""

from torch import nn

from models.layers.dropout import Dropout


def perceptron(n_values: int, d_hidden: int, n_out: int, *, dropout: float) -> nn.Sequential:
    """From values (..., n_values) to (..., n_out)."""
    return nn.Sequential(
        nn.Linear(n_values, d_hidden),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(d_hidden, d_hidden),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(d_hidden, n_out),
    )
