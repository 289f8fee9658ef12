"""What a survey needs, from what was measured: the arithmetic of deploy/CAPACITY.md."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import capacity
from tests.benchmarks.capacity import Survey, needs, redis_bytes


@pytest.fixture
def bench() -> dict[str, Any]:
    """A bench.json of round numbers: 1,000 alerts a second of each of two workers, and a burst at 800."""
    stream = {
        "all_per_second": 2000.0,
        "all_burst_40000_seconds": 25.0,
        "all_service_cpu_microseconds": 1000.0,
        "all_kafka_cpu_microseconds": 100.0,
        "all_redis_cpu_microseconds": 50.0,
    }
    return {
        "machine": {"processor": "a processor", "cores": 2},
        "stream": {
            "workers": 2,
            **{f"{model}_{name}": value for model in ("thesis", "shipped") for name, value in stream.items()},
        },
        "history": {"bytes_per_point": 40.0, "bytes_per_latest": 400.0},
    }


def test_workers_bear_the_night_and_the_burst_with_room_to_spare(bench: dict[str, Any]) -> None:
    survey = Survey(alerts=36e6, hours=10, burst=40_000, visit_seconds=40, use=0.5)
    found = needs(bench, "thesis", survey)
    assert found.workers_night == 2  # 1,000/s, where each is given 500/s
    assert found.workers_burst == 3  # 1,000/s, where each is given 400/s
    assert (found.workers, found.partitions) == (3, 6)
    assert found.cores == pytest.approx({"service": 2.0, "kafka": 0.2, "redis": 0.1})
    assert found.gpus is None


def test_a_worker_twice_as_fast_is_needed_half_as_often(bench: dict[str, Any]) -> None:
    fast = copy.deepcopy(bench)
    fast["stream"]["thesis_all_per_second"] *= 2
    fast["stream"]["thesis_all_burst_40000_seconds"] /= 2
    survey = Survey(alerts=10e9)
    slow_needs, fast_needs = (needs(one, "thesis", survey).workers_night for one in (bench, fast))
    assert fast_needs == pytest.approx(slow_needs / 2, abs=1)


def test_gpus_are_told_where_a_gpu_was_measured(bench: dict[str, Any]) -> None:
    bench["inference"] = {"thesis_all_cuda_float32_per_second": 1500.0}
    assert needs(bench, "thesis", Survey(burst=40_000, visit_seconds=40, use=0.5)).gpus == 2
    assert needs(bench, "shipped", Survey()).gpus is None


def test_redis_holds_every_objects_points_and_its_latest_classification(bench: dict[str, Any]) -> None:
    assert redis_bytes(bench, objects=10e9, points=20) == 12e12


def test_the_command_prints_both_models_and_says_what_it_misses(
    bench: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench))
    monkeypatch.setattr(sys, "argv", ["capacity", str(path), "--objects", "1e9"])
    capacity.main()
    printed = capsys.readouterr().out
    told = ("shipped", "thesis", "partitions", "1,000,000,000", "not measured", "a worker has 1 core of")
    assert all(word in printed for word in told)
    path.write_text(json.dumps({name: value for name, value in bench.items() if name != "history"}))
    with pytest.raises(SystemExit, match="history"):
        capacity.main()
