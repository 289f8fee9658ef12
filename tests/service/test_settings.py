"""Settings: documented, from the environment or from files, and never quoted."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from service.__main__ import main
from service.errors import Misconfigured
from service.settings import Settings, process_environment

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


def test_options_whose_names_are_odd_pass_through_too() -> None:
    """Made with them, a client of librdkafka's knows them all."""
    key = {"KAFKA_CONFIG_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE": "key.pem"}
    settings = Settings.from_env({**key, "KAFKA_CONFIG_LOG_LEVEL": "6", "KAFKA_BOOTSTRAP_SERVERS": "a:1"})
    Producer(settings.kafka_clients())
    assert settings.kafka_clients()["sasl.oauthbearer.assertion.private.key.file"] == "key.pem"


@pytest.mark.parametrize("name", ["KAFKA_CONFIG_SASL_PASSWORD", "REDIS_URL", "SCHEMA_REGISTRY_URL"])
def test_secrets_are_not_shown(name: str) -> None:
    settings = Settings.from_env({name: "redis://:hunter2@a:1", "KAFKA_GROUP_ID": "shown"})
    assert "shown" in repr(settings)
    assert "hunter2" not in f"{settings!r} {settings}"


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    settings = Settings.from_env({"KAFKA_CONFIG_SASL_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.kafka_clients()["sasl.password"] == "hunter2"
    (tmp_path / "password").write_text("hunter3\n")
    assert settings.renewed().kafka_clients()["sasl.password"] == "hunter3"
    (tmp_path / "password").write_text("")  # as it is for a moment, where it is not replaced in one move
    assert settings.renewed() == settings
    (tmp_path / "password").unlink()
    assert settings.renewed() == settings


def test_only_how_it_logs_in_is_read_again_from_files(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL")}
    for path in files.values():
        path.write_text("redis://:old@a:1")
    settings = Settings.from_env({f"{name}_FILE": str(path) for name, path in files.items()})
    for path in files.values():
        path.write_text("redis://:new@a:1")
    renewed = settings.renewed()
    assert renewed.redis_url == "redis://:new@a:1"
    assert renewed.kafka_bootstrap_servers == settings.kafka_bootstrap_servers  # another cluster has other offsets
    both = {"REDIS_URL": "redis://one", "REDIS_URL_FILE": str(tmp_path / "password")}
    with pytest.raises(Misconfigured, match="REDIS_URL and REDIS_URL_FILE are both set"):
        Settings.from_env(both)
    assert Settings.from_env({**both, "REDIS_URL_FILE": ""}).redis_url == "redis://one"
    with pytest.raises(Misconfigured, match="REDIS_URL_FILE"):
        Settings.from_env({"REDIS_URL_FILE": str(tmp_path / "nothing")})


def test_the_processs_own_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "address").write_text("redis://production")
    (tmp_path / ".env").write_text(f"REDIS_URL_FILE={tmp_path / 'address'}\nKAFKA_CONFIG_SECURITY_PROTOCOL=SSL\n")
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env().redis_url == "redis://production"
    monkeypatch.setenv("REDIS_URL", "redis://trial")
    assert Settings.from_env().redis_url == "redis://trial"
    (tmp_path / "address").unlink()
    assert Settings.from_env().redis_url == "redis://trial"
    for name, value in process_environment(REDIS_URL="redis://demo").items():
        monkeypatch.setenv(name, value)
    demo = Settings.from_env()
    assert (demo.redis_url, demo.kafka_clients()) == ("redis://demo", {"bootstrap.servers": None})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"KAFKA_INPUT_TOPICS": "alerts,dead-letters"}, "dead-letters: "),
        ({"KAFKA_INPUT_TOPICS": "a,b,a"}, "a: "),
        ({"KAFKA_OUTPUT_TOPIC": "alerts"}, "alerts: "),
        ({"KAFKA_DEAD_LETTER_TOPIC": "classifications"}, "classifications: "),
        ({"KAFKA_INPUT_TOPICS": " , "}, "KAFKA_INPUT_TOPICS names no topic"),
    ],
)
def test_what_is_published_is_not_read_again(values: dict[str, str], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        Settings.from_env(values)


def test_a_wrong_value_is_named_and_not_quoted() -> None:
    with pytest.raises(Misconfigured, match="HTTP_PORT") as error:
        Settings.from_env({"HTTP_PORT": "s3cret"})
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("name", ["HISTORY_DAYS", "DRAIN_SECONDS", "BATCH_SECONDS", "ALERT_DAYS_AHEAD"])
def test_no_time_is_without_end(name: str) -> None:
    with pytest.raises(Misconfigured, match=name):
        Settings.from_env({name: "inf"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KAFKA_INPUT_TOPIC", "KAFKA_INPUT_TOPICS"),
        ("KAFKA_GROUPID", "KAFKA_GROUP_ID"),
        ("REDIS_URLS_FILE", "REDIS_URL"),
    ],
)
def test_a_misspelt_setting_is_not_passed_over(name: str, meant: str) -> None:
    with pytest.raises(Misconfigured, match=f"{name} is no setting: is {meant} meant"):
        Settings.from_env({name: "x"})


def test_what_other_programs_are_set_by_is_left_alone() -> None:
    others = {
        "HTTP_PROXY": "x",
        "REDIS_PORT": "tcp://x",
        "KAFKA_SERVICE_HOST": "x",
        "HISTFILE": "x",
        "HTTPS_PORT": "443",
        "DEVICES": "x",
    }
    assert Settings.from_env(others) == Settings.from_env({})


def test_port_none_means_no_http() -> None:
    assert Settings.from_env({"HTTP_PORT": "none"}).http_port is None


def test_the_help_of_serve_tells_of_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    told = capsys.readouterr().out
    assert [name for name in Settings.variables() if f"  {name} " not in told] == []
    (line,) = [line for line in told.splitlines() if "BATCH_TOKENS" in line]
    assert line.endswith("(16384)")
