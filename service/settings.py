"""Settings: the only reader of the environment."""

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict

from models.classifier import DEFAULT_ARTIFACT


class Settings(BaseSettings):
    """What an operator sets, by environment variable or in a ``.env`` file; the README's table says what each does."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    model_dir: Path = DEFAULT_ARTIFACT
    device: Literal["cpu", "cuda"] = "cpu"
