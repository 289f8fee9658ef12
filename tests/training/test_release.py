"""A frozen survey: the same whoever makes it, training and test apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.stored.make import OBJECTS, STORED, first_objects
from training.data import layout
from training.errors import InvalidData
from training.survey import cadence, survey
from training.survey.classes import CLASSES
from training.survey.population import TEST, TRAINING, sight_lines
from training.survey.release import Fingerprint, Release


def _small(**values: object) -> Release:
    options = {"training_seed": 1, "training_objects": 40, "test_seed": 2, "test_per_class": 2, "hashes": {}}
    return Release(name="small", **{**options, **values})  # type: ignore[arg-type]


def _hash(release: Release, part: str, *, processes: int = 1) -> str:
    fingerprint = Fingerprint()
    for _ in fingerprint.of(shard.objects for shard in release.part(part, processes=processes)):
        pass
    return fingerprint.hexdigest()


def test_the_hash_tells_another_seed_and_does_not_tell_the_number_of_processes() -> None:
    assert _hash(_small(), "train") == _hash(_small(), "train", processes=2)
    assert _hash(_small(), "train") != _hash(_small(training_seed=3), "train")
    assert _hash(_small(), "train") != _hash(_small(training_objects=41), "train")


def test_the_test_part_can_be_drawn_anew_and_only_with_a_seed_that_nothing_had() -> None:
    again = _small().with_test_seed(77)
    assert _hash(again, "test") != _hash(_small(), "test")
    assert _hash(again, "train") == _hash(_small(), "train")
    for seed in (_small().training_seed, _small().test_seed):
        with pytest.raises(InvalidData, match="already"):
            _small().with_test_seed(seed)


def test_the_hash_covers_splits_and_visits() -> None:
    (shard,) = survey.simulate(5, seed=1)
    assert len({_of(shard), _of(shard, split="validation"), _of(shard, later=1e-3)}) == 3


def _of(shard: survey.Simulated, *, split: str = "train", later: float = 0.0) -> str:
    curves = replace(shard.objects.light_curves, mjd=shard.objects.light_curves.mjd + later)
    objects = replace(shard.objects, light_curves=curves, split=np.full(5, split))
    fingerprint = Fingerprint()
    list(fingerprint.of([objects]))
    return fingerprint.hexdigest()


def test_the_test_part_holds_every_class_equally_and_half_on_sight_lines_that_training_lacks() -> None:
    (test,) = _small().part("test", processes=1)
    classes, counts = np.unique(test.objects.class_id, return_counts=True)
    assert set(classes.tolist()) == set(CLASSES)
    assert set(counts.tolist()) == {2}
    assert set(test.objects.split.tolist()) == {"test"}
    for class_id in CLASSES:
        own = test.objects.source[test.objects.class_id == class_id]
        assert sorted(own.tolist()) == ["simulated", "simulated, held-out sight line"]


def test_the_training_part_has_no_test_objects() -> None:
    splits = {split for shard in _small().part("train", processes=1) for split in shard.objects.split.tolist()}
    assert "test" not in splits
    assert "train" in splits


def test_no_sight_line_is_on_both_sides() -> None:
    everything = cadence.load()
    training, held_out = sight_lines("training"), sight_lines("held out")
    for kind in ("wide", "deep"):
        ours, theirs, both = (
            {(line.ra, line.dec) for line in getattr(part, kind)} for part in (training, held_out, everything)
        )
        assert not ours & theirs
        assert ours | theirs == both
        assert len(theirs) == pytest.approx(len(both) / 5, abs=1)


def test_neighbouring_sight_lines_share_visits_and_so_many_held_out_ones_are_no_strangers() -> None:
    training, held_out = sight_lines("training"), sight_lines("held out")
    shares = {}
    for kind in ("wide", "deep"):
        known = [line.mjd for line in getattr(training, kind)]
        most = [max(np.isin(line.mjd, other).mean() for other in known) for line in getattr(held_out, kind)]
        shares[kind] = float(np.mean(np.array(most) > 0.5))
    assert shares["wide"] == pytest.approx(0.2, abs=0.05)
    assert shares["deep"] == pytest.approx(0.75, abs=0.01)


def test_scarce_classes_are_scarce_in_training_only() -> None:
    rng = np.random.default_rng(0)
    drawn = [TRAINING.draw(rng, number)[0] for number in range(4000)]
    expected = {class_id: each.weight for class_id, each in CLASSES.items()}
    total = sum(expected.values())
    for class_id, weight in expected.items():
        mean = 4000 * weight / total
        assert drawn.count(class_id) == pytest.approx(mean, abs=4 * mean**0.5)
    turns = [TEST.draw(rng, number)[0] for number in range(3 * len(CLASSES))]
    assert {turns.count(class_id) for class_id in CLASSES} == {3}


def test_a_release_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="no release nonsense; there are: "):
        Release.read("nonsense")


def test_stored_objects_come_out_again_to_a_ten_thousandth_of_their_errors() -> None:
    (shard,) = layout.Dataset.open(STORED.parent).shards
    stored, made = layout.Dataset.open(STORED.parent).read(), first_objects()
    assert shard.path == STORED
    assert len(stored) == OBJECTS
    np.testing.assert_array_equal(stored.object_id, made.object_id)
    np.testing.assert_array_equal(stored.class_id, made.class_id)
    for name in ("offsets", "mjd", "band", "detected"):
        np.testing.assert_array_equal(getattr(stored.light_curves, name), getattr(made.light_curves, name))
    difference = np.abs(stored.light_curves.flux - made.light_curves.flux) / stored.light_curves.flux_err
    assert difference.max() <= 1e-4
    np.testing.assert_allclose(stored.light_curves.flux_err, made.light_curves.flux_err, rtol=1e-5)
    np.testing.assert_allclose(stored.metadata, made.metadata, rtol=1e-5)


def test_the_release_is_frozen_with_its_sizes_and_hashes() -> None:
    release = Release.read("elasticc-like-v1")
    assert release.training_objects == 100_000
    assert release.test_per_class == 1000
    assert set(release.hashes) == {"train", "test"}
    assert all(len(digest) == 64 for digest in release.hashes.values())
