"""Tables 3.1 to 3.8 beside the thesis's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.autoencoders.config import AutoencoderConfig
from training import thesis_tables
from training.autoencode import FINE_TUNED, SCALED_LINEAR
from training.data import synthetic
from training.pages import markdown
from training.probes import D_HIDDEN, NEIGHBOURS, PATIENCE
from training.representations import PATIENCE_STEPS, SIZES, Bench, Cell, Parts, Size, cell_of

_DEFAULTS = AutoencoderConfig()
_PROBES = ("linear", "online-linear", "mlp", "online-mlp")
_OURS = (SCALED_LINEAR, "neighbours")
"""Which the thesis's tables lack."""
_TITLES = {
    "mse": "MSE",
    "linear": "Acc-Linear",
    SCALED_LINEAR: "Acc-Linear of unit variance",
    "online-linear": "Acc-On-Linear",
    "mlp": "Acc-MLP",
    "online-mlp": "Acc-On-MLP",
    "neighbours": "Acc-kNN",
    FINE_TUNED: "Acc, fine-tuned",
}

LOSSES = ("mse", "cross-entropy")
"""Without and with a variance that is estimated."""
DECODER_ROWS = tuple(
    Parts(decoder=decoder, post_decoder=post, loss=loss)
    for loss in LOSSES
    for decoder in ("mha", "mlp", "lstm")
    for post in (None, "mtan")
)
ENCODER_ROWS = tuple(
    Parts(encoder=encoder, pre_encoder=pre)
    for pre, encoders in (
        (None, ("mha", "lstm")),
        ("mtan", ("mha", "resnet", "lstm")),
        ("interpred", ("mha", "resnet", "lstm")),
    )
    for encoder in encoders
)

MACHO, ZTF = ("macho", "asas"), ("ztf-dr", "ztf-bts", "plasticc")
"""The thesis's set, and those that stand for it."""


@dataclass(frozen=True)
class Table:
    """A row an autoencoder, its figures on each set of light curves."""

    number: str
    """In the thesis; empty for one that is not there."""
    title: str
    rows: tuple[Parts, ...]
    data: tuple[str, ...]
    """On what it can be made; on those of them that there are, it is."""
    metrics: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its file."""
        return f"table-{self.number}" if self.number else "autoencoders"

    def varied(self, parts: Parts) -> tuple[str | None, str | None]:
        """What sets a row apart, but for its loss."""
        if self.rows == ENCODER_ROWS:
            return parts.pre_encoder, parts.encoder
        return parts.decoder, parts.post_decoder

    def printed(self, row: int, data: str, metric: str) -> str:
        """What the thesis has in this place, for whatever set stands for its own; empty for nothing."""
        if not self.number:
            return ""
        own = thesis_tables.DECODERS.get(self.number) or thesis_tables.ENCODERS[self.number]
        if self.number == "3.8":
            return own[row][0 if data in MACHO else 1]
        return own[row][self.metrics.index(metric)] if metric not in _OURS else ""


def _table(number: str, what: str, of: str, rows: tuple[Parts, ...], data: tuple[str, ...]) -> Table:
    metrics = (*_PROBES, SCALED_LINEAR, "neighbours") if data[0] in synthetic.NAMES else ("mse", *_PROBES, "neighbours")
    return Table(number, f"{what}, {of}", rows, data, metrics)


_DECODERS, _ENCODERS = "Decoders behind an MHA encoder", "Encoders before an MLP decoder that estimates the variance"
TABLES = {
    table.number: table
    for table in (
        _table("3.1", _DECODERS, "Syn-A", DECODER_ROWS, ("syn-a",)),
        _table("3.2", _DECODERS, "Syn-B", DECODER_ROWS, ("syn-b",)),
        _table("3.3", _DECODERS, "Syn-C", DECODER_ROWS, ("syn-c",)),
        _table("3.4", _DECODERS, "MACHO", DECODER_ROWS, MACHO),
        _table("3.5", _DECODERS, "ZTF-DR", DECODER_ROWS, ZTF),
        _table("3.6", _ENCODERS, "MACHO", ENCODER_ROWS, MACHO),
        _table("3.7", _ENCODERS, "ZTF-DR", ENCODER_ROWS, ZTF),
        Table("3.8", "Encoders fine-tuned on a tenth of the labels", ENCODER_ROWS, (*MACHO, *ZTF), (FINE_TUNED,)),
    )
}


def table_of(rows: tuple[Parts, ...], data: tuple[str, ...]) -> Table:
    """Of autoencoders of one's own."""
    return Table("", "Autoencoders", rows, data, ("mse", *_PROBES, "neighbours", FINE_TUNED))


def cells(table: Table, data: Sequence[str], size: str | None) -> list[Cell]:
    """What a table rests on, for those of its sets that are there."""
    return [cell_of(name, parts, size) for name in data if name in table.data for parts in table.rows]


def page(table: Table, bench: Bench, data: Sequence[str], size: str | None) -> str:
    """The table as Markdown: what was found, then the thesis's in brackets."""
    number = f"Table {table.number}. " if table.number else ""
    parts = [f"# {number}{table.title}", _told_of(table, bench)]
    for name in (each for each in data if each in table.data):
        stands = "" if name in {"macho", "ztf-dr", *synthetic.NAMES} else ", standing for the thesis's set"
        parts += [f"## {name}{stands}", _part(table, bench, name, size)]
        if name not in synthetic.NAMES:
            parts.append(_counts(bench, cell_of(name, table.rows[0], size)))
    return "\n\n".join(parts) + "\n"


def _told_of(table: Table, bench: Bench) -> str:
    told = [
        "Found: mean ± standard deviation over the seeds run; accuracies are means over the classes [%].",
        "In brackets: the thesis." if table.number else "",
        thesis_tables.RELABELLED.get(table.number, ""),
        "Every real light curve has unit variance here, which takes its amplitude from every classifier, and MSE is a "
        "share of it; the thesis names no scaling of brightness, and its MSE is in units of its own."
        if "mse" in table.metrics
        else "",
        "Acc-Linear of unit variance: the same probe on latent vectors that were centred and scaled first."
        if SCALED_LINEAR in table.metrics
        else "",
        f"An autoencoder learns until its training error has not fallen for {PATIENCE} epochs, {PATIENCE_STEPS} "
        "steps at least, or for as many as its "
        f"size allows ({', '.join(map(_allows, SIZES.values()))}); in {bench.precision}.",
        f"The MLP probe has {D_HIDDEN} hidden units, the vote is of {NEIGHBOURS} neighbours, and an epoch of "
        f"fine-tuning has {SIZES['full'].effort.tuning_steps} steps at least, for which a tenth of a small set has too "
        "few (the thesis names none of these).",
        f"Time modulation has harmonics of a period of {_DEFAULTS.t_max:g}, {synthetic.HARMONICS} on synthetic light "
        f"curves and {_DEFAULTS.harmonics} on real ones (the thesis names no number here), and begins with amplitudes "
        "that fall as the root of the order, as everywhere in this project: quick ripples are learned late.",
        "Cross-entropy is eq. 3.4 where the error of each point is known, and eq. 3.3 of synthetic light curves.",
    ]
    return " ".join(filter(None, told))


def _allows(size: Size) -> str:
    return f"{size.name}: {size.most_epochs}, or {size.least_steps} steps if that is more"


def _part(table: Table, bench: Bench, data: str, size: str | None) -> str:
    """The rows of one set of light curves."""
    head = ["loss", "pre-encoder", "encoder", "decoder", "post-decoder", "size", "seeds", "epochs"]
    rows = []
    for place, parts in enumerate(table.rows):
        cell = cell_of(data, parts, size)
        runs = list(bench.figures(cell).values())
        modules = [parts.pre_encoder or "", parts.encoder, parts.decoder, parts.post_decoder or ""]
        told = [_told(runs, metric, table.printed(place, data, metric)) for metric in table.metrics]
        epochs = ", ".join(f"{run['epochs']:.0f}" for run in runs)
        seeds = f"{len(runs)} of {cell.size.seeds}"
        if lost := bench.diverged(cell):
            seeds += f", {lost} diverged"
        rows.append([parts.loss, *modules, cell.size.name, seeds, epochs, *told])
    return markdown([*head, *(_TITLES[metric] for metric in table.metrics)], rows)


def _counts(bench: Bench, cell: Cell) -> str:
    """How many light curves stand behind each class."""
    curves = bench.curves(cell, 0)
    n_classes = len(curves.classes)
    by_split = {split: np.bincount(curves.of(split).label, minlength=n_classes) for split in ("train", "test")}
    told = (
        f"{name} {own} / {held_out}"
        for name, own, held_out in zip(curves.classes, by_split["train"], by_split["test"], strict=True)
    )
    return f"Light curves to learn from / of the test set, of each class: {', '.join(told)}."


def _told(runs: Sequence[Mapping[str, float]], metric: str, printed: str) -> str:
    values = np.array([run[metric] for run in runs if metric in run])
    digits = 4 if metric == "mse" else 2
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    lacking = "not measured" if runs else "not run"
    found = f"{values.mean():.{digits}f}{spread}" if len(values) else lacking
    return f"{found} ({printed})" if printed else found
