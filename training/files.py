"""Files that are there whole or not at all, however a process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which takes its place when the block has ended without an error."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    yield unfinished
    unfinished.replace(path)


def first_written(path: Path, text: str) -> str:
    """What the file says: this text, if it is not there yet. Of processes that start at once, one's is everybody's."""
    own = path.with_name(f"{os.getpid()}.{path.name}")
    own.write_text(text)
    try:
        path.hardlink_to(own)
    except FileExistsError:
        return path.read_text()
    finally:
        own.unlink()
    return text
