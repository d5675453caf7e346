"""QIDO-RS, WADO-RS and STOW-RS (PS3.18) as a client of one PACS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serve.errors import ServiceRefusedError, ServiceUnreachableError
from serve.pacs.multipart import PartsToFiles, related_body
from serve.pacs.settings import PacsSettings

CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 10.0, 300.0
"""Longest waits for a connection and for the next bytes of an answer [s]."""
IS_THERE = "273"
"""Failure reason 0111H: an instance of this UID is there already."""
PAGE = 200
"""Studies of one answer to a question."""
_STUDY_UID, _SERIES_UID, _N_OF_SERIES = "0020000D", "0020000E", "00201209"
_REFERENCED, _FAILED, _REASON = "00081199", "00081198", "00081197"


@dataclass(frozen=True)
class SeriesListing:
    """A series as the PACS lists it."""

    uid: str
    n_instances: int
    """0 where the PACS does not say."""


class DicomWeb:
    """One PACS; use it as a context manager.

    Args:
        settings: URL and credentials.
        transport: what carries the requests; default: the network.
    """

    def __init__(self, settings: PacsSettings, transport: httpx.BaseTransport | None = None) -> None:
        headers, auth = {}, None
        if settings.dicomweb_token is not None:
            headers["Authorization"] = f"Bearer {settings.dicomweb_token.get_secret_value()}"
        elif settings.dicomweb_user is not None:
            password = settings.dicomweb_password.get_secret_value() if settings.dicomweb_password else ""
            auth = httpx.BasicAuth(settings.dicomweb_user, password)
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        url = (settings.dicomweb_url or "").rstrip("/")
        self._http = httpx.Client(base_url=url, headers=headers, auth=auth, timeout=timeout, transport=transport)
        self._max_part_bytes = settings.max_instance_mb * 1_000_000

    def __enter__(self) -> DicomWeb:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def find_studies(self, date_range: str, description: str) -> list[str]:
        """UIDs of the MR studies of some days (QIDO-RS).

        Args:
            date_range: as DICOM matches it, such as `20240305-`.
            description: StudyDescription with wildcards; empty for all.
        """
        query = {"ModalitiesInStudy": "MR", "StudyDate": date_range, "limit": str(PAGE)}
        if description:
            query["StudyDescription"] = description
        found: list[str] = []
        while True:
            page = self._listing("/studies", {**query, "offset": str(len(found))})
            new = [uid for uid in (_value(item, _STUDY_UID) for item in page) if uid and uid not in found]
            found += new
            if len(page) < PAGE or not new:  # some servers ignore offset and limit
                return found

    def list_mr_series(self, study_uid: str) -> list[SeriesListing]:
        """The MR series of a study with their numbers of instances (QIDO-RS), in order of their UIDs."""
        page = self._listing(f"/studies/{study_uid}/series", {"Modality": "MR", "includefield": _N_OF_SERIES})
        listed = [SeriesListing(_value(item, _SERIES_UID), int(_value(item, _N_OF_SERIES) or 0)) for item in page]
        return sorted((item for item in listed if item.uid), key=lambda item: item.uid)

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        """All instances of a series as they are stored (WADO-RS), into an empty folder."""
        accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        path = f"/studies/{study_uid}/series/{series_uid}"
        try:
            with self._http.stream("GET", path, headers=accept) as answer:
                _refuse_error(answer)
                parts = PartsToFiles(answer.headers.get("Content-Type", ""), folder, self._max_part_bytes)
                for chunk in answer.iter_bytes():
                    parts.write(chunk)
                return parts.close()
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    def store(self, files: Sequence[Path]) -> None:
        """Store files (STOW-RS); what is there already counts as stored.

        Raises:
            ServiceRefusedError: some were not stored; says how many and the first reason's code.
        """
        content_type, body = related_body(files)
        headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
        try:
            answer = self._http.post("/studies", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if answer.status_code not in (200, 202, 409):
            _refuse_error(answer)
        fields = _json(answer)
        all_failed = (fields.get(_FAILED) or {}).get("Value") or []
        failed = [item for item in all_failed if _value(item, _REASON) != IS_THERE]
        n_stored = len((fields.get(_REFERENCED) or {}).get("Value") or []) + len(all_failed) - len(failed)
        if failed or (fields and n_stored < len(files)):
            reason = _value(failed[0], _REASON) if failed else "no word"
            n = len(failed) or len(files) - n_stored
            raise ServiceRefusedError("PACS", "must store every result", f"{n} not stored, reason {reason}")

    def _listing(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        try:
            answer = self._http.get(path, params=dict(query), headers={"Accept": "application/dicom+json"})
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if answer.status_code == 204:
            return []
        _refuse_error(answer)
        found = answer.json()
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _value(item: Mapping[str, Any], tag: str) -> str:
    values = (item.get(tag) or {}).get("Value") or [""]
    return str(values[0])


def _refuse_error(answer: httpx.Response) -> None:
    if answer.status_code >= 400:
        raise ServiceRefusedError(
            "PACS", "must answer with success", f"HTTP {answer.status_code}", "See the log of the PACS."
        )


def _unreachable(error: Exception) -> ServiceUnreachableError:
    return ServiceUnreachableError("PACS", "must answer", type(error).__name__, "Is it running, and is the URL right?")
