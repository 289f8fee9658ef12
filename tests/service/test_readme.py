"""What the README tells users to run does what it says."""

import math
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from models.classifier import Classifier
from tests import alerts
from tests.service.stream import Topics, running

REPOSITORY = Path(__file__).parents[2]


def test_its_consumer_prints_every_classification_also_of_an_alert_with_nothing_to_classify(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=1)
    nothing_left = alerts.datum(alerts.elasticc(alerts.source(5, alerts.FIRST_MJD, flux=math.nan), alert_id=3))
    topics.send([nothing_left, alerts.datum(alerts.elasticc())])
    with running(topics, classifier):
        topics.wait_for(2)
    program = _example(
        {
            '"bootstrap.servers": "kafka:9092"': f'"bootstrap.servers": "{kafka}"',
            '"group.id": "me"': f'"group.id": "{topics.name}-me"',
            'subscribe(["classifications"])': f'subscribe(["{topics.classifications}"])',
        }
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as consumer:
        assert consumer.stdout is not None
        declined, classified = (consumer.stdout.readline() for _ in range(2))
        consumer.kill()
    assert declined == "b'7' not classified 1.0\n"
    assert re.fullmatch(r"b'7' (Ia|II|AGN) 0\.\d+\n", classified)


def _example(values: Mapping[str, str]) -> str:
    """The README's Python, with ours in place of its settings, each of which is there once."""
    (program,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    for shown, ours in values.items():
        before, after = program.split(shown)
        program = before + ours + after
    return str(program)
