"""What importers share: a source becomes one shard, with account of what was left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.data.layout import Objects


@dataclass(frozen=True)
class Source:
    """Files that are read together and become one shard."""

    name: str
    """Of the shard."""
    paths: tuple[Path, ...]

    def fingerprint(self) -> list[tuple[str, int]]:
        """Names and sizes of its files: others, and it is another source."""
        files = [file for path in self.paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        return [(file.name, file.stat().st_size) for file in files if file.is_file()]


@dataclass(frozen=True)
class Imported:
    """The objects of a source."""

    objects: Objects
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What was left out: "points ..." or "objects ..." and why, with how many."""
    noted: Mapping[str, int] = field(default_factory=dict)
    """What was kept, but is worth knowing, with how many."""
    failures: tuple[str, ...] = ()
    """One line for each file of the source that could not be read, while the others could."""
