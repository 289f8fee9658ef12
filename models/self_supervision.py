"""Self-supervision (thesis chapter 5): a network learns to predict inputs that it is not shown, without any label.

Algorithm 1, with its errors put right. M_base = M (1 - M_mod): what is predicted but kept is shown, and padding is not.
Gradients are descended. With SSL-M only the predictive tokens are modulated before the decoder, for what the encoder
gave has been. Packed sequences have no padding; a missing column is shown as the token that it is, and never predicted.

Both branches of an ATAT learn so, each from its own inputs: a point's values at a known time in a known band, and a
column's score. Of an ATAT2 the points do, each from those that arrived before it (a one-sided denoiser, since a token
sees nothing later); its metadata are one token without parts to hide, and are shown.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.arrays import BoolArray, IntArray
from models.atat import ATAT, TableBranch, peak_of
from models.atat2 import ATAT2
from models.choices import must_be_typed
from models.inputs import ragged
from models.inputs.batch import Batch, Layout, layout_of
from models.inputs.metadata import kinship
from models.inputs.sequence import Sequences, running_peak, since_detection
from models.layers.time_modulation import FixedSinusoid, TimeModulation
from models.layers.transformer import Transformer

LIGHT_CURVE, TABLE = "light curve", "table"

ERR_FLOOR = 0.1
"""Of a flux over its light curve's largest: fluxes measured better than this weigh the same."""


@dataclass(frozen=True, kw_only=True)
class SelfSupervision:
    """The four hyperparameters of 5.2, and what the thesis leaves open."""

    kind: Literal["B", "M"] = "M"
    """SSL-B: the encoder is given predictive tokens. SSL-M: a decoder is, beside the encoder's view of the rest."""
    eta_pred: float = 1.0
    """Probability that an observed input is predicted."""
    eta_orig: float = 0.25
    """Probability that one which is predicted is shown all the same."""
    token: Literal["learned", "noise"] = "learned"  # noqa: S105 - no secret
    """What stands for a hidden column: a learned token, or a score drawn from N(0, 1). For points it is learned."""
    decoder_layers: int = 1
    decoder_sees: Literal["tokens", "class token", "class tokens"] = "tokens"
    """Of what the encoder has made. Where it is all tokens, as in algorithm 1, the class token, which is what a
    classifier reads, need hold nothing; where it is that alone, it must hold everything, as in chapter 3. With
    ``class tokens`` the other modality's is seen beside its own, and so each learns what the other needs."""
    of: Literal["both", "light curve", "table"] = "both"
    """What is predicted, of a network that reads both. The rest of it stays as it is."""
    hidden_together: Literal["columns", "groups"] = "columns"
    """Whether each column is hidden by itself, as in algorithm 1, or with those that would give it away."""
    dropout: float = 0.0
    """Of the network while it is pretrained: what is hidden from it is noise enough."""

    def __post_init__(self) -> None:
        must_be_typed(self)
        if not (0 < self.eta_pred <= 1 and 0 <= self.eta_orig <= 1):
            raise ValueError(f"eta_pred {self.eta_pred} and eta_orig {self.eta_orig} are probabilities, eta_pred not 0")
        if self.decoder_layers < 1:
            raise ValueError("a decoder has a layer at least")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not from 0 to 1")
        if self.kind == "B" and self.decoder_sees != "tokens":
            raise ValueError("SSL-B has no decoder that could see class tokens alone")
        if self.of == LIGHT_CURVE and (self.token, self.hidden_together) != ("learned", "columns"):
            raise ValueError("token and hidden_together are of columns: none is hidden of the light curve alone")


BERT = SelfSupervision(kind="B", eta_pred=0.15, eta_orig=0.10)
"""Without its change of words for others, which light curves have no like of (5.2)."""

MAE = SelfSupervision(kind="M", eta_pred=1.0, eta_orig=0.25)


@dataclass(frozen=True)
class Masks:
    """M_pred and M_mod (``hidden``) over inputs (P,); M_base is the rest of those that are not missing."""

    predicted: BoolArray
    hidden: BoolArray

    @classmethod
    def draw(
        cls, observed: BoolArray, config: SelfSupervision, rng: np.random.Generator, together: IntArray | None = None
    ) -> Self:
        """Lines 24 and 25 of algorithm 1. Inputs of one number in ``together`` (P,) share a fate."""
        together = np.arange(len(observed)) if together is None else together
        drawn = rng.random((2, int(together.max(initial=-1)) + 1))[:, together]
        predicted = observed & (drawn[0] < config.eta_pred)
        return cls(predicted, predicted & (drawn[1] < 1 - config.eta_orig))


@dataclass(frozen=True)
class Asked:
    """What is asked of B sequences of P inputs: points, or the cells of a table, row by row."""

    predicted: Tensor
    """(P,) bool"""
    hidden: Tensor
    """(P,) bool, of the predicted ones: those that a predictive token stands for."""
    target: Tensor
    """(P,), of points the flux over the light curve's largest (of an ATAT2: the largest so far); of cells the value,
    for the tokenizer to transform."""
    weight: Tensor
    """(P,)"""
    noise: Tensor | None
    """(P,), scores of the predictive tokens, where they are noise."""
    layout: Layout
    """Of all tokens."""
    visible: Layout
    """Of those that are not hidden."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(
            predicted=self.predicted.to(device),
            hidden=self.hidden.to(device),
            target=self.target.to(device),
            weight=self.weight.to(device),
            noise=None if self.noise is None else self.noise.to(device),
            layout=self.layout.to(device),
            visible=self.visible.to(device),
        )


@dataclass(frozen=True)
class Masked:
    """What the network is shown, nothing being left of hidden values; and what is asked."""

    batch: Batch | Sequences
    asked: dict[str, Asked]
    """By LIGHT_CURVE and TABLE."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        asked = {name: each.to(device) for name, each in self.asked.items()}
        return type(self)(self.batch.to(device), asked)


class SelfSupervised(nn.Module):
    """A network with what it needs to predict its own inputs: predictive tokens, decoders and linear heads."""

    def __init__(self, network: ATAT | ATAT2, config: SelfSupervision) -> None:
        """Raises ValueError for a network whose points tell what others were: nothing would be hidden; for one whose
        peaks and gaps are also of points that are no tokens, and so cannot be found anew; and for a causal one, whose
        first token sees no point, where the decoder sees that alone.
        """
        super().__init__()
        if isinstance(network, ATAT2) and network.config.causal and config.decoder_sees != "tokens":
            raise ValueError("the first token of a causal network has seen no point: decoder_sees = tokens")
        if isinstance(network, ATAT2) and network.statistics is not None:
            raise ValueError("running statistics would give away the points that are hidden: d_statistics = 0")
        if isinstance(network, ATAT2) and network.config.max_tokens is not None:
            raise ValueError("tokens would tell of points that are none: max_points, in place of max_tokens")
        self.network = network
        self.config = config
        widths = self._widths()
        if not widths:
            raise ValueError(f"of = {config.of!r}, and the network reads none")
        if config.decoder_sees == "class tokens" and len(widths) < 2:
            raise ValueError("there are no two modalities whose class tokens a decoder could see")
        guessers = {name: _Guesser(network, config, name=name, widths=widths) for name in widths}
        self.light_curve, self.table = guessers.get(LIGHT_CURVE), guessers.get(TABLE)
        columns = network.config.columns if self.table is not None else ()
        self._groups = kinship(columns) if config.hidden_together == "groups" else np.arange(len(columns))

    def _widths(self) -> dict[str, int]:
        """Of the tokens of each modality that is learned from."""
        found = {}
        if self._reader is not None:
            found[LIGHT_CURVE] = _width(self.network, "d_lc")
        if self._table is not None:
            found[TABLE] = _width(self.network, "d_tab")
        return {name: width for name, width in found.items() if self.config.of in ("both", name)}

    @property
    def _reader(self) -> "_Reader | None":
        network = self.network
        return cast("_Reader | None", network.lc if isinstance(network, ATAT) else network)

    @property
    def _table(self) -> TableBranch | None:
        return self.network.tab if isinstance(self.network, ATAT) else None

    # --- what is asked, on the CPU ----------------------------------------------------------------------------------

    def mask(self, batch: Batch | Sequences, rng: np.random.Generator) -> Masked:
        """A batch on the CPU with some of its inputs hidden, the target being what they were."""
        asked = {}
        shown = batch
        if self.light_curve is not None:
            masks = Masks.draw(np.ones(len(batch.flux), dtype=np.bool_), self.config, rng)
            asked[LIGHT_CURVE] = self._asked_points(batch, masks)
            shown = _without_points(shown, asked[LIGHT_CURVE].hidden)
        if self.table is not None:
            observed = (~batch.missing & batch.has_metadata[:, None]).numpy()
            rows, n_groups = np.arange(len(observed)), int(self._groups.max(initial=-1)) + 1
            together = (rows[:, None] * n_groups + self._groups).ravel()
            masks = Masks.draw(observed.ravel(), self.config, rng, together)
            asked[TABLE] = self._asked_cells(batch, masks, rng)
            hidden = asked[TABLE].hidden.view(batch.metadata.shape)
            shown = dataclasses.replace(shown, metadata=batch.metadata.masked_fill(hidden, 0.0))
        return Masked(shown, asked)

    def _asked_points(self, batch: Batch | Sequences, masks: Masks) -> Asked:
        causal = isinstance(self.network, ATAT2) and self.network.config.causal
        offsets = ragged.offsets_of(batch.lengths.numpy())
        # A causal network is asked for what could be known when the point came: its share of the largest so far.
        peak = batch.peak if isinstance(batch, Sequences) else peak_of(batch)
        return Asked(
            predicted=torch.from_numpy(masks.predicted),
            hidden=torch.from_numpy(masks.hidden),
            target=batch.flux / peak,
            weight=1 / (1 + (batch.flux_err / peak / ERR_FLOOR).square()),
            noise=None,
            layout=dataclasses.replace(batch.layout, causal=causal),
            visible=layout_of(ragged.keep(offsets, ~masks.hidden), causal=causal),
        )

    def _asked_cells(self, batch: Batch | Sequences, masks: Masks, rng: np.random.Generator) -> Asked:
        rows, columns = batch.metadata.shape
        offsets = np.arange(rows + 1) * columns
        noise = rng.standard_normal(rows * columns, dtype=np.float32) if self.config.token == "noise" else None  # noqa: S105
        return Asked(
            predicted=torch.from_numpy(masks.predicted),
            hidden=torch.from_numpy(masks.hidden),
            target=batch.metadata.flatten(),
            weight=torch.ones(rows * columns),
            noise=None if noise is None else torch.from_numpy(noise),
            layout=layout_of(offsets),
            visible=layout_of(ragged.keep(offsets, ~masks.hidden)),
        )

    # --- what is answered -------------------------------------------------------------------------------------------

    def forward(self, masked: Masked) -> dict[str, Tensor]:
        """The mean squared error over what is predicted, weighted, of each modality."""
        losses = {}
        for name, guess in self.guess(masked).items():
            asked = masked.asked[name]
            misfit = asked.weight * (self._target(name, masked) - guess).square()
            losses[name] = (misfit * asked.predicted).sum() / asked.predicted.sum().clamp_min(1)
        return losses

    def guess(self, masked: Masked) -> dict[str, Tensor]:
        """X^ (P,) of each modality: fluxes over the light curve's largest, and scores of cells."""
        guessers: dict[str, _Guesser] = {}
        read: dict[str, _Read] = {}
        if self.light_curve is not None and self._reader is not None:
            guessers[LIGHT_CURVE] = self.light_curve
            read[LIGHT_CURVE] = self._read_points(self.light_curve, self._reader, masked)
        if self.table is not None and self._table is not None:
            guessers[TABLE] = self.table
            read[TABLE] = self._read_cells(self.table, self._table, masked)
        class_tokens = {name: each.seen[: each.n_first] for name, each in read.items()}
        return {
            name: guesser.decode(read[name], masked.asked[name], class_tokens) for name, guesser in guessers.items()
        }

    def _read_points(self, guesser: "_Guesser", reader: "_Reader", masked: Masked) -> "_Read":
        batch = masked.batch
        predictive = reader.time_modulation.modulate(guesser.token, batch.time, batch.band)
        first, tokens = reader.first_tokens(batch), reader.points(batch)
        return guesser.read(reader.transformer, first, tokens, predictive, masked.asked[LIGHT_CURVE])

    def _read_cells(self, guesser: "_Guesser", branch: TableBranch, masked: Masked) -> "_Read":
        batch, asked = masked.batch, masked.asked[TABLE]
        tokens = branch.tokenizer(batch.metadata, batch.missing)
        if asked.noise is None:
            predictive = (guesser.token + branch.tokenizer.bias).expand_as(tokens)
        else:
            predictive = branch.tokenizer.affine(asked.noise.view(batch.metadata.shape))
        first = branch.class_token.expand(len(tokens), -1)
        return guesser.read(branch.transformer, first, tokens.flatten(0, 1), predictive.flatten(0, 1), asked)

    def _target(self, name: str, masked: Masked) -> Tensor:
        asked = masked.asked[name]
        if name == LIGHT_CURVE or self._table is None:
            return asked.target
        with torch.no_grad():
            return self._table.tokenizer.transform(asked.target.view(masked.batch.metadata.shape)).flatten()


class _Reader(Protocol):
    """What reads light curves: ATAT's branch, or an ATAT2."""

    time_modulation: TimeModulation | FixedSinusoid
    transformer: Transformer

    def first_tokens(self, batch: Batch | Sequences, /) -> Tensor: ...

    def points(self, batch: Batch | Sequences, /) -> Tensor: ...


@dataclass(frozen=True)
class _Read:
    """What an encoder has made of a batch of one modality."""

    seen: Tensor
    """First tokens, then those of the inputs: of SSL-B all, of SSL-M those that are not hidden."""
    n_first: int
    predictive: Tensor
    """(P, D), of SSL-M for the decoder."""


class _Guesser(nn.Module):
    """One modality's predictive token, its decoder if there is one, and the head that makes X^ of a token.

    The token is in the place of LL(x), or of W_k s_k: the time and band, or the column, are then made known as for any
    other. A token in the place of x would be one more possible value of it.
    """

    def __init__(self, network: ATAT | ATAT2, config: SelfSupervision, *, name: str, widths: dict[str, int]) -> None:
        """``widths`` of the tokens of each modality, ``name`` being its own."""
        super().__init__()
        shape, d_model = network.config, widths[name]
        # Of the size of the columns' own vectors, which are added to it: a longer one would hide which column is asked.
        scale = d_model**-0.5 if name == TABLE else 1.0
        self.token = nn.Parameter(scale * torch.randn(d_model))
        self.decoder = (
            Transformer(
                d_model=d_model,
                n_heads=shape.n_heads,
                n_layers=config.decoder_layers,
                d_hidden=shape.ff_factor * d_model,
                dropout=config.dropout,
            )
            if config.kind == "M"
            else None
        )
        self.sees_tokens = config.decoder_sees == "tokens"
        others = {other: width for other, width in widths.items() if other != name}
        self.beside = nn.ModuleDict(
            {other: nn.Linear(width, d_model) for other, width in others.items()}
            if config.decoder_sees == "class tokens"
            else {}
        )
        self.head = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, 1))

    def read(self, encoder: Transformer, first: Tensor, tokens: Tensor, predictive: Tensor, asked: Asked) -> _Read:
        """Lines 27 and 28: first tokens (B, D), tokens and predictive ones (P, D)."""
        predictive = predictive.to(tokens.dtype)
        if self.decoder is None:
            mixed = torch.where(asked.hidden[:, None], predictive, tokens)
            return _Read(encoder(torch.cat([first, mixed]), asked.layout), len(first), predictive)
        seen = encoder(torch.cat([first, tokens[~asked.hidden]]), asked.visible)
        return _Read(seen, len(first), predictive)

    def decode(self, read: _Read, asked: Asked, class_tokens: Mapping[str, Tensor]) -> Tensor:
        """Lines 29 and 30: X^ (P,). ``class_tokens`` (B, D) of each modality."""
        first, tokens = read.seen[: read.n_first], read.seen[read.n_first :]
        if self.decoder is not None:
            predictive = read.predictive
            if self.sees_tokens:
                places = torch.nonzero(~asked.hidden)[:, 0]
                predictive = predictive.index_copy(0, places, tokens.to(predictive.dtype))
            for other, projected in self.beside.items():
                first = first + projected(class_tokens[other])
            tokens = self.decoder(torch.cat([first, predictive]), asked.layout)[read.n_first :]
        guesses: Tensor = self.head(tokens)[:, 0]
        return guesses.float()


def _without_points(batch: Batch | Sequences, hidden: Tensor) -> Batch | Sequences:
    """A batch on the CPU in which nothing is left of the hidden points but when, and in which band, they were."""
    flux, flux_err = batch.flux.masked_fill(hidden, 0.0), batch.flux_err.masked_fill(hidden, 1.0)
    if isinstance(batch, Batch):
        return dataclasses.replace(batch, flux=flux, flux_err=flux_err)
    row = ragged.row_of_each(ragged.offsets_of(batch.lengths.numpy()))
    detected = batch.detected & ~hidden
    since = since_detection(row, batch.time.double().numpy(), detected.numpy())
    return dataclasses.replace(
        batch,
        flux=flux,
        flux_err=flux_err,
        peak=torch.from_numpy(running_peak(row, flux.numpy())),
        detected=detected,
        since_detection=torch.from_numpy(since),
    )


def _width(network: ATAT | ATAT2, name: Literal["d_lc", "d_tab"]) -> int:
    width: int = network.config.d_model if isinstance(network, ATAT2) else getattr(network.config, name)
    return width
