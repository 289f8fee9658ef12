"""The kill test in its shorter form, and that its check catches what is wrong."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.network import Network
from service import pipeline
from service.outputs import broker_classifications
from tests.chaos import check
from tests.chaos.caught import caught
from tests.chaos.check import Ended, Loss
from tests.chaos.reader import Answer, Input
from tests.chaos.run import QUICK, run
from tests.conftest import DATA
from tests.servers.kafka import skip_without_kafka
from tests.servers.valkey import skip_without_valkey
from tests.service.stream import toy_alerts

TOPIC = "alerts"


def test_every_message_is_answered_once_through_crashes_of_worker_kafka_and_redis(
    classifier: Classifier, tmp_path: Path
) -> None:
    skip_without_kafka()
    skip_without_valkey()
    classifier.save(tmp_path / "toy")
    plan = dataclasses.replace(QUICK, model=tmp_path / "toy")
    report = run(plan, seed=20260101, directory=tmp_path / "run", data=DATA)
    assert report.wrong == []
    assert report.figures["answers, as messages"] == report.figures["answers"] == plan.alerts
    assert len(report.struck) == sum(plan.faults.values())


@pytest.mark.parametrize(("kind", "said"), [("sends-first", "answered twice"), ("commits-first", "missing")])
def test_a_worker_without_transactions_is_caught(
    kafka: str, classifier: Classifier, tmp_path: Path, kind: str, said: str
) -> None:
    classifier.save(tmp_path / "toy")
    _, wrong = caught(kind, kafka, tmp_path, model=tmp_path / "toy", seed=1, tries=3)
    assert any(said in line for line in wrong), wrong


# --- the check, without servers -----------------------------------------------------------------------------------


def _answered(
    classifier: Classifier, n: int, *, history: str = "full", ingested_ms: int = 1000
) -> tuple[list[Input], list[Answer]]:
    """Messages of one object, and what the model says of each alone, called ``history``."""
    values, _ = toy_alerts(n, objects=1)
    decoded = alert_batch([avro.unread(value) for value in values])
    classified = pipeline.answer(classifier, decoded).classified
    assert len(classified.alerts) == n
    written = broker_classifications(
        classified,
        classifier,
        broker=("toy", "1"),
        published_ms=[0] * n,
        ingested_ms=ingested_ms,
        full_history=np.full(n, history == "full"),
    )
    asked, answers = [], []
    for offset, value in enumerate(written):
        origin = (TOPIC, 0, offset)
        asked.append(Input(origin, b"1", values[offset]))
        answers.append(Answer("out", 0, offset, b"1", value, origin, 0, history, "1-1"))
    return asked, answers


def test_the_check_counts_what_is_missing_double_or_foreign(classifier: Classifier) -> None:
    asked, answers = _answered(classifier, 5)
    assert check.wrong_counts(asked, answers) == []
    assert check.wrong_counts(asked, answers[1:]) == ["1 missing: ('alerts', 0, 0)"]
    assert check.wrong_counts(asked, [*answers, answers[2]]) == ["1 answered twice: ('alerts', 0, 2)"]
    assert check.wrong_counts(asked[:-1], answers) == ["1 answered and never asked: ('alerts', 0, 4)"]


def test_the_check_sees_a_wrong_order_within_a_partition_and_an_object_only(classifier: Classifier) -> None:
    _, answers = _answered(classifier, 3)
    assert check.out_of_order(answers) == []
    assert check.out_of_order([answers[1], answers[0]]) == ["1 out of order: ('alerts', 0, 0)"]
    assert check.out_of_order([answers[1], dataclasses.replace(answers[0], key=b"2")]) == []
    assert check.out_of_order([answers[1], dataclasses.replace(answers[0], partition=1)]) == []


def test_the_check_sees_a_transaction_that_is_half_visible() -> None:
    assert check.torn({"a": 3, "b": 2}, {"a": 3, "b": 2, "aborted": 7}) == []
    assert check.torn({"a": 2}, {"a": 3}) == ["1 half visible: a (2 of 3)"]


def test_the_check_tells_where_each_of_two_answers_is(classifier: Classifier) -> None:
    _, answers = _answered(classifier, 2)
    again = dataclasses.replace(answers[1], offset=7, transaction="1-2")
    aborted = dataclasses.replace(answers[1], offset=5, transaction="1-0")
    assert check.told_of_doubles(answers, answers) == []
    assert check.told_of_doubles([*answers, again], [*answers, aborted, again]) == [
        "('alerts', 0, 1) as committed: out/0@1 of 1-1; out/0@7 of 1-2",
        "('alerts', 0, 1) as in the log: out/0@1 of 1-1; out/0@5 of 1-0; out/0@7 of 1-2",
    ]


def test_the_check_reads_in_kafkas_log_which_transactions_it_did_not_end() -> None:
    line = (
        "00:14:18.964 INFO [Transaction Marker Channel Manager 1]: Couldn't find leader endpoint for partitions "
        "Set(__consumer_offsets-0, out-2) while trying to send transaction markers for run-worker-1, these partitions "
        "are likely deleted already and hence can be skipped"
    )
    assert check.ends_left_out(f"started\n{line}\n") == ["1 ends of transactions that Kafka left out: run-worker-1"]
    assert check.ends_left_out("started\n") == []


def test_the_check_sees_workers_that_crashed() -> None:
    fatal = "ERROR service.serve fatal, with no batch committed in part: "
    refused = Ended("a.1", 1, refused=True, without_kafka=False, log=f"{fatal}fenced")
    by_kafka = Ended("b.1", 1, refused=False, without_kafka=True, log=f"{fatal}Broker: Unknown Producer Id")
    assert check.crashed([refused, by_kafka]) == []
    for other in (
        {"without_kafka": False},
        {"code": -11},
        {"log": "Traceback"},
        {"log": f"{fatal}the model fails on everything"},
    ):
        (told,) = check.crashed([refused, dataclasses.replace(by_kafka, **other)])
        assert told.startswith("1 ended by themselves: b.1 with exit code ")


def test_the_check_sees_poison_that_was_classified_and_an_alert_that_was_not(classifier: Classifier) -> None:
    asked, answers = _answered(classifier, 3)
    dead = dataclasses.replace(answers[1], history=None)
    assert check.wrong_outcomes(asked, [answers[0], dead, answers[2]], poison=frozenset([asked[1].value])) == []
    assert check.wrong_outcomes(asked, answers, poison=frozenset([asked[1].value])) == [
        "1 poison that was classified: ('alerts', 0, 1)"
    ]
    assert check.wrong_outcomes(asked, [dead], poison=frozenset()) == ["1 alerts that were refused: ('alerts', 0, 1)"]


def test_the_check_sees_probabilities_that_are_not_those_of_an_undisturbed_run(classifier: Classifier) -> None:
    asked, answers = _answered(classifier, 4)
    same = check.compared(asked, answers, answers, classifier=classifier, losses=[])
    assert (same.full, same.alone, same.excused, same.wrong) == (4, 0, 0, [])
    _, different = _answered(_other(classifier), 4)
    told = check.compared(asked, different, answers, classifier=classifier, losses=[])
    assert told.wrong
    assert told.wrong[0].startswith("4 not as in an undisturbed run")
    _, alone = _answered(classifier, 4, history="alert_only")
    assert check.compared(asked, alone, answers, classifier=classifier, losses=[]).alone == 4
    different_alone = [dataclasses.replace(answer, history="alert_only") for answer in different]
    told = check.compared(asked, different_alone, answers, classifier=classifier, losses=[])
    assert told.wrong
    assert told.wrong[0].startswith("4 not as the alert alone")


def _other(classifier: Classifier) -> Classifier:
    """A model that says something else."""
    torch.manual_seed(6)
    config = ATATConfig.from_dict({"n_classes": 3, "d_lc": 16, "d_tab": 16, "harmonics": 4, "flux_encoding": "asinh"})
    network = Network(ATAT(config))
    return Classifier(network, taxonomy=classifier.taxonomy, calibration=UNCALIBRATED, name="other", version="1")


def test_only_what_a_loss_of_redis_took_from_a_history_excuses_a_difference(classifier: Classifier) -> None:
    asked, answers = _answered(classifier, 4)
    longer = [_with_observations(answer, 9) for answer in answers]
    assert check.compared(asked, answers, longer, classifier=classifier, losses=[]).wrong
    loss = Loss(900, 1100)
    excused = check.compared(asked, answers, longer, classifier=classifier, losses=[loss])
    assert (excused.excused, excused.wrong) == (4, [])
    assert check.compared(asked, answers, longer, classifier=classifier, losses=[Loss(99_000, 99_100)]).wrong


def _with_observations(answer: Answer, count: int) -> Answer:
    """The same with so many observations; of one digit, or Avro's lengths would no longer hold."""
    assert b'"nObservations": 1,' in answer.value
    return dataclasses.replace(
        answer, value=answer.value.replace(b'"nObservations": 1,', f'"nObservations": {count},'.encode())
    )
