"""``make demo``, with a short night."""

import pytest

from service.__main__ import main
from tests.servers.valkey import skip_without_valkey


def test_the_demo_answers_every_alert_of_its_night_once(capsys: pytest.CaptureFixture[str]) -> None:
    skip_without_valkey()
    assert main(["demo", "--objects", "5"]) == 0
    told = capsys.readouterr().out
    assert "answers out, each once; the service drained with exit code 0" in " ".join(told.split())
