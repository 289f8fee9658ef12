"""Weights that supervised training starts from, whole, in part, or frozen: pretrained ones, or a trained model's."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.classifier import DESCRIPTION
from models.network import AnyATAT
from training.errors import InvalidData
from training.experiment import TrainingConfig
from training.files import replacing

_WEIGHTS, _PRETRAINED = "weights.safetensors", "pretrained.json"
_LEARNED_WITH_LABELS = ("n_classes", "dropout")
"""What may differ between a network as pretrained and as trained."""

_LINEAGE = ("data", "unlabelled", "training", "init")
"""Of a provenance, what tells from which objects it learned."""

_UNLEARNED = {"light curve": "tab.", "table": "lc."}
"""By what alone self-supervision was of: the branch that it left as it was drawn."""

_HEADS = re.compile(r"(lc_|tab_|mix_)?head\.")
_BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.")


@dataclass(frozen=True)
class Pretrained:
    """What a network has learned, with labels or without: everything but the heads of classes."""

    name: str
    sha256: str
    """Of the weights."""
    kind: str
    architecture: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    provenance: Mapping[str, Any]
    blocks: int | None = None
    """How many blocks of each transformer are taken over, beside what makes tokens of inputs; None for all."""
    frozen: int | None = None
    """How many of them do not learn any more, nor does what makes tokens; None where everything learns."""

    @classmethod
    def read(cls, directory: Path, *, blocks: int | None = None, frozen: int | None = None) -> Self:
        """Of ``training pretrain``, or of a model's artifact.

        Raises InvalidData for a directory that has none, or more frozen blocks than are taken over.
        """
        trained = directory / DESCRIPTION
        try:
            description = json.loads((trained if trained.exists() else directory / _PRETRAINED).read_text())
            weights = load_file(directory / _WEIGHTS)
            digest = hashlib.sha256((directory / _WEIGHTS).read_bytes()).hexdigest()
            name, kind, architecture = (description[key] for key in ("name", "kind", "architecture"))
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise InvalidData(f"{directory} has no weights to start from: {error}") from error
        if min(blocks or 0, frozen or 0) < 0:
            raise InvalidData("a number of blocks is not negative")
        if blocks is not None and (frozen or 0) > blocks:
            raise InvalidData(f"{frozen} blocks cannot stay as pretrained where {blocks} are taken over")
        body = {name: tensor for name, tensor in weights.items() if not _HEADS.match(name)}
        return cls(name, digest, kind, architecture, body, description.get("provenance", {}), blocks, frozen)

    def must_not_have_seen(self, data: str, config: TrainingConfig) -> None:
        """Raises InvalidData if, of these very data (``Index.fingerprint``), it learned from what a run holds out.

        So it is with whatever it started from itself.
        """
        for provenance in _lineage(self.provenance):
            learned = provenance.get("training", {})
            if data in provenance.get("unlabelled", ()) and (config.fold, config.left_out) != (None, None):
                raise InvalidData(f"{self.name} learned from all folds of these data, and this run holds one out")
            for what, told in (("fold", "--fold"), ("left_out", "--leave-out")):
                here, there = getattr(config, what), learned.get(what)
                if provenance.get("data") == data and here != there:
                    raise InvalidData(
                        f"{self.name} learned from these data with {told} {there}, and this run has {told} {here}: "
                        "it may have seen what that holds out"
                    )

    def start(self, network: AnyATAT) -> None:
        """Give a network these weights, the scales of its table among them, and freeze what is to be.

        A branch that self-supervision has not seen is never frozen: its weights are chance.

        Raises InvalidData for a network of another architecture.
        """
        here, there = ({**each} for each in (network.config.to_dict(), self.architecture))
        for name in _LEARNED_WITH_LABELS:
            here.pop(name), there.pop(name)
        # As JSON has it, in which tuples are lists.
        here = json.loads(json.dumps(here))
        different = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        if self.kind != network.kind or different:
            told = ", ".join(f"{name} {there.get(name)} against {here.get(name)}" for name in sorted(different))
            raise InvalidData(f"{self.name} was trained as another network: {told or self.kind}")
        taken = {name: tensor for name, tensor in self.weights.items() if _within(name, self.blocks)}
        network.load_state_dict(taken, strict=False)
        if self.frozen is not None:
            unlearned = _UNLEARNED.get(self.provenance.get("self_supervision", {}).get("of"), "none")
            for name, parameter in network.named_parameters():
                is_learned = name in taken and not name.startswith(unlearned)
                parameter.requires_grad_(not (is_learned and _within(name, self.frozen)))

    def describe(self) -> dict[str, Any]:
        """As a checkpoint and an artifact tell of it."""
        told = {"name": self.name, "sha256": self.sha256, "blocks": self.blocks, "frozen": self.frozen}
        return {**told, "provenance": {name: self.provenance[name] for name in _LINEAGE if name in self.provenance}}


def _lineage(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A provenance, that of what it started from, and so on."""
    yield provenance
    if "init" in provenance:
        yield from _lineage(provenance["init"].get("provenance", {}))


def save(directory: Path, network: AnyATAT, name: str, provenance: Mapping[str, Any]) -> None:
    """Write a network's weights, less the heads of classes, then what they are."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not _HEADS.match(name)
    }
    save_file(tensors, directory / _WEIGHTS)
    description = {
        "name": name,
        "kind": network.kind,
        "architecture": network.config.to_dict(),
        "provenance": dict(provenance),
    }
    with replacing(directory / _PRETRAINED) as unfinished:
        unfinished.write_text(json.dumps(description, indent=1) + "\n")


def is_done(directory: Path) -> bool:
    """Whether it has been pretrained to the end: what describes it is written last."""
    return (directory / _PRETRAINED).exists()


def _within(name: str, blocks: int | None) -> bool:
    """Whether a tensor makes tokens, or is of one of the first so many blocks."""
    found = _BLOCK.search(name)
    return blocks is None or found is None or int(found[1]) < blocks
