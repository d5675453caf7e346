"""Everything that can be chosen about the gateway: arguments, or environment variables with the prefix POOL_PACS_."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pool.errors import SettingsError
from serve.loopback import is_loopback

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Aet = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~][ -\[\]-~]*$")]


class PacsSettings(BaseSettings):
    """Settings of one gateway.

    Raises:
        SettingsError: a value that makes no sense, in words; never pydantic's own error.
    """

    model_config = SettingsConfigDict(env_prefix="POOL_PACS_", frozen=True, extra="forbid")

    state_dir: Path = Field(default=Path("pacs"), description="Folder of all that must survive a restart.")
    service_url: str = Field(default="http://127.0.0.1:8000", description="Of the service that analyses.")
    service_token: SecretStr | None = Field(default=None, description="Bearer token of the service.")
    dicomweb_url: str | None = Field(default=None, description="DICOMweb root of the PACS.")
    dicomweb_user: str | None = Field(default=None, description="User for HTTP Basic.")
    dicomweb_password: SecretStr | None = Field(default=None, description="Password for HTTP Basic.")
    dicomweb_token: SecretStr | None = Field(default=None, description="Bearer token of the PACS.")
    poll_s: float = Field(default=0.0, ge=0, le=86_400, description="Pause between two questions (QIDO); 0: never ask.")
    poll_days: int = Field(default=2, ge=0, le=3650, description="Ask for studies of today and so many days before.")
    poll_description: str = Field(default="", description="Ask for this StudyDescription; * and ? are wildcards.")
    stow_host: str = Field(default="127.0.0.1", description="Address of our STOW-RS endpoint.")
    stow_port: Port = Field(default=0, description="Port of our STOW-RS endpoint; 0: none.")
    stow_token: SecretStr | None = Field(default=None, description="Bearer token that senders by STOW-RS must have.")
    dimse_host: str = Field(default="127.0.0.1", description="Address of our C-STORE receiver.")
    dimse_port: Port = Field(default=0, description="Port of our C-STORE receiver; 0: none.")
    dimse_aet: Aet = Field(default="PERFPOOL", description="Our application entity title.")
    dimse_senders: tuple[Aet, ...] = Field(default=(), description="Titles that may send; empty: all, loopback only.")
    store_by: Literal["stow", "c-store", "nothing"] = Field(default="stow", description="How results go back.")
    store_host: str = Field(default="127.0.0.1", description="C-STORE: host of the PACS.")
    store_port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=104, description="C-STORE: port of the PACS.")
    store_aet: Aet = Field(default="PACS", description="C-STORE: title of the PACS.")
    quiet_s: Seconds = Field(default=60.0, description="A study is complete when nothing came for so long [s].")
    retry_first_s: Seconds = Field(default=5.0, description="Pause before the first repeat of what failed [s].")
    retry_longest_s: Seconds = Field(default=900.0, description="Longest pause before a repeat [s].")
    deidentify: bool = Field(
        default=False, description="Send de-identified images to the service (PS3.15 basic profile)."
    )
    keep_days: float = Field(
        default=7.0, ge=0, le=3650, description="Images are removed so long after the last one came."
    )
    max_instance_mb: int = Field(default=512, ge=1, le=16_384, description="Largest DICOM file that is taken [MB].")
    max_body_mb: int = Field(default=4096, ge=1, le=65_536, description="Largest STOW-RS request that is taken [MB].")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"]) or "of the gateway"
            message = first["msg"][0].lower() + first["msg"][1:]
            raise SettingsError(f"pacs setting {name}", message.removeprefix("value error, ")) from error

    @model_validator(mode="after")
    def _sensible(self) -> PacsSettings:
        if not (self.poll_s or self.stow_port or self.dimse_port):
            raise ValueError("must have a way for studies to come: poll_s, stow_port or dimse_port")
        if (self.poll_s or self.store_by == "stow") and not self.dicomweb_url:
            raise ValueError("polling and storing by STOW-RS need dicomweb_url")
        if self.stow_port and not is_loopback(self.stow_host) and self.stow_token is None:
            raise ValueError("stow_host beyond this machine needs stow_token")
        if self.dimse_port and not is_loopback(self.dimse_host) and not self.dimse_senders:
            raise ValueError("dimse_host beyond this machine needs dimse_senders")
        return self
