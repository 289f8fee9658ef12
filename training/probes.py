"""What a representation is worth (3.3.3): classifiers upon it, while it is being learned, afterwards, or beneath it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from models.arrays import IntArray
from models.autoencoders.autoencoder import Autoencoder
from training.data.curves import Curves
from training.errors import OutOfTime
from training.metrics import Rates, confusion

LEARNING_RATE = 1e-3
BATCH_SIZE = 256
PATIENCE = 5
"""Epochs without a better figure before any training stops (3.3.4)."""
D_HIDDEN = 128
"""Of the perceptron, one hidden layer; the text names no size."""
NEIGHBOURS = 10
LABELLED = 0.1
"""Share of the training labels that fine-tuning sees."""


@dataclass(frozen=True)
class Effort:
    """How long the classifiers of a representation learn, at most."""

    probe_epochs: int
    """Of an offline probe."""
    tuning_epochs: int
    tuning_steps: int
    """What an epoch of fine-tuning has at least: a tenth of a small set is one batch, and after five such steps nothing
    is known of where the accuracy will be."""


def linear(d_input: int, n_classes: int) -> nn.Module:
    """The linear probe."""
    return nn.Linear(d_input, n_classes)


def perceptron(d_input: int, n_classes: int) -> nn.Module:
    """The MLP probe."""
    return nn.Sequential(nn.Linear(d_input, D_HIDDEN), nn.ReLU(), nn.Linear(D_HIDDEN, n_classes))


Probe = Callable[[int, int], nn.Module]
PROBES: dict[str, Probe] = {"linear": linear, "mlp": perceptron}


class OnlineProbes:
    """Probes that learn beside the autoencoder, from its latent vectors as they are at each step."""

    def __init__(self, d_latent: int, n_classes: int, device: torch.device) -> None:
        self.modules = {name: make(d_latent, n_classes).to(device) for name, make in PROBES.items()}
        weights = [weight for module in self.modules.values() for weight in module.parameters()]
        self.optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)

    def learn(self, latent: Tensor, labels: Tensor) -> None:
        """One step. No gradient reaches the encoder."""
        losses = [F.cross_entropy(module(latent.detach()), labels) for module in self.modules.values()]
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


@dataclass(frozen=True)
class Fitted:
    """An offline probe."""

    module: nn.Module
    converged: bool
    """Whether its loss had stopped falling, or else the last epoch came before."""


def fit(make: Probe, latent: Tensor, labels: Tensor, n_classes: int, *, most_epochs: int) -> Fitted:
    """A probe trained on all latent vectors (N, D), as they are, until its loss no longer falls."""
    module = make(latent.shape[1], n_classes).to(latent.device)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    best, waited = np.inf, 0
    for _ in range(most_epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(latent)), BATCH_SIZE):
            loss = F.cross_entropy(module(latent[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        waited = 0 if total < best else waited + 1
        best = min(best, total)
        if waited == PATIENCE:
            break
    return Fitted(module.eval(), converged=waited == PATIENCE)


def predicted(probe: nn.Module, latent: Tensor) -> IntArray:
    """The class (N,) of latent vectors (N, D)."""
    with torch.inference_mode():
        return answers(probe(latent))


def neighbours(train: Tensor, labels: Tensor, test: Tensor) -> IntArray:
    """The class (M,) of test vectors (M, D) by a vote of the nearest training vectors (N, D)."""
    votes = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(train.cpu().numpy(), labels.cpu().numpy())
    return np.asarray(votes.predict(test.cpu().numpy()), dtype=np.int64)


def fine_tuned(
    model: Autoencoder, curves: Curves, effort: Effort, *, device: torch.device, seed: int, until: float = np.inf
) -> IntArray:
    """The class of each test light curve by encoder and a linear layer, trained together on a tenth of the labels.

    Stops by the accuracy on the validation light curves. The model's encoder is changed. Raises OutOfTime at the end of
    an epoch if the monotonic clock is past ``until`` [s].
    """
    train, validation, test = (curves.of(split) for split in ("train", "validation", "test"))
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(train.label == label) for label in range(len(curves.classes))]
    some = [rng.permutation(own)[: max(1, round(LABELLED * len(own)))] for own in rows if len(own)]
    few = train.take(np.concatenate(some))
    head = linear(model.d_latent, len(curves.classes)).to(device)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=LEARNING_RATE)
    best, waited, answer = -1.0, 0, np.zeros(len(test), dtype=np.int64)
    for _ in range(effort.tuning_epochs):
        model.train()
        for chosen in _passes(len(few), effort.tuning_steps, rng):
            points, _, labels = few.take(chosen).batch(device)
            loss = F.cross_entropy(head(model.encode(points)), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        score = accuracy(validation.label, answers(head(encoded(model, validation, device))))
        waited = 0 if score > best else waited + 1
        if score > best:
            best, answer = score, answers(head(encoded(model, test, device)))
        if waited == PATIENCE:
            break
        if time.monotonic() > until:
            raise OutOfTime
    return answer


def _passes(n_rows: int, least: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """The batches of one pass over all rows, or of as many as have so many batches together."""
    for _ in range(math.ceil(least / n_batches(n_rows))):
        yield from batches(rng.permutation(n_rows))


def encoded(model: Autoencoder, curves: Curves, device: torch.device) -> Tensor:
    """Latent vectors (N, D)."""
    model.eval()
    with torch.no_grad():
        parts = [model.encode(curves.take(rows).batch(device)[0]) for rows in batches(np.arange(len(curves)))]
    return torch.cat(parts)


def n_batches(n_rows: int) -> int:
    """That so many rows make."""
    return math.ceil(n_rows / BATCH_SIZE)


def batches(rows: IntArray) -> list[IntArray]:
    """Rows in the given order, so many together."""
    return np.array_split(rows, n_batches(len(rows)))


def answers(logits: Tensor) -> IntArray:
    """The likeliest class (N,)."""
    return logits.argmax(dim=1).cpu().numpy()


def accuracy(labels: IntArray, predicted: IntArray) -> float:
    """Mean over the classes of the share that is right [%]: the accuracy on the thesis's test sets of equal classes."""
    n_classes = int(max(labels.max(), predicted.max())) + 1
    recall = Rates.of(confusion(labels, predicted, n_classes)).recall
    return 100 * float(recall[np.unique(labels)].mean())
