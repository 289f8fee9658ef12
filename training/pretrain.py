"""``python -m training pretrain``: a configuration and light curves in, pretrained weights out, by no label.

Learns from the split ``train`` of the data, with or without classes, and of every ``--unlabelled`` set; never from a
test object. Of fewer objects than all, it takes as many of each class as its share. The scales of the table's columns
are those of the data's own objects. ``train --init`` starts from what it leaves: OUTPUT/NAME, beside the log and, while
it is unfinished, the checkpoint.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from models.arrays import FloatArray
from models.inputs.batch import token_batches
from models.inputs.table import select
from models.network import build, max_tokens
from models.self_supervision import Masked, SelfSupervised
from training import options, pretrained
from training.arguments import count, fold_number, seed_number
from training.data import layout
from training.data.layout import Dataset, Objects
from training.data.selection import select as select_objects
from training.data.unpacked import unpacked
from training.draws import Draws
from training.errors import InvalidData
from training.experiment import CONFIGS, TIERS, Experiment, TrainingConfig, path_of
from training.loop import Judgement, Loop
from training.processes import World

_MASK = 3
"""Tells the numbers of masks from those of draws and of dropout."""

_LEAST_LOSS = 1e-9

_OTHERS = 0.3
"""Of the draws, the share of unlabelled sets beside the data's own objects."""

_JUDGED = 2_000
"""At most so many validation objects, spread evenly over all of them."""


class Pretrainer(Loop[SelfSupervised, Masked]):
    """One run of pretraining in one directory: learns to predict hidden inputs, and leaves weights."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        directory: Path,
        *,
        unlabelled: Sequence[Dataset] = (),
        device: str = "cpu",
    ) -> None:
        """``experiment`` as it is pretrained. Raises InvalidData for data or a network that do not do."""
        config = experiment.training
        self.fingerprint = dataset.index().fingerprint
        self.unlabelled = tuple(each.index().fingerprint for each in unlabelled)
        own, self.validation = _own(dataset, config, directory)
        sets = [own, *(each for each in _others(unlabelled, dataset, config, directory) if len(each))]
        self.train = layout.concatenated(sets) if len(sets) > 1 else own
        self.experiment = experiment
        torch.manual_seed(config.seed)
        own_dropout = {"dropout": experiment.self_supervision.dropout}
        network = build(experiment.architecture, {"n_classes": 1, **experiment.model, **own_dropout})
        if network.config.feature_columns:
            raise InvalidData(f"{experiment.name} sees features: those of unlabelled objects are not at hand")
        sizes = [len(each) for each in sets]
        of_set = np.repeat(np.arange(len(sets)), sizes)
        self.draws = Draws(experiment, network.config, self.train, of_set, tables=None, shares=_shares(sizes))
        self._asked: list[Masked] = []
        try:
            network.fit_scales(select(own.metadata, network.config.columns))
            module = SelfSupervised(network, experiment.self_supervision)
        except ValueError as error:
            raise InvalidData(f"{experiment.name}: {error}") from error
        super().__init__(experiment.name, module, config, directory, World.alone(device))

    # --- as the loop asks -------------------------------------------------------------------------------------------

    def drawn(self, step: int) -> Masked:
        """The step's light curves and tables, masked."""
        examples = self.draws.step(step)
        batch = self.model.network.pack(examples.light_curves, examples.table, examples.has_metadata)
        return self.model.mask(batch, np.random.default_rng((self.config.seed, _MASK, step)))

    def loss(self, drawn: Masked) -> Tensor:
        """The modalities' squared errors together."""
        return torch.stack(list(self._forward(drawn).values())).sum()

    def judge(self, model: SelfSupervised) -> Judgement:
        """The squared errors over validation objects, whole, with the same masks every time.

        What counts is their product, so that neither light curves nor tables, whatever their errors, choose alone.
        """
        if not self._asked:
            self._asked = list(self._masked_validation())
        totals: dict[str, float] = {}
        predicted: dict[str, float] = {}
        model.eval()
        with torch.inference_mode():
            for masked in self._asked:
                for name, loss in model(masked.to(self.world.device)).items():
                    count = float(masked.asked[name].predicted.sum())
                    totals[name] = totals.get(name, 0.0) + float(loss) * count
                    predicted[name] = predicted.get(name, 0.0) + count
        losses = {name: total / max(predicted[name], 1.0) for name, total in totals.items()}
        return Judgement(-sum(math.log(max(loss, _LEAST_LOSS)) for loss in losses.values()), losses)

    def identity(self) -> dict[str, Any]:
        """Options and objects."""
        return {
            "model": self.model.network.config.to_dict(),
            "self_supervision": asdict(self.model.config),
            "training": {**asdict(self.config), "steps": 0},
            "augmentation": asdict(self.experiment.augmentation),
            "objects": [len(self.train), int(self.train.object_id.sum()), len(self.validation)],
            "data": [self.fingerprint, *self.unlabelled],
        }

    def _masked_validation(self) -> Iterator[Masked]:
        shape = self.model.network.config
        curves = self.validation.light_curves
        whole = curves.until(curves.last_detection_mjd(), window_days=shape.window_days).thinned(shape.max_points)
        table = select(self.validation.metadata, shape.columns)
        rng = np.random.default_rng(_MASK)
        network = self.model.network
        limit = max_tokens(self.world.device)
        for rows in token_batches(whole.lengths, max_tokens=limit, row_tokens=network.row_tokens):
            batch = network.pack(whole.take(rows), table[rows], np.ones(len(rows), dtype=np.bool_))
            yield self.model.mask(batch, rng)

    # --- what it leaves ---------------------------------------------------------------------------------------------

    def save(self) -> Path:
        """Write the best weights, and where they come from."""
        self.model.load_state_dict(self.best_weights)
        artifact = self.directory / self.experiment.name
        provenance = {
            "sources": sorted(set(self.train.source.tolist())),
            "data": self.fingerprint,
            "unlabelled": list(self.unlabelled),
            "objects": len(self.train),
            "tier": self.experiment.tier,
            "steps": self.step,
            "best_step": self.best_step,
            "minutes": round(self.seconds / 60, 1),
            "self_supervision": asdict(self.model.config),
            "training": asdict(self.config),
            "augmentation": asdict(self.experiment.augmentation),
            "validation": next(row for row in self.history if row["step"] == self.best_step),
        }
        pretrained.save(artifact, self.model.network, self.experiment.name, provenance)
        return artifact


def _own(dataset: Dataset, config: TrainingConfig, directory: Path) -> tuple[Objects, Objects]:
    """What is learned from of the data themselves, and what it is judged by."""
    selection = select_objects(
        dataset.index(), objects=config.objects, fold=config.fold, left_out=config.left_out, labels=None
    )
    train = unpacked(dataset, selection.train, directory=directory)
    rows = np.flatnonzero(selection.validation)
    judged = np.zeros(len(selection.validation), dtype=np.bool_)
    judged[rows[np.unique(np.linspace(0, len(rows) - 1, _JUDGED).astype(np.int64))] if len(rows) else rows] = True
    validation = unpacked(dataset, judged, directory=directory)
    if not len(train) or not len(validation):
        raise InvalidData(f"{dataset.directory}: no object to learn from, or none to be judged by")
    return train, validation


def _others(unlabelled: Sequence[Dataset], dataset: Dataset, config: TrainingConfig, directory: Path) -> list[Objects]:
    """What is learned from of other sets, less what the data hold out: their objects to validate and to test by."""
    index = dataset.index()
    chosen = select_objects(index, fold=config.fold, left_out=config.left_out, labels=None)
    held_out = index.object_id[~chosen.train]
    found = []
    for other in unlabelled:
        every = select_objects(other.index(), labels=None).train
        found.append(unpacked(other, every & ~np.isin(other.index().object_id, held_out), directory=directory))
    return found


def _shares(sizes: Sequence[int]) -> FloatArray:
    """Of the draws, by set: however large the others are, they do not drown the data's own, which come first."""
    others = np.array(sizes[1:], dtype=np.float64)
    own = 1 - _OTHERS if len(others) else 1.0
    return np.array([own, *(_OTHERS * others / max(others.sum(), 1))])


_OF_SELF_SUPERVISION = ("kind", "eta_pred", "eta_orig", "token", "of", "decoder_sees", "hidden_together")
_OF_TRAINING = ("objects", "steps", "seed", "fold", "left_out", "precision")


# --- the command ----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("config", help=f"a TOML file, or the name of one in {CONFIGS.name}/ (few-labels)")
    parser.add_argument("--data", type=Path, required=True, help="data in the layout")
    parser.add_argument(
        "--unlabelled", type=Path, action="append", default=[], help="more data in the layout; may be given again"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the run: checkpoint, log, weights")
    parser.add_argument(
        "--ssl", dest="kind", choices=("B", "M"), help="predictive tokens to the encoder, or to a decoder"
    )
    parser.add_argument("--eta-pred", type=float, help="probability that an input is predicted")
    parser.add_argument("--eta-orig", type=float, help="probability that one which is predicted is shown all the same")
    parser.add_argument("--token", choices=("learned", "noise"), help="what stands for a hidden column")
    parser.add_argument("--of", choices=("both", "light curve", "table"), help="what is predicted")
    parser.add_argument(
        "--decoder-sees", choices=("tokens", "class token", "class tokens"), help="of what the encoder has made"
    )
    parser.add_argument(
        "--hidden-together", choices=("columns", "groups"), help="hide columns with those that would give them away"
    )
    parser.add_argument("--tier", choices=tuple(TIERS), help="at this size")
    parser.add_argument("--objects", type=count, help="learn from so many of the data (default: the tier's, or all)")
    parser.add_argument("--steps", type=count, help="at most (default: the tier's, or the configuration's)")
    parser.add_argument("--seed", type=seed_number, help="of the weights, the draws and the masks")
    parser.add_argument("--fold", type=fold_number, help="be judged by this fold, learn from the others")
    parser.add_argument(
        "--leave-out",
        type=fold_number,
        dest="left_out",
        metavar="FOLD",
        help="a fold that what starts from it is to be tried on",
    )
    options.add_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    experiment = Experiment.read(path_of(arguments.config))
    if arguments.tier:
        experiment = experiment.at(TIERS[arguments.tier])
    chosen = options.given(arguments, _OF_SELF_SUPERVISION)
    if arguments.kind == "B":  # whatever the configuration says of a decoder, which SSL-B has none of
        chosen = {"decoder_sees": "tokens", **chosen}
    experiment = experiment.supervised_by_itself(**chosen).pretrained()
    experiment = experiment.trained(**options.given(arguments, _OF_TRAINING))
    options.must_not_hold_a_run(arguments.output, resume=arguments.resume)
    pretrain(
        experiment,
        Dataset.open(arguments.data),
        arguments.output,
        unlabelled=[Dataset.open(each) for each in arguments.unlabelled],
        device=arguments.device,
        minutes=arguments.minutes,
        resume=arguments.resume,
        console=Console(stderr=True),
    )
    return 0


def pretrain(
    experiment: Experiment,
    dataset: Dataset,
    output: Path,
    *,
    unlabelled: Sequence[Dataset],
    device: str,
    minutes: float | None,
    resume: bool,
    console: Console,
) -> None:
    """From start to weights, of an experiment as it is pretrained. Raises InvalidData as ``Pretrainer`` does."""
    output.mkdir(parents=True, exist_ok=True)
    pretrainer = Pretrainer(experiment, dataset, output, unlabelled=unlabelled, device=device)
    if resume:
        pretrainer.resume()
    console.print(f"{len(pretrainer.train)} objects to learn from, {len(pretrainer.validation)} to be judged by")
    pretrainer.run(minutes=minutes, console=console)
    console.print(f"best at step {pretrainer.best_step}: {pretrainer.save()}")
