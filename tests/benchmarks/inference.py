"""Light curves a second on real alerts, packed, beside the plain padded implementation of the same weights."""

import tomllib
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import training
from models.atat import ATAT
from models.classifier import Classifier
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch
from models.inputs.batch import MAX_POINTS_PER_BAND
from models.inputs.light_curve import LightCurve, LightCurves, merged
from models.network import AnyATAT, Network, build
from models.selection import Precision
from tests.benchmarks import real
from tests.benchmarks.alternating import best_seconds
from tests.models import padded

ALERTS, ALERTS_PADDED, ROUNDS = 2048, 128, 3
CLASSES = 20
PADDED_BATCHES = (16, 64, 128)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def measure() -> dict[str, float]:
    """On all cores, and on the GPU where there is one (``cuda``).

    Keys begin with the model, then the alerts: all of them, or those of long light curves.
    """
    torch.manual_seed(0)
    every, long = (real_alerts(pattern) for pattern in (real.ALL, real.LONG))
    thesis = random_network("atat", {}, every)
    assert isinstance(thesis, ATAT)
    shipped = Classifier.load().model
    assert isinstance(shipped, Network)
    architecture = tomllib.loads((Path(training.__file__).parent / "configs" / "atat2.toml").read_text())["model"]
    atat2 = {
        f"atat2_{width}": random_network("atat2", {**architecture, "d_model": width}, every) for width in (96, 128)
    }
    measured = {"threads": float(torch.get_num_threads())}
    for which, alerts in (("all", every), ("long", long)):
        sample = alerts.take(np.random.default_rng(0).permutation(len(alerts))[:ALERTS])
        measured[f"{which}_points_per_light_curve"] = float(as_cut(alerts).lengths.mean())
        measured |= _named(f"thesis_{which}", _against_padded(thesis, sample))
        for name, module in {"thesis": thesis, "shipped": shipped.module, **atat2}.items():
            measured |= _named(f"{name}_{which}", _rates(module, sample))
            if torch.cuda.is_available():
                on_gpu = _rates(deepcopy(module), sample, device="cuda")
                measured |= _named(f"{name}_{which}_cuda", on_gpu)
    for name, module in {"thesis": thesis, "shipped": shipped.module, **atat2}.items():
        measured |= _named(f"{name}_all", _change(module, every))
    return measured


def _named(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def real_alerts(pattern: str) -> AlertBatch:
    """Those of the files that fit the pattern."""
    return alert_batch([avro.unread(message) for message in real.messages(pattern)]).alerts


def random_network(kind: str, options: dict[str, object], alerts: AlertBatch) -> AnyATAT:
    """A network of random weights; its scales are the alerts'."""
    module = build(kind, {"n_classes": CLASSES, **options}).eval()
    module.fit_scales(alerts.metadata)
    return module


def as_cut(alerts: AlertBatch) -> LightCurves:
    """What a model reads of them."""
    return merged(alerts).until(alerts.epoch)


def _rates(module: AnyATAT, alerts: AlertBatch, *, device: str = "cpu") -> dict[str, float]:
    seconds = best_seconds(_packed_ways(module, alerts, device=device), rounds=ROUNDS)
    return {f"{name}_per_second": len(alerts) / value for name, value in seconds.items()}


def _packed_ways(module: AnyATAT, alerts: AlertBatch, *, device: str = "cpu") -> dict[str, Callable[[], object]]:
    """The module moves to the device."""
    curves = as_cut(alerts)
    networks = {precision: Network(module, device=device, precision=precision) for precision in PRECISIONS}
    return {
        precision: partial(network.score, curves, alerts.metadata, alerts.has_metadata)
        for precision, network in networks.items()
    }


def _against_padded(module: ATAT, alerts: AlertBatch) -> dict[str, float]:
    """The padded one has its grids at hand, of 65 points a band as the thesis's, and once as short as they can be."""
    few = alerts.take(np.arange(ALERTS_PADDED))
    curves = as_cut(few)
    listed = [curves[row] for row in range(len(few))]
    grids = {
        f"padded_{batch}": (batch, [padded.padded(part, length=MAX_POINTS_PER_BAND) for part in _parts(listed, batch)])
        for batch in PADDED_BATCHES
    }
    grids["padded_short"] = (PADDED_BATCHES[0], [padded.padded(part) for part in _parts(listed, PADDED_BATCHES[0])])
    metadata, missing = torch.from_numpy(np.nan_to_num(few.metadata)), torch.from_numpy(np.isnan(few.metadata))

    def all_padded(batch: int, parts: list[padded.Padded]) -> torch.Tensor:
        with torch.inference_mode():
            rows = [slice(start, start + batch) for start in range(0, len(few), batch)]
            logits = [
                padded.forward(module, part, metadata[own], missing[own]).mix
                for own, part in zip(rows, parts, strict=True)
            ]
            return torch.cat([one for one in logits if one is not None])

    seconds = best_seconds(
        {**_packed_ways(module, few), **{name: partial(all_padded, *parts) for name, parts in grids.items()}},
        rounds=ROUNDS,
    )
    best_padded = min(seconds[f"padded_{batch}"] for batch in PADDED_BATCHES)
    found = Network(module).score(curves, few.metadata, few.has_metadata).logits["mix"].softmax(-1)
    expected = all_padded(*grids[f"padded_{PADDED_BATCHES[0]}"]).softmax(-1)
    measured = {f"{name}_per_second": len(few) / seconds[name] for name in grids}
    measured |= {f"{precision}_times_padded": best_padded / seconds[precision] for precision in PRECISIONS}
    measured |= {f"{name}_times_padded_short": seconds["padded_short"] / seconds[name] for name in PRECISIONS}
    return {**measured, "change_from_padded": float((found - expected)[few.has_metadata].abs().max())}


def _parts(values: list[LightCurve], size: int) -> list[list[LightCurve]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _change(module: AnyATAT, alerts: AlertBatch) -> dict[str, float]:
    """The largest change of a probability that bfloat16 makes."""
    exact, narrow = (_probabilities(module, alerts, precision) for precision in PRECISIONS)
    return {"bfloat16_change": float(np.abs(exact - narrow).max())}


def _probabilities(module: AnyATAT, alerts: AlertBatch, precision: Precision) -> NDArray[np.float32]:
    scores = Network(module, precision=precision).score(as_cut(alerts), alerts.metadata, alerts.has_metadata)
    answers = torch.from_numpy(scores.answers(module.config.n_classes))
    return np.asarray(answers.softmax(-1).numpy(), dtype=np.float32)
