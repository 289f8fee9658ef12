"""Training in several processes, as ``torchrun`` starts them: each takes its share of every batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import InvalidData

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """Which of how many processes this is, and the device that it works on."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls, device: str) -> Self:
        """One process. Raises InvalidData where ``torchrun`` started several: each would do, and write, the same."""
        if distributed.is_torchelastic_launched():
            raise InvalidData("torchrun starts several processes, and only train shares its work among them")
        return cls(0, 1, torch.device(device))

    @property
    def leads(self) -> bool:
        """Whether this process evaluates, shows progress and writes files."""
        return self.rank == 0

    def shared(self, module: nn.Module) -> nn.Module:
        """The module, its gradients being averaged over the processes."""
        if self.size == 1:
            return module
        # A batch may reach not every weight: columns' tokens for missing values, where none is missing or wanted.
        return DistributedDataParallel(module, find_unused_parameters=True)

    def agreed(self, value: Value) -> Value:
        """The leading process's value."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world of this process: alone, unless ``torchrun`` started it."""
    if not distributed.is_torchelastic_launched():
        yield World.alone(device)
        return
    place = torch.device(device)
    if device == "cuda":
        place = torch.device(device, distributed.get_node_local_rank())
        torch.cuda.set_device(place)  # from which NCCL sends objects
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()
