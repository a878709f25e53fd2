"""Settings: where values come from, which one wins, and what a mistake is told."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ragtune.errors import InvalidRequest, UnknownName
from ragtune.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ragtune.toml"


def test_without_anything_the_defaults_hold() -> None:
    settings = Settings.load({})
    assert (settings.host, settings.port, settings.passage_tokens) == ("127.0.0.1", 8000, 250)
    assert settings.database == settings.home / "ragtune.db"
    assert settings.runs == settings.home / "runs"


def test_variables_of_other_programs_are_none_of_our_business() -> None:
    assert Settings.load({"HOME": "/home/someone", "PORT": "1", "MYRAGTUNE_PORT": "2"}).port == 8000


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(file: Path) -> None:
    file.write_text('port = 9001\ntop_k = 7\nhost = "0.0.0.0"\n')
    environ = {"RAGTUNE_CONFIG": str(file), "RAGTUNE_PORT": "9002", "RAGTUNE_HOST": "::1"}
    settings = Settings.load(environ, host="localhost")
    assert (settings.top_k, settings.port, settings.host) == (7, 9002, "localhost")


def test_an_option_that_was_not_given_overrides_nothing() -> None:
    assert Settings.load({"RAGTUNE_PORT": "9002"}, port=None).port == 9002


@pytest.mark.parametrize("name", ["RAGTUNE_PASAGE_TOKENS", "RAGTUNE_PASSAGE_TOKEN"])
def test_a_misspelt_variable_fails_and_names_the_one_that_was_meant(name: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'passage_tokens'"):
        Settings.load({name: "300"})


def test_a_misspelt_key_of_the_file_fails_and_names_the_one_that_was_meant(file: Path) -> None:
    file.write_text("threds = 2\n")
    with pytest.raises(UnknownName, match="did you mean 'threads'"):
        Settings.load({"RAGTUNE_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RAGTUNE_PORT", "65536"),
        ("RAGTUNE_PORT", "http"),
        ("RAGTUNE_DEVICE", "tpu"),
        ("RAGTUNE_DEADLINE", "0"),
        ("RAGTUNE_HOURLY_RATE", "-1"),
        ("RAGTUNE_HOURLY_RATE", "nan"),
    ],
)
def test_a_value_that_does_not_fit_is_shown_with_the_name_of_its_setting(variable: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Settings.load({variable: value})
    assert f"setting {caught.value.param}" in caught.value.message
    assert repr(value) in caught.value.message


def test_a_file_that_cannot_be_read_or_is_not_toml_is_named(file: Path) -> None:
    with pytest.raises(InvalidRequest, match=str(file)):
        Settings.load({"RAGTUNE_CONFIG": str(file)})
    file.write_text("port 9001")
    with pytest.raises(InvalidRequest, match=str(file)):
        Settings.load({"RAGTUNE_CONFIG": str(file)})


def test_lists_are_separated_by_commas_in_the_environment_and_plain_in_the_file(file: Path) -> None:
    file.write_text('allowed_hosts = ["a.example", "b.example"]\n')
    settings = Settings.load({"RAGTUNE_CONFIG": str(file), "RAGTUNE_ADAPTER_ROOTS": " /data/one, /data/two ,"})
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.adapter_roots == (Path("/data/one"), Path("/data/two"))


def test_a_key_is_shown_nowhere() -> None:
    settings = Settings.load({"RAGTUNE_API_KEY": "rt-K1-secret"})
    assert settings.api_key is not None and settings.api_key.get_secret_value() == "rt-K1-secret"
    assert "secret" not in repr(settings) + str(settings.model_dump(mode="json"))


@pytest.mark.parametrize("key", ["", "two secrets", "secret\n", "geheimniß"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(InvalidRequest, match=r"setting api_key: .*cannot be a key") as caught:
        Settings.load({"RAGTUNE_API_KEY": key})
    assert "secret" not in caught.value.message


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings.load({}).port = 1
