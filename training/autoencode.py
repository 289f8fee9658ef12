"""Training of one autoencoder, and every figure of what it has learned."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.arrays import IntArray
from models.autoencoders.autoencoder import Autoencoder
from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.losses import LOSSES, mean_squared_error
from training import probes
from training.data.curves import Curves
from training.errors import Diverged, OutOfTime
from training.files import replacing
from training.probes import LEARNING_RATE, PATIENCE, Effort, OnlineProbes

CONVERGED = "converged"
"""Of what is measured: 1 where training ended by itself."""
FINE_TUNED = "fine-tuned"
SCALED_LINEAR = "scaled-linear"
"""Of a linear probe on latent vectors of zero mean and unit variance: whether what it is asked of is there at all."""


@dataclass(frozen=True)
class Trained:
    """An autoencoder at its best epoch, and the probes that learned beside it."""

    model: Autoencoder
    online: OnlineProbes
    epochs: int
    converged: bool
    """Whether the error had stopped falling, or else the last epoch came before."""


def train(
    config: AutoencoderConfig,
    curves: Curves,
    *,
    most_epochs: int,
    seed: int,
    device: torch.device,
    patience: int = PATIENCE,
    checkpoint: Path | None = None,
    until: float = np.inf,
) -> Trained:
    """Until the mean squared error on the training set, as it goes, has not fallen for ``patience`` epochs (3.3.4).

    The error stops it whatever the loss, and the weights of the best epoch are kept. With a checkpoint it goes on with
    the epoch after the last one written there, to the same end. Raises OutOfTime at the end of an epoch if the
    monotonic clock is past ``until`` [s], and Diverged.
    """
    torch.manual_seed(seed)
    own = curves.of("train")
    model = Autoencoder(config).to(device)
    online = OnlineProbes(model.d_latent, len(curves.classes), device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    progress = _Progress(nn.ModuleList([model, *online.modules.values()]), [optimizer, online.optimizer])
    if checkpoint is not None and checkpoint.exists():
        progress.load(checkpoint, device)
    while progress.epochs < most_epochs and progress.waited < patience:
        order = np.random.default_rng([seed, progress.epochs]).permutation(len(own))
        error = _epoch(model, online, optimizer, own, order=order, device=device)
        progress.told(error)
        if checkpoint is not None:
            progress.save(checkpoint)
        if time.monotonic() > until:
            raise OutOfTime
    progress.modules.load_state_dict(progress.best)
    return Trained(model.eval(), online, progress.epochs, progress.waited >= patience)


def _epoch(
    model: Autoencoder,
    online: OnlineProbes,
    optimizer: torch.optim.Optimizer,
    own: Curves,
    *,
    order: IntArray,
    device: torch.device,
) -> float:
    """One pass over the training set; its squared error, summed over the light curves."""
    model.train()
    error = 0.0
    for rows in probes.batches(order):
        points, variance, labels = own.take(rows).batch(device)
        latent, reconstruction = model(points)
        loss = LOSSES[model.config.loss].of(reconstruction, points, variance).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        online.learn(latent, labels)
        with torch.no_grad():
            error += float(mean_squared_error(reconstruction, points, variance).sum())
    return error


class _Progress:
    """How far training has come, what was best, and both in a file."""

    def __init__(self, modules: nn.ModuleList, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.modules = modules
        self.optimizers = optimizers
        self.epochs = 0
        self.waited = 0
        self.least = np.inf
        self.best: dict[str, Tensor] = _copy(modules)

    def told(self, error: float) -> None:
        """An epoch ended with this error. Raises Diverged if it is none."""
        if not np.isfinite(error):
            raise Diverged(f"in epoch {self.epochs + 1} training has diverged: the squared error is {error}")
        self.epochs += 1
        self.waited = 0 if error < self.least else self.waited + 1
        if error < self.least:
            self.least, self.best = error, _copy(self.modules)

    def save(self, path: Path) -> None:
        """In one move: a killed process leaves the file of the epoch before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = {"epochs": self.epochs, "waited": self.waited, "least": self.least}
        tensors = {"now": self.modules.state_dict(), "best": self.best}
        with replacing(path) as unfinished:
            torch.save({**numbers, **tensors, "optimizers": [one.state_dict() for one in self.optimizers]}, unfinished)

    def load(self, path: Path, device: torch.device) -> None:
        """The inverse of ``save``."""
        stored = torch.load(path, map_location=device, weights_only=True)
        self.epochs, self.waited, self.least = stored["epochs"], stored["waited"], stored["least"]
        self.best = stored["best"]
        self.modules.load_state_dict(stored["now"])
        for optimizer, state in zip(self.optimizers, stored["optimizers"], strict=True):
            optimizer.load_state_dict(state)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def measure(
    trained: Trained,
    curves: Curves,
    effort: Effort,
    *,
    seed: int,
    device: torch.device,
    fine_tune: bool,
    until: float = np.inf,
) -> dict[str, float]:
    """Every metric of 3.3.3 on the test set [%], and the mean squared error.

    Fine-tuning changes the model, and needs validation light curves. Raises Diverged, and, as ``train`` does,
    OutOfTime: between two metrics, or two epochs of fine-tuning.
    """
    torch.manual_seed(seed)
    train_set, test = curves.of("train"), curves.of("test")
    n_classes = len(curves.classes)
    latent, held_out = (probes.encoded(trained.model, each, device) for each in (train_set, test))
    if not (latent.isfinite().all() and held_out.isfinite().all()):  # the last step of an epoch shows in no error
        raise Diverged("in its best epoch training has diverged: latent vectors are no numbers")
    labels = torch.from_numpy(train_set.label).to(device)
    figures = {"mse": reconstruction_error(trained.model, test, device), "epochs": float(trained.epochs)}
    figures[CONVERGED] = float(trained.converged)
    for name, make in probes.PROBES.items():
        if time.monotonic() > until:
            raise OutOfTime
        offline = probes.fit(make, latent, labels, n_classes, most_epochs=effort.probe_epochs)
        figures[f"{name}-{CONVERGED}"] = float(offline.converged)
        for key, probe in ((name, offline.module), (f"online-{name}", trained.online.modules[name])):
            figures[key] = probes.accuracy(test.label, probes.predicted(probe, held_out))
    centre, spread = latent.mean(dim=0), latent.std(dim=0).clamp_min(torch.finfo(latent.dtype).tiny)
    scaled, scaled_held_out = ((vectors - centre) / spread for vectors in (latent, held_out))
    probe = probes.fit(probes.linear, scaled, labels, n_classes, most_epochs=effort.probe_epochs).module
    figures[SCALED_LINEAR] = probes.accuracy(test.label, probes.predicted(probe, scaled_held_out))
    figures["neighbours"] = probes.accuracy(test.label, probes.neighbours(latent, labels, held_out))
    if fine_tune:
        tuned = probes.fine_tuned(trained.model, curves, effort, device=device, seed=seed, until=until)
        figures[FINE_TUNED] = probes.accuracy(test.label, tuned)
    return figures


def reconstruction_error(model: Autoencoder, curves: Curves, device: torch.device) -> float:
    """Eq. 3.1, the mean over light curves."""
    total = 0.0
    with torch.inference_mode():
        for rows in probes.batches(np.arange(len(curves))):
            points, variance, _ = curves.take(rows).batch(device)
            total += float(mean_squared_error(model(points)[1], points, variance).sum())
    return total / len(curves)
