"""The model that a command answers with, where it is to run."""

from pathlib import Path

import torch

from models.classifier import Classifier, InvalidArtifact
from service.errors import Misconfigured


def load(directory: Path, *, device: str) -> Classifier:
    """The model in ``directory``. Raises Misconfigured if it is none, or there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise Misconfigured("the model is to run on cuda, and PyTorch sees no GPU")
    try:
        return Classifier.load(directory, device=device)
    except InvalidArtifact as error:
        raise Misconfigured(str(error)) from error
