"""Pictures of what an autoencoder has learned: reconstructions (figures 3.3, 3.4, 3.6) and its latent space (3.5)."""

import importlib.util
import warnings

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.autoencoders.autoencoder import Autoencoder
from training import probes
from training.data.curves import Curves
from training.figures import COLOURS

_EXAMPLES = 3
"""Light curves of each class."""
_MOST_CLASSES = 6
_FINE = 400
"""Times at which a reconstruction is drawn."""


def reconstructions(model: Autoencoder, curves: Curves) -> Figure:
    """A row a class: test light curves, and around the reconstruction one standard deviation as estimated."""
    test = curves.of("test")
    labels = np.unique(test.label)[:_MOST_CLASSES]
    figure = Figure(figsize=(4 * _EXAMPLES, 2.4 * len(labels)), layout="constrained")
    axes = figure.subplots(len(labels), _EXAMPLES, squeeze=False, sharex=True)
    for place, label in zip(axes, labels, strict=True):
        for panel, row in zip(place, np.flatnonzero(test.label == label)[:_EXAMPLES], strict=False):
            one = test.take(np.array([row]))
            for band in np.unique(one.band):
                colour = COLOURS[band % len(COLOURS)]
                own = one.band == band
                error = np.sqrt(one.variance[own])
                panel.errorbar(one.time[own], one.value[own], error, fmt=".", color=colour, markersize=4, alpha=0.5)
                time, mean, spread = _decoded(model, one, int(band))
                panel.plot(time, mean, color=colour, linewidth=1, label=curves.bands[band])
                panel.fill_between(time, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
            panel.set_title(curves.classes[label], loc="left", fontsize=9)
            panel.spines[["top", "right"]].set_visible(False)
    if len(curves.bands) > 1:
        axes[0, 0].legend(frameon=False, fontsize=8)
    figure.supxlabel("time: the phase of a folded light curve, or the share of its span", fontsize=10)
    figure.supylabel("value, as the autoencoder sees it", fontsize=10)
    return figure


def _decoded(model: Autoencoder, one: Curves, band: int) -> tuple[NDArray[np.float32], ...]:
    """Times, mean and standard deviation of one light curve's reconstruction in a band, at even times."""
    time = np.linspace(0, 1, _FINE, dtype=np.float32)
    grid = Curves(
        **{
            **vars(one),
            "offsets": np.array([0, _FINE]),
            "time": time,
            "band": np.full(_FINE, band, dtype=np.int8),
            "value": np.zeros(_FINE, dtype=np.float32),
            "variance": np.zeros(_FINE, dtype=np.float32),
        }
    )
    device = next(model.parameters()).device
    with torch.inference_mode():
        decoded = model.decode(model.encode(one.batch(device)[0]), grid.batch(device)[0])
    variance = torch.zeros_like(decoded.mean) if decoded.log_variance is None else decoded.log_variance.exp()
    return time, decoded.mean.cpu().numpy(), variance.sqrt().cpu().numpy()


def has_umap() -> bool:
    """Whether umap-learn, an optional dependency, is installed."""
    return importlib.util.find_spec("umap") is not None


def latent_space(model: Autoencoder, curves: Curves, *, most_epochs: int) -> Figure:
    """The test set's latent vectors under UMAP, coloured by class, and as a linear probe and an MLP see them."""
    device = next(model.parameters()).device
    train, test = curves.of("train"), curves.of("test")
    latent, held_out = probes.encoded(model, train, device), probes.encoded(model, test, device)
    labels = torch.from_numpy(train.label).to(device)
    torch.manual_seed(0)  # as when the first seed was measured
    seen = {"classes": test.label}
    for name, make in probes.PROBES.items():
        probe = probes.fit(make, latent, labels, len(curves.classes), most_epochs=most_epochs).module
        answer = probes.predicted(probe, held_out)
        seen[f"{name} probe, {probes.accuracy(test.label, answer):.1f} %"] = answer
    flat = _flattened(held_out.cpu().numpy())
    figure = Figure(figsize=(13, 4.3), layout="constrained")
    for panel, (title, answer) in zip(figure.subplots(1, len(seen)), seen.items(), strict=True):
        for label, name in enumerate(curves.classes):
            own = flat[answer == label]
            panel.plot(*own.T, ".", markersize=3, color=COLOURS[label % len(COLOURS)], label=name)
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xticks([])
        panel.set_yticks([])
    panel.legend(frameon=False, markerscale=3, fontsize=8)
    return figure


def _flattened(latent: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (N, D) -> places (N, 2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of Tensorflow, which is not needed
        import umap  # noqa: PLC0415 - optional, and slow to import

        reducer = umap.UMAP(n_neighbors=min(15, len(latent) - 1), random_state=0, n_jobs=1)
        return np.asarray(reducer.fit_transform(latent), dtype=np.float32)
