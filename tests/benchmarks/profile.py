"""``python -m tests.benchmarks.profile``: where inference's time goes, by kind of operation, on one thread."""

from collections import Counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from models.inputs.alert_batch import AlertBatch
from models.network import AnyATAT, Network
from models.selection import Precision
from tests.benchmarks import real
from tests.benchmarks.inference import PRECISIONS, as_cut, random_network, real_alerts

ALERTS = 1024
KINDS = {
    "products": ("addmm", "mm", "bmm"),
    "attention": ("_scaled_dot_product",),
    "GELU": ("gelu",),
    "normalisation": ("native_layer_norm",),
    "copies": ("copy_", "cat", "index", "gather"),
    "additions": ("add", "add_"),
}
"""By the beginnings of PyTorch's names; what is none of these is the rest."""


def shares(module: AnyATAT, alerts: AlertBatch, precision: Precision) -> dict[str, float]:
    """Of the time of one pass over some of the alerts."""
    sample = alerts.take(np.random.default_rng(0).permutation(len(alerts))[:ALERTS])
    network, curves = Network(module, precision=precision), as_cut(sample)
    network.score(curves, sample.metadata, sample.has_metadata)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        network.score(curves, sample.metadata, sample.has_metadata)
    spent: Counter[str] = Counter()
    for each in found.key_averages():
        spent[_kind(each.key)] += each.self_cpu_time_total
    return {kind: spent[kind] / spent.total() for kind in (*KINDS, "the rest")}


def _kind(operation: str) -> str:
    name = operation.removeprefix("aten::")
    for kind, beginnings in KINDS.items():
        if name in beginnings or (kind == "attention" and name.startswith(beginnings)):
            return kind
    return "the rest"


def main() -> None:
    """The command line: it has no options."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    alerts = real_alerts(real.ALL)
    module = random_network("atat", {}, alerts)
    columns = [shares(module, alerts, precision) for precision in PRECISIONS]
    table = Table("thesis size", *PRECISIONS)
    for kind in columns[0]:
        table.add_row(kind, *(f"{column[kind]:.0%}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main()
