"""Settings: documented, from the environment or from files, and never quoted."""

from pathlib import Path

import pytest

from service.__main__ import main
from service.errors import Misconfigured
from service.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def test_every_setting_is_documented() -> None:
    text = README.read_text()
    for name in Settings.variables():
        assert f"`{name}`" in text, f"{name} is not in the README"


def test_the_interface_has_the_variables_that_others_script_against() -> None:
    promised = (
        "KAFKA_BOOTSTRAP_SERVERS KAFKA_INPUT_TOPICS KAFKA_OUTPUT_TOPIC KAFKA_DEAD_LETTER_TOPIC KAFKA_GROUP_ID "
        "KAFKA_TRANSACTIONAL_ID REDIS_URL SCHEMA_REGISTRY_URL MODEL_DIR HTTP_HOST HTTP_PORT "
        "HTTP_TOKENS_FILE DEVICE"
    )
    assert set(promised.split()) <= set(Settings.variables())


def test_everything_but_the_addresses_has_a_default() -> None:
    settings = Settings.from_env({})
    assert (settings.kafka_bootstrap_servers, settings.redis_url, settings.schema_registry_url) == (None, None, None)
    assert settings.input_topics == ["alerts"]
    assert settings.http_port == 8000


def test_kafkas_own_options_pass_through() -> None:
    settings = Settings.from_env({"KAFKA_CONFIG_SASL_USERNAME": "me", "KAFKA_BOOTSTRAP_SERVERS": "a:1"})
    assert settings.kafka_clients() == {"sasl.username": "me", "bootstrap.servers": "a:1"}


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    settings = Settings.from_env({"KAFKA_CONFIG_SASL_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.kafka_clients()["sasl.password"] == "hunter2"
    assert "hunter2" not in repr(settings)
    with pytest.raises(Misconfigured, match="REDIS_URL_FILE"):
        Settings.from_env({"REDIS_URL_FILE": str(tmp_path / "nothing")})


def test_a_wrong_value_is_named_and_not_quoted() -> None:
    with pytest.raises(Misconfigured, match="HTTP_PORT") as error:
        Settings.from_env({"HTTP_PORT": "s3cret"})
    assert "s3cret" not in str(error.value)


def test_port_none_means_no_http() -> None:
    assert Settings.from_env({"HTTP_PORT": "none"}).http_port is None


def test_the_help_of_serve_tells_of_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    told = capsys.readouterr().out
    assert [name for name in Settings.variables() if f"  {name} " not in told] == []
