"""End to end: alerts a second that a read_committed reader sees, what each process costs, latency, and bursts.

Kafka, Valkey, the service, the load and the reader share the machine's cores, transactions on. There is a worker a
core, of one thread each: while one waits for Kafka or decodes, another computes. Inference alone has all cores in one
process.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.inputs.alert_batch import AlertBatch
from models.network import Network
from models.selection import DEFAULT_ARTIFACT, Precision
from models.taxonomy import CLASS_NAMES, Taxonomy
from tests.benchmarks import real
from tests.benchmarks.inference import CLASSES, random_network
from tests.benchmarks.whole import Alerts, Moment, Servers, Whole

MINUTES = 5.0
THESIS, NARROW, SHIPPED = "thesis", "thesis_bfloat16", "shipped"
MODELS = (THESIS, NARROW, SHIPPED)
"""The thesis's size in either precision, and what ships."""
RATE = 250.0
"""A visit's 10,000 alerts every 39 s."""
BURSTS = (10_000, 40_000)
"""A visit's alerts: usual, and most."""
_BATCH = 1024
_SHARE_INFERENCE_ONLY = 0.05
"""Inference alone is measured for such a share of the time before the service works, and again after."""
_MICRO = 1e6


def measure(*, minutes: float = MINUTES, models: Sequence[str] = MODELS) -> dict[str, float]:
    """Each rate over so many minutes. Keys begin with the model, then the alerts, as those of ``inference``."""
    every, long = Alerts.read(), Alerts.read(real.LONG)
    workers = os.cpu_count() or 1
    measured: dict[str, float] = {"minutes": minutes, "workers": workers, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory(prefix="stream-") as directory:
        thesis = Path(directory) / "thesis"
        save_thesis(thesis, every.batch)
        for name in models:
            model = DEFAULT_ARTIFACT if name == SHIPPED else thesis
            precision: Precision = "bfloat16" if name == NARROW else "float32"
            for which, alerts in (("all", every), ("long", long)):
                alone = partial(
                    inference_only,
                    Classifier.load(model, precision=precision),
                    alerts.batch,
                    seconds=minutes * 60 * _SHARE_INFERENCE_ONLY,
                )
                with Servers.started(Path(directory) / f"{name}-{which}") as servers:
                    before = alone()
                    with servers.serving(alerts, model, workers=workers, MODEL_PRECISION=precision) as whole:
                        figures = busy(whole, seconds=minutes * 60)
                        if which == "all":
                            figures |= _latency(whole, seconds=min(minutes, 1.0) * 60) | _bursts(whole)
                    after = alone()
                figures["inference_only_per_second"] = (before + after) / 2
                figures["share_of_inference_only"] = figures["per_second"] / figures["inference_only_per_second"]
                measured |= {f"{name}_{which}_{figure}": value for figure, value in figures.items()}
    return measured


def save_thesis(directory: Path, alerts: AlertBatch) -> None:
    """A model of the thesis's size, light curves and metadata, with random weights."""
    torch.manual_seed(0)
    classes = Taxonomy(tuple(CLASS_NAMES)[:CLASSES])
    network = Network(random_network("atat", {}, alerts))
    Classifier(network, taxonomy=classes, calibration=UNCALIBRATED, name="thesis", version="1").save(directory)


def inference_only(classifier: Classifier, alerts: AlertBatch, *, seconds: float) -> float:
    """Alerts a second through the classifier, from decoded alerts to probabilities; nothing else is done."""
    batches = [alerts.take(rows) for rows in np.array_split(np.arange(len(alerts)), len(alerts) // _BATCH)]
    classifier.classify(batches[0])
    done, began = 0, time.monotonic()
    while True:
        for batch in batches:
            classifier.classify(batch)
            done += len(batch)
            if (took := time.monotonic() - began) >= seconds:
                return done / took


def busy(whole: Whole, *, seconds: float) -> dict[str, float]:
    """As many alerts as it can answer, for so long."""
    whole.feed.rate = None
    whole.wait_for(whole.reader.count + 2 * _BATCH)
    began = whole.now()
    time.sleep(seconds)
    ended = whole.now()
    whole.drain()
    return _between(began, ended) | {"mebibytes": whole.peak_mebibytes()}


def _between(began: Moment, ended: Moment) -> dict[str, float]:
    count, seconds = ended.visible - began.visible, ended.at - began.at
    rates = {"per_second": count / seconds}
    costs = {f"{name}_cpu_microseconds": _MICRO * (cpu - began.cpu[name]) / count for name, cpu in ended.cpu.items()}
    stages = {
        f"stage_{stage}_microseconds": _MICRO * (spent - began.stages.get(stage, 0.0)) / count
        for stage, spent in ended.stages.items()
    }
    return rates | costs | stages


def _latency(whole: Whole, *, seconds: float) -> dict[str, float]:
    found = 1000 * whole.latencies(rate=RATE, seconds=seconds)
    return {f"latency_p{share}_milliseconds": float(np.percentile(found, share)) for share in (50, 99)}


def _bursts(whole: Whole) -> dict[str, float]:
    measured = {f"burst_{count}_seconds": whole.publish_and_wait(count) for count in BURSTS}
    return measured | {"burst_mebibytes": whole.peak_mebibytes(), "cuda_mebibytes": whole.cuda_mebibytes()}
