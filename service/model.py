"""The model that a command answers with, where it is to run."""

from pathlib import Path

import torch

from models.calibration import InvalidPrior
from models.classifier import Classifier, InvalidArtifact
from models.selection import Precision
from service.errors import Misconfigured


def load(directory: Path, *, device: str, precision: Precision = "float32", prior: str | None = None) -> Classifier:
    """The model in ``directory``, under another prior if one is named (``Calibration.under``).

    Raises Misconfigured if it is none, there is no such device, or the prior is none over its classes.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise Misconfigured("the model is to run on cuda, and PyTorch sees no GPU")
    try:
        classifier = Classifier.load(directory, device=device, precision=precision)
        if classifier.model.runs_on != {device}:
            raise Misconfigured(f"the model is to run on {device}, and it, or a part of it, runs on the CPU alone")
        return classifier if prior is None else classifier.under_prior(prior)
    except (InvalidArtifact, InvalidPrior) as error:
        raise Misconfigured(str(error)) from error
