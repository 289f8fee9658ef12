"""``python -m service classify``: a line an alert, in order, whatever else is in the files."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from models.classifier import Classifier
from models.inputs import schemas
from service.__main__ import main
from tests import alerts
from tests.service.confluent import Confluent, answer, without_marks


def _classify(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    code = main(["classify", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A container of three alerts, a bare datum, and the same gzipped."""
    rng = np.random.default_rng(0)
    records = [alerts.random_elasticc(rng, 5 * number, alert_id=2**53 + number) for number in range(1, 5)]
    paths = [tmp_path / name for name in ("three.avro", "one.avro", "one.avro.gz")]
    paths[0].write_bytes(alerts.container(records[:3]))
    paths[1].write_bytes(alerts.datum(records[3]))
    paths[2].write_bytes(gzip.compress(alerts.datum(records[3])))
    return paths


def test_a_line_an_alert_in_input_order(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = _classify(capsys, *files)
    assert code == 0
    assert [line["alertId"] for line in lines] == [str(2**53 + number) for number in (1, 2, 3, 4, 4)]
    one, zipped = ({name: value for name, value in line.items() if name != "probabilities"} for line in lines[3:])
    assert one == zipped
    assert lines[3]["probabilities"] == pytest.approx(lines[4]["probabilities"], abs=1e-6)
    names = Classifier.load().taxonomy.names
    for line in lines:
        assert set(line) == {
            *("alertId", "diaSourceId", "diaObjectId", "probabilities", "predicted"),
            *("nObservations", "branches", "classifier"),
        }
        assert tuple(line["probabilities"]) == names
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert line["predicted"] == max(line["probabilities"], key=line["probabilities"].__getitem__)
        assert line["diaObjectId"] == "7"
        assert line["branches"] == "lc+md"


def test_broken_input_costs_one_clear_line_each_and_the_rest_goes_on(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("mjd,flux\n")
    poison = alerts.elasticc(alerts.source(1, alerts.FIRST_MJD, band="w"))
    (tmp_path / "poisoned.avro").write_bytes(alerts.container([alerts.elasticc(), poison, alerts.elasticc()]))
    broken = [tmp_path / name for name in ("missing", "empty", "text", "poisoned.avro")]
    code, lines, errors = _classify(capsys, *broken, tmp_path, files[1])
    assert code == 1
    assert errors == ""
    failed = [(Path(line["file"]).name, line["index"]) for line in lines if "error" in line]
    assert failed == [("missing", 0), ("empty", 0), ("text", 0), ("poisoned.avro", 1), (tmp_path.name, 0)]
    assert ["error" in line for line in lines] == [True, True, True, False, True, False, True, False]
    assert "unknown band 'w'" in lines[4]["error"]


def test_an_alert_without_object_or_metadata_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trigger = alerts.source(5, alerts.FIRST_MJD) | {"diaObjectId": None}
    (tmp_path / "a.avro").write_bytes(alerts.container([alerts.elasticc(trigger, object_=None)]))
    code, (line,), _ = _classify(capsys, tmp_path / "a.avro")
    assert code == 0
    assert line["diaObjectId"] is None
    assert line["branches"] == "lc"


def test_a_schema_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = tmp_path / "alert.avsc"
    schema.write_text(json.dumps(without_marks(schemas.elasticc()["v0_9_1"])))
    message = tmp_path / "message"
    message.write_bytes(alerts.confluent(alerts.datum(alerts.elasticc()), 31337))
    assert _classify(capsys, message)[0] == 1
    code, (line,), _ = _classify(capsys, message, "--schema", schema)
    assert (code, line["alertId"]) == (0, "1")


@pytest.mark.parametrize(
    "text", ["{}", "5", '{"type": "enum", "name": "e"}', '{"type": "record", "name": "x", "fields": 5}']
)
def test_json_that_is_no_schema_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    schema = tmp_path / "alert.avsc"
    schema.write_text(text)
    code, lines, told = _classify(capsys, schema, "--schema", schema)
    assert (code, lines) == (2, [])
    assert told.startswith(f"error: {schema} is no Avro schema")


def test_a_schema_that_only_the_registry_has_is_asked_for(
    confluent: Confluent, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", confluent.url)
    message = tmp_path / "message"
    message.write_bytes(alerts.confluent(alerts.datum(alerts.elasticc()), 31337))
    confluent.status = 500
    code, (line,), _ = _classify(capsys, message)
    assert (code, line["error"]) == (1, "the schema registry answers 500 for id 31337")
    confluent.status, confluent.body = 200, answer(schemas.elasticc()["v0_9_1"])
    code, (line,), _ = _classify(capsys, message)
    assert (code, line["alertId"]) == (0, "1")


def test_another_prior_can_be_named(tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    names = Classifier.load().taxonomy.names
    (tmp_path / "rates.json").write_text(json.dumps({name: 1000 if name == "AGN" else 1 for name in names}))
    _, (plain, *_), _ = _classify(capsys, files[0])
    code, (weighted, *_), _ = _classify(capsys, "--prior", tmp_path / "rates.json", files[0])
    odds = [each["probabilities"]["AGN"] / each["probabilities"]["Ia"] for each in (plain, weighted)]
    assert code == 0
    assert odds[1] == pytest.approx(1000 * odds[0], rel=1e-3)
    shares = dict(zip(names, Classifier.load().calibration.training_shares, strict=True))
    _, (trained, *_), _ = _classify(capsys, "--prior", "training", files[0])
    kilonovae = [each["probabilities"]["KN"] / each["probabilities"]["Ia"] for each in (plain, trained)]
    assert kilonovae[1] == pytest.approx(kilonovae[0] * shares["KN"] / shares["Ia"], rel=1e-3)
    assert shares["KN"] < shares["Ia"] / 5
    code, lines, err = _classify(capsys, "--prior", tmp_path / "nowhere.json", files[0])
    assert (code, lines) == (2, [])
    assert "nowhere.json" in err


def test_bfloat16_is_a_setting_and_answers_nearly_alike(
    files: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, exact, _ = _classify(capsys, *files)
    monkeypatch.setenv("MODEL_PRECISION", "bfloat16")
    code, narrow, _ = _classify(capsys, *files)
    changes = [
        abs(one["probabilities"][name] - other["probabilities"][name])
        for one, other in zip(exact, narrow, strict=True)
        for name in one["probabilities"]
    ]
    assert code == 0
    assert 0 < max(changes) < 0.1
    monkeypatch.setenv("MODEL_PRECISION", "half")
    code, lines, err = _classify(capsys, *files)
    assert (code, lines) == (2, [])
    assert "MODEL_PRECISION" in err


def test_embed_prints_as_classify_does_with_a_vector_for_the_probabilities(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, classified, _ = _classify(capsys, *files, tmp_path / "missing")
    assert main(["embed", *map(str, files), str(tmp_path / "missing")]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    size = Classifier.load().d_embedding
    for line, other in zip(lines[:-1], classified[:-1], strict=True):
        assert len(line["embedding"]) == size
        assert {**other, **line} == {**line, "probabilities": other["probabilities"]}
    assert lines[-1] == classified[-1]
    assert lines[3]["embedding"] == pytest.approx(lines[4]["embedding"], abs=1e-3)
    assert lines[0]["embedding"] != lines[1]["embedding"]


def test_real_objects_of_a_class_lie_near_each_other_in_the_embedding(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each object's last alert the five nearest others, as README searches for them."""
    kinds = {"Ia": "finksci.gentype10.avro", "II": "finktut.gentype36.avro"}
    vectors: dict[str, tuple[str, list[float]]] = {}
    for kind, name in kinds.items():
        assert main(["embed", str(data / "elasticc/alerts" / name)]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        vectors |= {line["diaObjectId"]: (kind, line["embedding"]) for line in lines if line["branches"] == "lc+md"}
    known = np.array([kind for kind, _ in vectors.values()])
    directions = np.array([vector for _, vector in vectors.values()])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    likeness = directions @ directions.T
    np.fill_diagonal(likeness, -1)
    nearest = np.argsort(-likeness, axis=1)[:, :5]
    for kind in kinds:
        own = known == kind
        assert own.sum() > 100
        by_chance = (own.sum() - 1) / (len(own) - 1)
        assert (known[nearest[own]] == kind).mean() > by_chance + 0.15


def test_what_no_telescope_measures_is_an_error_and_never_a_nan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absurd = alerts.elasticc(alerts.source(1, alerts.FIRST_MJD, flux=1e30, flux_err=1e-30))
    (tmp_path / "a.avro").write_bytes(alerts.container([absurd, alerts.elasticc(alert_id=5)]))
    code, (first, second), _ = _classify(capsys, tmp_path / "a.avro")
    assert code == 1
    assert "a flux that no telescope measures" in first["error"]
    assert second["alertId"] == "5"


def test_a_gpu_that_is_not_there_is_said_before_the_model_is_read(
    files: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["classify", str(files[0]), "--device", "cuda"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: the model is to run on cuda, and PyTorch sees no GPU\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["classify"], ["classify", "x", "--schema", "nowhere.avsc"], ["classify", "x", "--model", "nowhere"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error" in captured.err


def test_a_full_disk_is_one_line(files: list[Path]) -> None:
    command = [sys.executable, "-m", "service", "classify", *map(str, files)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: standard output: No space left on device"
    assert "Traceback" not in done.stderr


def test_standard_output_of_the_real_command_holds_json_lines_only(files: list[Path]) -> None:
    command = [sys.executable, "-m", "service", "classify", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 5


def test_all_real_elasticc_alerts_are_classified_in_order(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((data / "elasticc" / "alerts").glob("*.avro"))
    code, lines, _ = _classify(capsys, *paths)
    assert code == 0
    assert len(lines) == 13_747
    expected: list[int] = []
    for path in paths:
        records: Any = fastavro.reader(io.BytesIO(path.read_bytes()))
        expected += [record["alertId"] for record in records]
    assert [int(line["alertId"]) for line in lines] == expected
    assert np.mean([line["nObservations"] for line in lines]) == pytest.approx(18.9, abs=0.1)
    assert {line["branches"] for line in lines} == {"lc+md"}
    assert all(abs(sum(line["probabilities"].values()) - 1) < 1e-6 for line in lines)


def test_real_single_alerts_of_every_elasticc_version_are_classified(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single = data / "elasticc" / "single"
    names = (
        "11290844.avro",
        "alert_mjd60563.1120_obj104044681_src208089362038.avro.gz",
        "alert_mjd60673.2244_obj1198_src2396011.avro",
        "alert_mjd60674.0512_obj747_src1494043.avro.gz",
    )
    code, lines, _ = _classify(capsys, *(single / name for name in names))
    assert code == 0
    objects = ["11290844"] * 3 + ["104044681", "1198", "747"]
    assert [line["diaObjectId"] for line in lines] == objects


def test_a_broker_output_is_not_an_alert(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, (line, raw), _ = _classify(capsys, *sorted((data / "elasticc" / "single").glob("brokerClassification*.avro")))
    assert code == 1
    assert "not an alert: no diaSource" in line["error"]
    assert "no ELAsTiCC schema reads" in raw["error"]


def test_real_rubin_packets_are_classified_by_the_light_curve(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(data / "lsst" / "rubin_v7_4_avro.tar.gz") as archive:
        packets = [archive.extractfile(member) for member in archive if member.isfile()]
        for number, packet in enumerate(packets):
            assert isinstance(packet, io.BufferedReader)
            (tmp_path / f"{number:03d}.avro").write_bytes(packet.read())
    framed = sorted((data / "lsst" / "confluent").glob("*.avro"))
    code, lines, _ = _classify(capsys, *framed, *sorted(tmp_path.glob("*.avro")))
    assert len(lines) == 103
    saturated = [line for line in lines if "error" in line]
    assert all("saturated" in line["error"] for line in saturated)
    assert (code, len(saturated)) == (1, 14)
    answered = [line for line in lines if "error" not in line]
    assert {line["branches"] for line in answered} == {"lc"}
    assert all(line["alertId"] == line["diaSourceId"] for line in answered)
