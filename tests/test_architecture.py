"""Which part may import which: service -> models <- training, and inside models a road that never turns back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBIDDEN = {
    "models": ("service", "training"),
    "service": ("training",),
    "training": ("service",),
    "models/inputs": ("models.layers", "models.atat", "models.calibration", "models.classifier"),
    "models/layers": ("models.atat", "models.calibration", "models.classifier"),
    "models/atat.py": ("models.calibration", "models.classifier"),
    "models/autoencoders": ("models.atat", "models.calibration", "models.classifier"),
}

WIRE_NAMES = {"psFlux", "psfFlux", "midPointTai", "midpointMjdTai", "filterName"}

ONLY_IN = {"confluent_kafka": "service/kafka", "redis": "service/redis_client.py"}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _sources(part: str) -> list[Path]:
    path = ROOT / part
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert found, part
    return found


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_point_one_way(part: str) -> None:
    for path in _sources(part):
        wrong = {name for name in _imports(path) for banned in FORBIDDEN[part] if f"{name}.".startswith(f"{banned}.")}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_models_know_no_environment_and_no_network() -> None:
    for path in _sources("models"):
        assert not set(_imports(path)) & {"os", "socket", "requests", "httpx", "confluent_kafka", "redis"}, path


def test_one_part_talks_to_each_server() -> None:
    for path in [*_sources("models"), *_sources("service"), *_sources("training")]:
        for library, part in ONLY_IN.items():
            uses = any(name.split(".")[0] == library for name in _imports(path))
            assert not uses or path in _sources(part), f"{path} imports {library}"


def test_only_the_settings_read_the_environment() -> None:
    for path in {*_sources("service"), *_sources("training")} - {ROOT / "service/settings.py"}:
        text = path.read_text()
        assert "os.environ" not in text, path
        assert "getenv" not in text, path


def test_surveys_spell_their_fields_in_one_module() -> None:
    allowed = {
        ROOT / path for path in ("models/inputs/alert.py", "models/inputs/schemas.py", "training/survey/alerts.py")
    }
    for path in [*_sources("models"), *_sources("training")]:
        if path not in allowed:
            wire = WIRE_NAMES & set(path.read_text().split('"'))
            assert not wire, f"{path} spells {wire}"
