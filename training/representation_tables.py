"""Tables 3.1 to 3.8 beside the thesis's, and what the thesis concludes from them as statements with a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

from training import thesis_tables
from training.data import synthetic
from training.representations import Bench, Cell, Parts, cell_of

FloatArray = NDArray[np.float64]

LEVEL = 0.95

_PROBES = ("linear", "online-linear", "mlp", "online-mlp")
_TITLES = {
    "mse": "MSE",
    "linear": "Acc-Linear",
    "online-linear": "Acc-On-Linear",
    "mlp": "Acc-MLP",
    "online-mlp": "Acc-On-MLP",
    "neighbours": "Acc-kNN",
    "fine-tuned": "Acc, fine-tuned",
}

DECODER_ROWS = tuple(
    Parts(decoder=decoder, post_decoder=post, variance=variance)
    for variance in (False, True)
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
    """A table of the thesis: a row an autoencoder, its figures on each set of light curves."""

    number: str
    title: str
    rows: tuple[Parts, ...]
    data: tuple[str, ...]
    """On what it can be made; on those of them that there are, it is."""
    metrics: tuple[str, ...]

    def printed(self, row: int, data: str, metric: str) -> str:
        """What the thesis has in this place, for whatever set stands for its own; empty for nothing."""
        own = thesis_tables.DECODERS.get(self.number) or thesis_tables.ENCODERS[self.number]
        if self.number == "3.8":
            return own[row][0 if data in MACHO else 1]
        return own[row][self.metrics.index(metric)] if metric != "neighbours" else ""


def _table(number: str, what: str, of: str, rows: tuple[Parts, ...], data: tuple[str, ...]) -> Table:
    metrics = (*(() if data[0] in synthetic.NAMES else ("mse",)), *_PROBES, "neighbours")
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
        Table("3.8", "Encoders fine-tuned on a tenth of the labels", ENCODER_ROWS, (*MACHO, *ZTF), ("fine-tuned",)),
    )
}


def cells(table: Table, data: Sequence[str], size: str | None) -> list[Cell]:
    """What a table rests on, for those of its sets that are there."""
    return [cell_of(name, parts, size) for name in data if name in table.data for parts in table.rows]


def page(table: Table, bench: Bench, data: Sequence[str], size: str | None) -> str:
    """The table as Markdown: what was found, then the thesis's in brackets."""
    lines = [f"# Table {table.number}. {table.title}", ""]
    lines += [
        "Found: mean ± standard deviation over the seeds run; accuracies are means over the classes [%]. In brackets: "
        "the thesis. Light curves have unit variance, so MSE is a share of it; the thesis's unit is not given.",
    ]
    for name in (each for each in data if each in table.data):
        stands = "" if name in {"macho", "ztf-dr", *synthetic.NAMES} else ", standing for the thesis's set"
        lines += ["", f"## {name}{stands}", ""]
        head = ["variance", "pre-encoder", "encoder", "decoder", "post-decoder", "size", "seeds"]
        lines += _row([*head, *(_TITLES[metric] for metric in table.metrics)])
        lines += _row(["---"] * (len(head) + len(table.metrics)))
        for place, parts in enumerate(table.rows):
            cell = cell_of(name, parts, size)
            runs = bench.figures(cell)
            modules = [parts.pre_encoder or "", parts.encoder, parts.decoder, parts.post_decoder or ""]
            told = [_told(runs, metric, table.printed(place, name, metric)) for metric in table.metrics]
            seeds = f"{len(runs)} of {cell.size.seeds}"
            lines += _row(["yes" if parts.variance else "no", *modules, cell.size.name, seeds, *told])
    return "\n".join([*lines, ""])


def _row(words: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(words)} |"]


def _told(runs: Sequence[Mapping[str, float]], metric: str, printed: str) -> str:
    values = np.array([run[metric] for run in runs if metric in run])
    digits = 4 if metric == "mse" else 2
    found = f"{values.mean():.{digits}f} ± {values.std():.{digits}f}" if len(values) else "not run"
    return f"{found} ({printed})" if printed else found


# --- findings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """A conclusion of the thesis, and whether it holds here."""

    statement: str
    thesis: str
    found: str = ""
    rests_on: str = ""
    """Sizes and numbers of runs."""
    verdict: str = "not run"


@dataclass(frozen=True)
class Evidence:
    """What has been run, at the sizes asked for."""

    bench: Bench
    size: str | None

    def runs(self, data: str, parts: Parts) -> list[dict[str, float]]:
        """Figures of each seed."""
        return self.bench.figures(cell_of(data, parts, self.size))

    def mean(self, data: str, parts: Parts, metric: str) -> float:
        """NaN where nothing was run."""
        values = [run[metric] for run in self.runs(data, parts) if metric in run]
        return float(np.mean(values)) if values else np.nan

    def names(self, data: str, parts: Parts) -> str:
        """The size, and how many runs."""
        cell = cell_of(data, parts, self.size)
        return f"{cell.size.name}, {len(self.bench.figures(cell))} seeds"


def findings(bench: Bench, size: str | None) -> list[Finding]:
    """Every conclusion. One seed gives no interval, and decides nothing that asks for one; ``quick`` nothing."""
    evidence = Evidence(bench, size)
    found = [
        *(
            _variance(evidence, data, decoder, thesis)
            for data, thesis in (
                ("syn-a", {"mha": "70.15 -> 99.88", "mlp": "77.62 -> 99.97"}),
                ("syn-b", {"mha": "62.41 -> 98.76", "mlp": "90.10 -> 96.76"}),
                ("syn-c", {"mha": "72.17 -> 70.63", "mlp": "72.57 -> 71.84"}),
            )
            for decoder in ("mha", "mlp")
        ),
        *(_offline(evidence, data) for data in (*MACHO, *ZTF)),
        *(_predicts(evidence, data) for data in (*MACHO, *ZTF)),
        *(_mlp_suffices(evidence, data) for data in (*synthetic.NAMES, *MACHO, *ZTF)),
        *(_mtan_lags(evidence, data) for data in (*MACHO, *ZTF)),
    ]
    if size == "quick":
        return [each if each.verdict == "not run" else replace(each, verdict="not judged: quick") for each in found]
    return found


def findings_page(found: Sequence[Finding]) -> str:
    """As Markdown, with 95 % intervals of differences."""
    lines = ["# What chapter 3 concludes", ""]
    lines += _row(["finding", "thesis", "here", "rests on", "verdict"])
    lines += _row(["---"] * 5)
    for each in found:
        lines += _row([each.statement, each.thesis, each.found, each.rests_on, each.verdict])
    return "\n".join([*lines, ""])


def interval(values: FloatArray) -> tuple[float, float]:
    """Of the mean of values (N,), by Student's t; all numbers where there are fewer than two."""
    if len(values) < 2:
        return -np.inf, np.inf
    reach = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)


def _verdict(*, holds: bool, contradicted: bool) -> str:
    return "holds" if holds else "contradicted" if contradicted else "undecided"


def _variance(evidence: Evidence, data: str, decoder: str, thesis: Mapping[str, str]) -> Finding:
    lifts = data != "syn-c"
    effect = "lifts" if lifts else "does not lift"
    finding = Finding(
        f"estimating the variance {effect} the linear probe on {data}, {decoder} decoder", thesis[decoder]
    )
    pair = [evidence.runs(data, Parts(decoder=decoder, variance=variance)) for variance in (False, True)]
    n_both = min(map(len, pair))
    if n_both == 0:
        return finding
    without, with_it = (np.array([run["linear"] for run in runs[:n_both]]) for runs in pair)
    low, high = interval(with_it - without)
    told = f"{without.mean():.2f} -> {with_it.mean():.2f}"
    told += f" ({low:+.1f} to {high:+.1f})" if n_both > 1 else ""
    verdict = (
        _verdict(holds=low > 0, contradicted=high < 0)
        if lifts
        else _verdict(holds=high < 2 or with_it.mean() <= without.mean(), contradicted=low > 0)
    )
    return replace(finding, found=told, rests_on=evidence.names(data, Parts(decoder=decoder)), verdict=verdict)


def _every_real(evidence: Evidence, data: str) -> list[tuple[Parts, dict[str, float]]]:
    rows = dict.fromkeys((*DECODER_ROWS, *ENCODER_ROWS))
    return [(parts, run) for parts in rows for run in evidence.runs(data, parts)]


def _offline(evidence: Evidence, data: str) -> Finding:
    finding = Finding(f"offline probes beat online ones on {data}", "3 to 8 points, linear; 1 to 5, MLP")
    runs = [run for _, run in _every_real(evidence, data)]
    if not runs:
        return finding
    gaps = {probe: np.array([run[probe] - run[f"online-{probe}"] for run in runs]) for probe in ("linear", "mlp")}
    intervals = {probe: interval(values) for probe, values in gaps.items()}
    told = "; ".join(
        f"{probe} {gaps[probe].mean():+.1f} ({low:+.1f} to {high:+.1f})" for probe, (low, high) in intervals.items()
    )
    verdict = _verdict(
        holds=all(low > 0 for low, _ in intervals.values()),
        contradicted=all(high < 0 for _, high in intervals.values()),
    )
    return replace(finding, found=told, rests_on=f"{len(runs)} runs", verdict=verdict)


def _predicts(evidence: Evidence, data: str) -> Finding:
    finding = Finding(
        f"the MLP probe predicts fine-tuned accuracy better than the linear one on {data}",
        _rank_told(_printed_ranks(data)),
    )
    rows = [parts for parts in ENCODER_ROWS if evidence.runs(data, parts)]
    if len(rows) < 4:
        return replace(finding, found=f"{len(rows)} encoders were run, 4 are needed") if rows else finding
    metrics = ("mlp", "linear", "fine-tuned")
    means = {metric: [evidence.mean(data, parts, metric) for parts in rows] for metric in metrics}
    ranks = _ranks(means)
    verdict = _verdict(holds=ranks["mlp"] > ranks["linear"], contradicted=ranks["mlp"] < ranks["linear"])
    names = f"{len(rows)} encoders, {evidence.names(data, rows[0])}"
    return replace(finding, found=_rank_told(ranks), rests_on=names, verdict=verdict)


def _ranks(means: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Spearman's correlation of each probe's accuracy with the fine-tuned one's, over the encoders."""
    return {probe: _rank(means[probe], means["fine-tuned"]) for probe in ("mlp", "linear")}


def _rank(first: Sequence[float], second: Sequence[float]) -> float:
    """0 where one of the two is the same everywhere."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def _rank_told(ranks: Mapping[str, float]) -> str:
    return f"rank correlation {ranks['mlp']:.2f} (MLP), {ranks['linear']:.2f} (linear)"


def _printed_ranks(data: str) -> dict[str, float]:
    """The same of the thesis's own tables."""
    place, number = (0, "3.6") if data in MACHO else (1, "3.7")
    rows = thesis_tables.ENCODERS[number]
    columns = {probe: [_mean(row[column]) for row in rows] for probe, column in (("linear", 1), ("mlp", 3))}
    return _ranks({**columns, "fine-tuned": [_mean(row[place]) for row in thesis_tables.ENCODERS["3.8"]]})


def _mean(printed: str) -> float:
    return float(printed.split(" ", maxsplit=1)[0])


def _mlp_suffices(evidence: Evidence, data: str) -> Finding:
    finding = Finding(f"an MLP decoder suffices on {data}: within a point of the best other", "within 1.2 points")
    means = {name: evidence.mean(data, Parts(decoder=name), "mlp") for name in ("mlp", "mha", "lstm")}
    others = [value for name, value in means.items() if name != "mlp" and not np.isnan(value)]
    if np.isnan(means["mlp"]) or not others:
        return finding
    told = ", ".join(f"{name} {value:.2f}" for name, value in means.items() if not np.isnan(value))
    behind = max(others) - means["mlp"]
    rests_on = "; ".join(evidence.names(data, Parts(decoder=name)) for name in means)
    return replace(finding, found=told, rests_on=rests_on, verdict=_verdict(holds=behind <= 1, contradicted=behind > 1))


def _mtan_lags(evidence: Evidence, data: str) -> Finding:
    finding = Finding(f"mTAN lags behind the other pre-encoders and none on {data}", "-9 to -15 points of Acc-MLP")
    by_kind = {
        mtan: [evidence.mean(data, parts, "mlp") for parts in ENCODER_ROWS if (parts.pre_encoder == "mtan") == mtan]
        for mtan in (True, False)
    }
    if not all(np.isfinite(values).any() for values in by_kind.values()):
        return finding
    gap = float(np.nanmean(by_kind[True]) - np.nanmean(by_kind[False]))
    counts = [int(np.isfinite(by_kind[mtan]).sum()) for mtan in (True, False)]
    rests_on = f"{counts[0]} encoders with mTAN, {counts[1]} without; {evidence.names(data, ENCODER_ROWS[0])}"
    return replace(
        finding, found=f"{gap:+.1f}", rests_on=rests_on, verdict=_verdict(holds=gap < 0, contradicted=gap > 0)
    )
