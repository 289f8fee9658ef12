"""What chapter 3 concludes, as statements with a verdict on the light curves here.

Runs of one seed see the same light curves, so differences are taken within a seed, and a verdict rests on their
interval over the seeds: what that does not settle is undecided, and so is everything that rests on a single seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from models.arrays import FloatArray
from training.autoencode import CONVERGED, FINE_TUNED
from training.data import synthetic
from training.metrics import LEVEL, Estimate
from training.pages import markdown
from training.probes import PATIENCE
from training.representation_tables import DECODER_ROWS, ENCODER_ROWS, LOSSES, MACHO, TABLES, ZTF, Table
from training.representations import SIZES, WHOLE, Bench, Parts, cell_of

CUT_SHORT = "cut short"

ALIKE = 2.0
"""Points of accuracy. Where the thesis sees no difference, a smaller one is none."""

_SETS = (*synthetic.NAMES, *MACHO, *ZTF)
_PROBE_NAMES = {"linear": "linear probe", "mlp": "MLP probe"}
_VARIED = {DECODER_ROWS: "all decoders", ENCODER_ROWS: "all encoders"}
_KNOWS = 95.0
"""Accuracy of a probe that tells two classes apart [%]: on Syn-A and B the thesis has 97 to 100 with the variance."""
_FEWEST = 4
"""Encoders that an order is told of."""


@dataclass(frozen=True)
class Finding:
    """A conclusion of the thesis, and whether it holds here."""

    statement: str
    thesis: str
    found: str = ""
    rests_on: str = ""
    """Sizes and numbers of runs."""
    verdict: str = "not run"


class Paired(NamedTuple):
    """One metric of R autoencoders, of the seeds that all of them have been run with."""

    seeds: tuple[int, ...]
    values: FloatArray
    """(S, R)"""


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

    def paired(self, data: str, rows: Sequence[Parts], metric: str) -> Paired:
        """A metric of these autoencoders."""
        runs = [self.figures(data, parts) for parts in rows]
        seeds = sorted(set.intersection(*({seed for seed in each if metric in each[seed]} for each in runs)))
        found = [[each[seed][metric] for each in runs] for seed in seeds]
        return Paired(tuple(seeds), np.array(found, dtype=np.float64).reshape(len(seeds), len(rows)))

    def rests_on(self, data: str, rows: Sequence[Parts], seeds: Sequence[int], probes: Sequence[str]) -> str:
        """The size, how many seeds, and whether autoencoders and probes had more to learn when the last epoch came."""
        told = f"{self.size_of(data, rows[0])}, {len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
        runs = [self.figures(data, parts)[seed] for parts in rows for seed in seeds]
        unfinished = sum(not run.get(CONVERGED) for run in runs)
        told += f", {unfinished} of {len(runs)} runs {CUT_SHORT}" if unfinished else ""
        for probe in probes:
            known = [run[key] for run in runs if (key := f"{probe}-{CONVERGED}") in run]
            for number, how in ((known.count(0.0), ""), (len(runs) - len(known), "perhaps ")):
                told += f", {number} of {len(runs)} {_PROBE_NAMES[probe]}s {how}{CUT_SHORT}" if number else ""
        return told


def findings(bench: Bench, size: str | None) -> list[Finding]:
    """The conclusions of 3.4 and 3.5 on what makes good representations. ``quick`` decides nothing."""
    evidence = Evidence(bench, size)
    found = [
        *(_variance(evidence, data, decoder) for data in _SETS for decoder in ("mha", "mlp")),
        *(
            _offline(evidence, data, probe, table)
            for data in _SETS
            for table in _tables_of(data)
            for probe in _PROBE_NAMES
        ),
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
    """As Markdown; what nothing was run for is only named."""
    told = (
        f"In brackets: intervals that hold {LEVEL:.0%}, by Student's t, over the seeds, and somewhat short: they split "
        f"the same real light curves anew. Accuracies closer than {ALIKE:g} points count as alike: a lead is one from "
        "there on. Of the variance on real light curves any gain counts, as the thesis's is of 2 to 3 points. One seed "
        "decides nothing. A run is *cut short* where its last epoch came before its error had stopped falling: a "
        "verdict on such runs is one on autoencoders that have not learned all that they could, and neither bears out "
        "nor contradicts the thesis, whose runs had; *perhaps* stands for probes of which it was not kept. An online "
        "probe learns for as long as its autoencoder, an offline "
        f"one until its training loss has not fallen for {PATIENCE} epochs, or for {WHOLE.probe_epochs:,}: some of its "
        "lead in a short run is that it learns for longer."
    )
    run = [each for each in found if each.found]
    rows = [[each.statement, each.thesis, each.found, each.rests_on, each.verdict] for each in run]
    table = markdown(["finding", "thesis", "here", "rests on", "verdict"], rows)
    rest = [f"- {each.statement} (thesis: {each.thesis})" for each in found if not each.found]
    lacking = ["Not run:\n\n" + "\n".join(rest)] if rest else []
    return "\n\n".join(["# What chapter 3 concludes", told, *([table] if run else []), *lacking]) + "\n"


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


def _told(values: FloatArray, *, digits: int = 1) -> str:
    """The mean, and its interval where there is one."""
    low, high = interval(values)
    return f"{values.mean():+.{digits}f}" + (f" ({low:+.{digits}f} to {high:+.{digits}f})" if np.isfinite(low) else "")


# --- statements -----------------------------------------------------------------------------------------------------


def _variance(evidence: Evidence, data: str, decoder: str) -> Finding:
    effect = "does not lift" if data == "syn-c" else "lifts"
    rows = [Parts(decoder=decoder, loss=loss) for loss in LOSSES]
    printed = [_printed(_of_decoders(data), parts, data, "linear") for parts in rows]
    finding = Finding(
        f"estimating the variance {effect} the linear probe on {data}, {decoder} decoder",
        f"{printed[0]:.2f} -> {printed[1]:.2f}",
    )
    seeds, found = evidence.paired(data, rows, "linear")
    if not seeds:
        return finding
    without, with_it = found.mean(axis=0)
    return replace(
        finding,
        found=f"{without:.2f} -> {with_it:.2f}, {_told(found[:, 1] - found[:, 0])}",
        rests_on=evidence.rests_on(data, rows, seeds, ["linear"]),
        verdict=_of_variance(data, found),
    )


def _of_variance(data: str, found: FloatArray) -> str:
    """Of the linear probe's accuracies (S, 2) without and with the variance."""
    low, high = interval(found[:, 1] - found[:, 0])
    if data == "syn-c":
        return _verdict(holds=high < ALIKE, contradicted=low > ALIKE)
    if data not in synthetic.NAMES:  # the thesis has 2 to 3 points: any gain counts
        return _verdict(holds=low > 0, contradicted=high < 0)
    if found[:, 0].mean() > 100 - ALIKE:
        return "not tried: there is nothing to lift"
    knows, _ = interval(found[:, 1])
    return _verdict(holds=low > ALIKE and knows > _KNOWS, contradicted=high < ALIKE)


def _offline(evidence: Evidence, data: str, probe: str, table: Table) -> Finding:
    """3.4.2: alike on synthetic light curves, and for the MLP probe on ZTF's; 3.4.3: a gap behind every encoder."""
    alike = data in synthetic.NAMES or (data in ZTF and probe == "mlp" and table.rows == DECODER_ROWS)
    effect = "is as good as its online one" if alike else "beats its online one"
    finding = Finding(
        f"the offline {_PROBE_NAMES[probe]} {effect} on {data}, of {_VARIED[table.rows]}",
        _printed_gap(table, table.rows, data, probe),
    )
    rows = _most_run(evidence, data, table.rows, f"online-{probe}")
    if not rows:
        return finding
    finding = replace(finding, thesis=_printed_gap(table, rows, data, probe))
    seeds, offline = evidence.paired(data, rows, probe)
    if not seeds:
        return replace(finding, found="no seed was run with all of them")
    # Autoencoders of one seed see the same light curves: their mean is one number a seed, of those that all seeds have.
    gap = (offline - evidence.paired(data, rows, f"online-{probe}").values).mean(axis=1)
    low, high = interval(gap)
    is_alike, apart = low > -ALIKE and high < ALIKE, low > ALIKE or high < -ALIKE
    return replace(
        finding,
        found=_told(gap),
        rests_on=f"{_counted(rows, table)}, {evidence.rests_on(data, rows, seeds, [probe])}",
        verdict=_verdict(holds=is_alike, contradicted=apart)
        if alike
        else _verdict(holds=low > ALIKE, contradicted=high < ALIKE),
    )


def _counted(rows: Sequence[Parts], table: Table) -> str:
    """How many autoencoders, and which, where they are not all of their table."""
    if len(rows) == len(table.rows):
        return f"{len(rows)} autoencoders"
    named = dict.fromkeys("+".join(filter(None, table.varied(parts))) for parts in rows)
    return f"{len(rows)} of {len(table.rows)} autoencoders ({', '.join(named)})"


def _most_run(evidence: Evidence, data: str, rows: Sequence[Parts], metric: str) -> list[Parts]:
    """Those of one size, the larger one if any was run, that have as many seeds as any of them."""
    run = {parts: len(evidence.paired(data, [parts], metric).seeds) for parts in rows}
    by_size: dict[str, dict[Parts, int]] = {}
    for parts, n_seeds in run.items():
        if n_seeds:
            by_size.setdefault(evidence.size_of(data, parts), {})[parts] = n_seeds
    own = next((by_size[size] for size in SIZES if size in by_size), {})
    return [parts for parts, n_seeds in own.items() if n_seeds == max(own.values())]


def _predicts(evidence: Evidence, data: str) -> Finding:
    finding = Finding(
        f"the MLP probe predicts fine-tuned accuracy better than the linear one on {data}",
        _rank_told(_printed_ranks(data)),
    )
    rows = [parts for parts in ENCODER_ROWS if evidence.paired(data, [parts], FINE_TUNED).seeds]
    if len(rows) < _FEWEST:
        return replace(finding, found=f"{len(rows)} encoders were run, {_FEWEST} are needed") if rows else finding
    by_metric = {metric: evidence.paired(data, rows, metric) for metric in ("mlp", "linear", FINE_TUNED)}
    seeds = by_metric[FINE_TUNED].seeds
    if not seeds:
        return replace(finding, found="no seed was run with all of the encoders")
    by_seed = [
        _ranks({metric: found.values[place] for metric, found in by_metric.items()}) for place in range(len(seeds))
    ]
    ahead = np.array([ranks["mlp"] - ranks["linear"] for ranks in by_seed])
    low, high = interval(ahead)
    of_means = _ranks({metric: found.values.mean(axis=0) for metric, found in by_metric.items()})
    return replace(
        finding,
        found=f"{_rank_told(of_means)}; seed by seed the MLP's is {_told(ahead, digits=2)} higher",
        rests_on=f"{len(rows)} encoders, {evidence.rests_on(data, rows, seeds, list(_PROBE_NAMES))}",
        verdict=_verdict(holds=low > 0, contradicted=high < 0),
    )


def _mlp_suffices(evidence: Evidence, data: str) -> Finding:
    own = Parts(decoder="mlp")
    others = [Parts(decoder=decoder) for decoder in ("mha", "lstm")]
    asked = [parts for parts in others if evidence.size_of(data, parts) == evidence.size_of(data, own)]
    printed = {parts: _printed(_of_decoders(data), parts, data, "mlp") for parts in (own, *asked)}
    finding = Finding(
        f"an MLP decoder suffices on {data}: {' and '.join(parts.decoder for parts in asked)} "
        f"{'is' if len(asked) == 1 else 'are'} not {ALIKE:g} points of Acc-MLP ahead",
        f"ahead of mlp: {'; '.join(f'{parts.decoder} by {printed[parts] - printed[own]:+.1f}' for parts in asked)}",
    )
    pairs = {parts: evidence.paired(data, [own, parts], "mlp") for parts in asked}
    ahead = {parts: found[:, 1] - found[:, 0] for parts, (seeds, found) in pairs.items() if seeds}
    if not ahead:
        return finding
    intervals = [interval(values) for values in ahead.values()]
    told = [f"{parts.decoder} by {_told(values)}" for parts, values in ahead.items()]
    told += [f"{parts.decoder} was not run" for parts in asked if parts not in ahead]
    told += [f"{parts.decoder} is of another size" for parts in others if parts not in asked]
    return replace(
        finding,
        found=f"ahead of mlp: {'; '.join(told)}",
        rests_on="; ".join(
            f"{parts.decoder}: {evidence.rests_on(data, [own, parts], pairs[parts].seeds, ['mlp'])}" for parts in ahead
        ),
        # What a decoder that has not been run could not change: one that is ahead.
        verdict=_verdict(
            holds=len(ahead) == len(asked) and all(high < ALIKE for _, high in intervals),
            contradicted=any(low > ALIKE for low, _ in intervals),
        ),
    )


def _mtan_lags(evidence: Evidence, data: str) -> Finding:
    behind = [parts for parts in ENCODER_ROWS if parts.pre_encoder == "mtan"]
    others = [parts for parts in ENCODER_ROWS if parts.pre_encoder != "mtan"]
    means = [np.mean([_printed(_of_encoders(data), parts, data, "mlp") for parts in kind]) for kind in (behind, others)]
    finding = Finding(
        f"encoders that read mTAN lag behind the others on {data}", f"{means[0] - means[1]:+.1f} points of Acc-MLP"
    )
    seeds, found = evidence.paired(data, [*behind, *others], "mlp")
    if not seeds:
        return finding
    gap = found[:, : len(behind)].mean(axis=1) - found[:, len(behind) :].mean(axis=1)
    low, high = interval(gap)
    return replace(
        finding,
        found=_told(gap),
        rests_on=f"{len(behind)} and {len(others)}, {evidence.rests_on(data, [*behind, *others], seeds, ['mlp'])}",
        verdict=_verdict(holds=high < -ALIKE, contradicted=low > -ALIKE),
    )


# --- what the thesis's own tables say -------------------------------------------------------------------------------


def _of_decoders(data: str) -> Table:
    """The table that varies decoders on this set, or on what it stands for."""
    return next(table for table in TABLES.values() if table.rows == DECODER_ROWS and data in table.data)


def _of_encoders(data: str) -> Table:
    """The same of encoders, which real light curves alone have."""
    return next(table for table in TABLES.values() if table.rows == ENCODER_ROWS and data in table.data)


def _printed(table: Table, parts: Parts, data: str, metric: str) -> float:
    """A mean; NaN where the cell is lost."""
    return float(table.printed(table.rows.index(parts), data, metric).split(" ", maxsplit=1)[0] or "nan")


def _tables_of(data: str) -> list[Table]:
    """Those whose probes learn both ways on this set, or on what it stands for."""
    return [_of_decoders(data)] + ([] if data in synthetic.NAMES else [_of_encoders(data)])


def _printed_gap(table: Table, rows: Sequence[Parts], data: str, probe: str) -> str:
    """The mean lead of an offline probe among some of a table's autoencoders, and the least and the largest."""
    gaps = np.array(
        [_printed(table, parts, data, probe) - _printed(table, parts, data, f"online-{probe}") for parts in rows]
    )
    return f"{np.nanmean(gaps):+.1f}, of each {np.nanmin(gaps):+.1f} to {np.nanmax(gaps):+.1f}"


def _printed_ranks(data: str) -> dict[str, float]:
    table = _of_encoders(data)
    columns = {probe: [_printed(table, parts, data, probe) for parts in ENCODER_ROWS] for probe in ("linear", "mlp")}
    tuned = [_printed(TABLES["3.8"], parts, data, FINE_TUNED) for parts in ENCODER_ROWS]
    return _ranks({**columns, FINE_TUNED: tuned})


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
