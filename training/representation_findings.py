"""What chapter 3 concludes, as statements with a verdict on the light curves here.

Runs of one seed see the same light curves, so differences are taken within a seed, and a verdict rests on their
interval over the seeds: what that does not settle is undecided, and so is everything that rests on a single seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from training import thesis_tables
from training.autoencode import CONVERGED, FINE_TUNED
from training.data import synthetic
from training.metrics import LEVEL, Estimate
from training.pages import markdown
from training.representation_tables import DECODER_ROWS, ENCODER_ROWS, LOSSES, MACHO, ZTF
from training.representations import Bench, Parts, cell_of

FloatArray = NDArray[np.float64]

CUT_SHORT = "cut short"

ALIKE = 2.0
"""Points of accuracy. Where the thesis sees no difference, a smaller one is none."""


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

    def size_of(self, data: str, parts: Parts) -> str:
        """At which these parts are asked for."""
        return cell_of(data, parts, self.size).size.name

    def figures(self, data: str, parts: Parts) -> dict[int, dict[str, float]]:
        """By seed, of those that have been run."""
        return self.bench.figures(cell_of(data, parts, self.size))

    def paired(self, data: str, rows: Sequence[Parts], metric: str) -> FloatArray:
        """(S, R): of each seed that every row has been run with, and each row."""
        runs = [self.figures(data, parts) for parts in rows]
        seeds = sorted(set.intersection(*({seed for seed in each if metric in each[seed]} for each in runs)))
        found = [[each[seed][metric] for each in runs] for seed in seeds]
        return np.array(found, dtype=np.float64).reshape(len(seeds), len(rows))

    def rests_on(self, data: str, rows: Sequence[Parts], n_seeds: int) -> str:
        """The size, how many seeds, and whether the autoencoders were still learning when the last epoch came."""
        seeds = f"{n_seeds} seed{'' if n_seeds == 1 else 's'}"
        runs = [run for parts in rows for run in self.figures(data, parts).values()]
        unfinished = sum(not run.get(CONVERGED) for run in runs)
        told = f", {unfinished} of {len(runs)} runs {CUT_SHORT}" if unfinished else ""
        return f"{self.size_of(data, rows[0])}, {seeds}{told}"


def findings(bench: Bench, size: str | None) -> list[Finding]:
    """The conclusions of 3.4 and 3.5 on what makes good representations. ``quick`` decides nothing."""
    evidence = Evidence(bench, size)
    found = [
        *(_variance(evidence, data, decoder) for data in _SETS for decoder in ("mha", "mlp")),
        *(_offline(evidence, data) for data in _SETS),
        *(_predicts(evidence, data) for data in (*MACHO, *ZTF)),
        *(_mlp_suffices(evidence, data) for data in _SETS),
        *(_mtan_lags(evidence, data) for data in (*MACHO, *ZTF)),
    ]
    if size == "quick":
        return [each if each.verdict == "not run" else replace(each, verdict="not judged: quick") for each in found]
    return [_of_runs_cut_short(each) if CUT_SHORT in each.rests_on else each for each in found]


def _of_runs_cut_short(finding: Finding) -> Finding:
    """A verdict on what had not learned all that it could says so."""
    is_judged = finding.verdict in (_HOLDS, _CONTRADICTED)
    return replace(finding, verdict=f"{finding.verdict}, {CUT_SHORT}") if is_judged else finding


def findings_page(found: Sequence[Finding]) -> str:
    """As Markdown."""
    told = (
        f"In brackets: intervals that hold {LEVEL:.0%}, by Student's t, over the seeds. Accuracies closer than "
        f"{ALIKE:g} points count as alike: a lead is one from there on. One seed decides nothing. A run is *cut short* "
        "where its last epoch came before its error had stopped falling: a verdict on such runs is one on autoencoders "
        "that have not learned all that they could, and neither bears out nor contradicts the thesis, whose runs had. "
        "Offline probes see latent vectors brought to unit variance, online ones as they are: part of a lead of the "
        "former may be that. The former learn until their training loss no longer falls, as the thesis's, by which an "
        "MLP on few light curves overfits."
    )
    rows = [[each.statement, each.thesis, each.found, each.rests_on, each.verdict] for each in found]
    table = markdown(["finding", "thesis", "here", "rests on", "verdict"], rows)
    return f"# What chapter 3 concludes\n\n{told}\n\n{table}\n"


# --- verdicts -------------------------------------------------------------------------------------------------------


def interval(values: FloatArray) -> tuple[float, float]:
    """Of the mean of values (N,), by Student's t; all numbers where there are fewer than two."""
    if len(values) < 2:
        return -np.inf, np.inf
    estimate = Estimate.of_mean(values)
    return estimate.low, estimate.high


_HOLDS, _CONTRADICTED = "holds", "contradicted"


def _verdict(*, holds: bool, contradicted: bool) -> str:
    return _HOLDS if holds else _CONTRADICTED if contradicted else "undecided"


def _told(values: FloatArray) -> str:
    """The mean, and its interval where there is one."""
    low, high = interval(values)
    return f"{values.mean():+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if np.isfinite(low) else "")


# --- statements -----------------------------------------------------------------------------------------------------


def _variance(evidence: Evidence, data: str, decoder: str) -> Finding:
    lifts = data != "syn-c"
    effect = "lifts" if lifts else "does not lift"
    least = ALIKE if data in synthetic.NAMES else 0.0  # of real ones the thesis has 2 to 3 points
    rows = [Parts(decoder=decoder, loss=loss) for loss in LOSSES]
    printed = [_printed(_of_decoders(data), DECODER_ROWS.index(parts), _column("linear", data)) for parts in rows]
    finding = Finding(
        f"estimating the variance {effect} the linear probe on {data}, {decoder} decoder",
        f"{printed[0]:.2f} -> {printed[1]:.2f}",
    )
    found = evidence.paired(data, rows, "linear")
    if not len(found):
        return finding
    gain = found[:, 1] - found[:, 0]
    low, high = interval(gain)
    verdict = (
        _verdict(holds=low > least, contradicted=high < least)
        if lifts
        else _verdict(holds=high < ALIKE, contradicted=low > ALIKE)
    )
    without, with_it = found.mean(axis=0)
    return replace(
        finding,
        found=f"{without:.2f} -> {with_it:.2f}, {_told(gain)}",
        rests_on=evidence.rests_on(data, rows, len(found)),
        verdict=verdict,
    )


def _offline(evidence: Evidence, data: str) -> Finding:
    beat = data not in synthetic.NAMES
    effect = "beat" if beat else "do not beat"
    finding = Finding(f"offline probes {effect} online ones on {data}", _printed_gaps(data))
    every = dict.fromkeys((*DECODER_ROWS, *ENCODER_ROWS))
    n_seeds = {parts: len(evidence.paired(data, [parts], "online-mlp")) for parts in every}
    most = max(n_seeds.values())
    if not most:
        return finding
    # Autoencoders of one seed see the same light curves: their mean is one number a seed, of those that all seeds have.
    rows = [parts for parts, number in n_seeds.items() if number == most]
    gaps = {
        probe: (evidence.paired(data, rows, probe) - evidence.paired(data, rows, f"online-{probe}")).mean(axis=1)
        for probe in ("linear", "mlp")
    }
    intervals = [interval(values) for values in gaps.values()]
    ahead, level = all(low > ALIKE for low, _ in intervals), all(high < ALIKE for _, high in intervals)
    return replace(
        finding,
        found="; ".join(f"{probe} {_told(values)}" for probe, values in gaps.items()),
        rests_on=f"{len(rows)} autoencoders, {evidence.rests_on(data, rows, len(gaps['mlp']))}",
        verdict=_verdict(holds=ahead, contradicted=level) if beat else _verdict(holds=level, contradicted=ahead),
    )


def _predicts(evidence: Evidence, data: str) -> Finding:
    finding = Finding(
        f"the MLP probe predicts fine-tuned accuracy better than the linear one on {data}",
        _rank_told(_printed_ranks(data)),
    )
    metrics = ("mlp", "linear", FINE_TUNED)
    rows = [parts for parts in ENCODER_ROWS if len(evidence.paired(data, [parts], FINE_TUNED))]
    if len(rows) < _FEWEST:
        return replace(finding, found=f"{len(rows)} encoders were run, {_FEWEST} are needed") if rows else finding
    by_metric = {metric: evidence.paired(data, rows, metric) for metric in metrics}
    by_seed = [_ranks({metric: by_metric[metric][seed] for metric in metrics}) for seed in range(len(by_metric["mlp"]))]
    if not by_seed:
        return replace(finding, found="no seed was run with all of the encoders")
    means = {probe: float(np.mean([ranks[probe] for ranks in by_seed])) for probe in ("mlp", "linear")}
    low, high = interval(np.array([ranks["mlp"] - ranks["linear"] for ranks in by_seed]))
    return replace(
        finding,
        found=_rank_told(means),
        rests_on=f"{len(rows)} encoders, {evidence.rests_on(data, rows, len(by_seed))}",
        verdict=_verdict(holds=low > 0, contradicted=high < 0),
    )


def _mlp_suffices(evidence: Evidence, data: str) -> Finding:
    own = Parts(decoder="mlp")
    others = [Parts(decoder=decoder) for decoder in ("mha", "lstm")]
    printed, *rest = (
        _printed(_of_decoders(data), DECODER_ROWS.index(parts), _column("mlp", data)) for parts in (own, *others)
    )
    finding = Finding(
        f"an MLP decoder suffices on {data}: no other is {ALIKE:g} points of Acc-MLP ahead",
        f"the best other is {max(rest) - printed:+.1f} ahead",
    )
    alike = [parts for parts in others if evidence.size_of(data, parts) == evidence.size_of(data, own)]
    pairs = {parts.decoder: evidence.paired(data, [own, parts], "mlp") for parts in alike}
    pairs = {decoder: found for decoder, found in pairs.items() if len(found)}
    if not pairs:
        return finding
    ahead = {decoder: found[:, 1] - found[:, 0] for decoder, found in pairs.items()}
    intervals = [interval(values) for values in ahead.values()]
    mlp = next(iter(pairs.values()))[:, 0].mean()
    n_seeds = min(map(len, ahead.values()))
    return replace(
        finding,
        found=f"mlp {mlp:.2f}; ahead of it: " + ", ".join(f"{name} {_told(each)}" for name, each in ahead.items()),
        rests_on=evidence.rests_on(data, [own, *(parts for parts in alike if parts.decoder in pairs)], n_seeds),
        verdict=_verdict(
            holds=all(high < ALIKE for _, high in intervals), contradicted=any(low > ALIKE for low, _ in intervals)
        ),
    )


def _mtan_lags(evidence: Evidence, data: str) -> Finding:
    kinds = [[Parts(encoder=encoder, pre_encoder=pre) for encoder in _ENCODERS] for pre in ("mtan", "interpred")]
    places = [[ENCODER_ROWS.index(parts) for parts in kind] for kind in kinds]
    means = [np.mean([_printed(_of_encoders(data), row, _column("mlp", data)) for row in rows]) for rows in places]
    finding = Finding(f"mTAN lags behind InterPred on {data}", f"{means[0] - means[1]:+.1f} points of Acc-MLP")
    found = evidence.paired(data, [*kinds[0], *kinds[1]], "mlp")
    if not len(found):
        return finding
    gap = found[:, : len(_ENCODERS)].mean(axis=1) - found[:, len(_ENCODERS) :].mean(axis=1)
    low, high = interval(gap)
    return replace(
        finding,
        found=_told(gap),
        rests_on=f"{len(_ENCODERS)} encoders each, {evidence.rests_on(data, [*kinds[0], *kinds[1]], len(found))}",
        verdict=_verdict(holds=high < -ALIKE, contradicted=low > -ALIKE),
    )


# --- what the thesis's own tables say -------------------------------------------------------------------------------

_SETS = (*synthetic.NAMES, *MACHO, *ZTF)
_NUMBERS = {"syn-a": "3.1", "syn-b": "3.2", "syn-c": "3.3"}
_ENCODERS = ("mha", "resnet", "lstm")
_FEWEST = 4
"""Encoders that an order is told of."""
_COLUMNS = ("linear", "online-linear", "mlp", "online-mlp")
"""Of every table of them; those of real light curves have the squared error before them."""


def _of_decoders(data: str) -> str:
    """The table that varies decoders on this set, or on what it stands for."""
    return _NUMBERS.get(data, "3.4" if data in MACHO else "3.5")


def _of_encoders(data: str) -> str:
    """The same of encoders, which real light curves alone have."""
    return "3.6" if data in MACHO else "3.7"


def _column(metric: str, data: str) -> int:
    return _COLUMNS.index(metric) + (data not in synthetic.NAMES)


def _printed(number: str, row: int, column: int) -> float:
    """A mean; NaN where the cell is lost."""
    table = thesis_tables.DECODERS.get(number) or thesis_tables.ENCODERS[number]
    return float(table[row][column].split(" ", maxsplit=1)[0] or "nan")


def _printed_gaps(data: str) -> str:
    """The least and the largest lead of offline probes among its autoencoders."""
    rows = [(_of_decoders(data), row) for row in range(len(DECODER_ROWS))]
    if data not in synthetic.NAMES:
        rows += [(_of_encoders(data), row) for row in range(len(ENCODER_ROWS))]
    told = []
    for probe in ("linear", "mlp"):
        columns = _column(probe, data), _column(f"online-{probe}", data)
        pairs = [[_printed(number, row, column) for column in columns] for number, row in rows]
        gaps = [offline - online for offline, online in pairs if not np.isnan(offline + online)]
        told.append(f"{probe} {min(gaps):+.1f} to {max(gaps):+.1f}")
    return "; ".join(told)


def _printed_ranks(data: str) -> dict[str, float]:
    rows, place = range(len(ENCODER_ROWS)), 0 if data in MACHO else 1
    columns = {
        probe: [_printed(_of_encoders(data), row, _column(probe, data)) for row in rows] for probe in ("linear", "mlp")
    }
    return _ranks({**columns, FINE_TUNED: [_printed("3.8", row, place) for row in rows]})


def _ranks(values: Mapping[str, Sequence[float] | FloatArray]) -> dict[str, float]:
    """Spearman's correlation of each probe's accuracy with the fine-tuned one's, over the encoders."""
    return {probe: _rank(values[probe], values[FINE_TUNED]) for probe in ("mlp", "linear")}


def _rank(first: Sequence[float] | FloatArray, second: Sequence[float] | FloatArray) -> float:
    """0 where one of the two is the same everywhere."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def _rank_told(ranks: Mapping[str, float]) -> str:
    return f"rank correlation {ranks['mlp']:.2f} (MLP), {ranks['linear']:.2f} (linear)"
