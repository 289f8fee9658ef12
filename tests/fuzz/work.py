"""One process of ``python -m tests.fuzz``."""

import faulthandler
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from models.classifier import Classifier
from tests.conftest import DATA
from tests.fuzz.check import Disagreement, check
from tests.fuzz.inputs import Inputs

_HANGING_SECONDS = 600.0
"""Of wall clock, in which a batch that takes a second alone may have had little of a busy machine."""


def work(seed: int, batches: range, current: Any, number: int, results: Any) -> None:
    """Check these batches; what became of each, or a failure in words, goes to ``results``."""
    logging.disable()
    torch.set_num_threads(1)
    inputs, classifier = Inputs(DATA if DATA.is_dir() else None), Classifier.load()
    for batch in batches:
        current[number] = batch
        faulthandler.dump_traceback_later(_HANGING_SECONDS, exit=True, file=sys.stderr)
        try:
            results.put(check(inputs, seed=seed, batch=batch, classifier=classifier))
        except Disagreement as wrong:
            with tempfile.NamedTemporaryFile(prefix=f"fuzz-{batch}-", suffix=".bin", delete=False) as file:
                Path(file.name).write_bytes(wrong.data)
            results.put(f"batch {batch}: {str(wrong)[:500]}; the input is in {file.name}")
        except Exception as error:
            results.put(f"batch {batch}: {error!r}")
    faulthandler.cancel_dump_traceback_later()
