"""``python -m tests.stored.make``: write again, for a new release, the objects that the frozen survey is checked by."""

from pathlib import Path

from training.data import layout
from training.survey import survey
from training.survey.population import TEST
from training.survey.release import Release

RELEASE = "elasticc-like-v1"
OBJECTS = 200
STORED = Path(__file__).with_name(f"{RELEASE}.parquet")


def first_objects() -> layout.Objects:
    """The first OBJECTS of the release's test part: ten of every class."""
    return survey.shard(range(OBJECTS), seed=Release.read(RELEASE).test_seed, population=TEST).objects


if __name__ == "__main__":
    layout.write_shard(STORED, first_objects())
