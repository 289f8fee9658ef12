"""Training of one autoencoder, and every figure of what it has learned."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.autoencoders.autoencoder import Autoencoder
from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.losses import LOSSES, mean_squared_error
from training import probes
from training.data.curves import Curves
from training.probes import BATCH_SIZE, LEARNING_RATE, PATIENCE, OnlineProbes


@dataclass(frozen=True)
class Trained:
    """An autoencoder at its best epoch, and the probes that learned beside it."""

    model: Autoencoder
    online: OnlineProbes
    epochs: int


def train(config: AutoencoderConfig, curves: Curves, *, most_epochs: int, seed: int, device: torch.device) -> Trained:
    """Until the mean squared error on the training set, as it goes, no longer falls (3.3.4).

    The error stops it whatever the loss, and the weights of the best epoch are kept.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    own = curves.of("train")
    model = Autoencoder(config).to(device)
    online = OnlineProbes(model.d_latent, len(curves.classes), device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of = LOSSES[config.loss]
    best, waited, epochs = np.inf, 0, 0
    kept: list[dict[str, Tensor]] = []
    for epochs in range(1, most_epochs + 1):  # noqa: B007 - how many it took
        model.train()
        error = 0.0
        for rows in np.array_split(rng.permutation(len(own)), -(-len(own) // BATCH_SIZE)):
            points, variance, labels = own.take(rows).batch(device)
            latent, reconstruction = model(points)
            loss = loss_of(reconstruction, points, variance).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            online.learn(latent, labels)
            with torch.no_grad():
                error += float(mean_squared_error(reconstruction, points, variance).sum())
        waited = 0 if error < best else waited + 1
        if error < best:
            best, kept = error, [_copy(each) for each in (model, *online.modules.values())]
        if waited == PATIENCE:
            break
    for module, state in zip((model, *online.modules.values()), kept, strict=True):
        module.load_state_dict(state)
    return Trained(model.eval(), online, epochs)


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def measure(trained: Trained, curves: Curves, *, most_epochs: int, seed: int, device: torch.device) -> dict[str, float]:
    """Every metric of 3.3.3 on the test set [%], and the mean squared error. Fine-tuning changes the model.

    Fine-tuning needs validation light curves, and is left out where there are none.
    """
    torch.manual_seed(seed)
    train_set, test = curves.of("train"), curves.of("test")
    n_classes = len(curves.classes)
    latent, held_out = (probes.encoded(trained.model, each, device) for each in (train_set, test))
    labels = torch.from_numpy(train_set.label).to(device)
    figures = {"mse": reconstruction_error(trained.model, test, device), "epochs": float(trained.epochs)}
    for name, make in probes.PROBES.items():
        fitted = probes.fit(make, latent, labels, n_classes, most_epochs=most_epochs)
        with torch.inference_mode():
            online = probes.answers(trained.online.modules[name](held_out))
        figures[name] = probes.accuracy(test.label, fitted.predict(held_out))
        figures[f"online-{name}"] = probes.accuracy(test.label, online)
    figures["neighbours"] = probes.accuracy(test.label, probes.neighbours(latent, labels, held_out))
    if (curves.split == "validation").any():
        tuned = probes.fine_tuned(trained.model, curves, device=device, most_epochs=most_epochs, seed=seed)
        figures["fine-tuned"] = probes.accuracy(test.label, tuned)
    return figures


def reconstruction_error(model: Autoencoder, curves: Curves, device: torch.device) -> float:
    """Eq. 3.1, the mean over light curves."""
    total = 0.0
    with torch.inference_mode():
        for rows in probes.batches(len(curves)):
            points, variance, _ = curves.take(rows).batch(device)
            total += float(mean_squared_error(model(points)[1], points, variance).sum())
    return total / len(curves)
