"""The service from a Python program: send a study, wait for it, fetch its results."""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from pool.errors import EmptyStudyError
from pool.output import RESULT_NAMES, whole_folder
from serve.errors import ServiceRefusedError, ServiceUnreachableError, StudyFailedError
from serve.http.schemas import StudyView
from serve.store.records import StudyState

CONNECT_TIMEOUT_S = 5.0
"""Longest wait for a connection [s]."""
ANSWER_TIMEOUT_S = 300.0
"""Longest wait for an answer [s]: an upload is answered once it was read and prepared."""
FIRST_POLL_S, SLOWEST_POLL_S = 0.1, 1.0
"""Pause between two questions for a study's state [s]; grows from the first to the slowest."""

SLOWEST_REPEAT_S = 5.0
"""Longest pause before a request is repeated [s], unless the service asks for a longer one."""
WORTH_REPEATING = (408, 429, 500, 502, 503, 504)
"""Statuses of a service that is full or restarts: its proxy says 500 where the process behind it dies."""


class ServiceClient:
    """A client of one service; use it as a context manager.

    Args:
        url: of the service, such as `http://127.0.0.1:8000`.
        transport: what carries the requests; default: the network.
        token: bearer token, where the service wants one.
        patience_s: for how long a request is repeated while the service is full, restarts or cannot be reached [s].
            That is safe: the service recognises a study that it got before.
    """

    def __init__(
        self,
        url: str,
        transport: httpx.BaseTransport | None = None,
        token: str | None = None,
        patience_s: float = 0.0,
    ) -> None:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, timeout=timeout, transport=transport, headers=headers)
        self._patience_s = patience_s

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def pool(self) -> dict[str, Any]:
        """What the service says of its pool, see `serve.http.schemas.PoolView`."""
        return dict(self._answer("GET", "/v1/pool").json())

    def send(self, study: Path) -> StudyView:
        """Send a study: one file as it is, a folder as a zip of all its files.

        Raises:
            EmptyStudyError: nothing there.
            ServiceRefusedError: the service cannot analyse it; holds the service's words.
            ServiceUnreachableError: no answer.
        """
        with _as_one_file(study) as path:
            return StudyView.model_validate(self._answer("POST", "/v1/studies", path).json())

    def get(self, study_id: str) -> StudyView:
        """State and progress of a study."""
        return StudyView.model_validate(self._answer("GET", f"/v1/studies/{study_id}").json())

    def wait(
        self, study_id: str, on_progress: Callable[[StudyView], None] | None = None, deadline_s: float | None = None
    ) -> StudyView:
        """Wait until a study is done.

        Args:
            study_id: of a study that was sent.
            on_progress: called with the study after every question for its state.
            deadline_s: longest wait [s]; None waits as long as it takes.

        Raises:
            StudyFailedError: it failed, was cancelled, or the deadline passed; holds the reason.
        """
        end = None if deadline_s is None else time.monotonic() + deadline_s
        pause = FIRST_POLL_S
        while True:
            view = self.get(study_id)
            if on_progress is not None:
                on_progress(view)
            if view.state is StudyState.DONE:
                return view
            if view.state.is_final:
                raise StudyFailedError(f"study {study_id}", f"ended as {view.state}", view.reason)
            if end is not None and time.monotonic() > end:
                raise StudyFailedError(f"study {study_id}", f"must be done within {deadline_s:g} s", view.state)
            time.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_POLL_S)

    def fetch(self, study_id: str, out_dir: Path) -> list[Path]:
        """Fetch all results of a study that is done, into a folder that appears whole or not at all.

        Args:
            study_id: of the study.
            out_dir: a new or empty folder, or one that holds an earlier result, which is then replaced.

        Raises:
            OutputError: the folder holds other files, or cannot be written.
        """
        with whole_folder(out_dir) as staging:
            names = [name for name in self.get(study_id).results if name in RESULT_NAMES]
            for name in names:
                (staging / name).write_bytes(self.result(study_id, name))
        return [out_dir / name for name in sorted(names)]

    def result(self, study_id: str, name: str) -> bytes:
        """One result file of a study that is done, such as `result.json`."""
        return self._answer("GET", f"/v1/studies/{study_id}/{name}").content

    def end(self, study_id: str) -> None:
        """Cancel a study that is not done, or remove one that has ended."""
        self._answer("DELETE", f"/v1/studies/{study_id}")

    def _answer(self, method: str, path: str, upload: Path | None = None) -> httpx.Response:
        """The answer to a request, repeated as long as patience lasts where repeating may help."""
        end_s = time.monotonic() + self._patience_s
        pause_s = FIRST_POLL_S
        while True:
            answer = error = None
            try:
                answer = self._request(method, path, upload)
            except httpx.HTTPError as caught:
                error = caught
            if answer is not None and not answer.is_error:
                return answer
            wait_s = max(pause_s, _retry_after_s(answer)) if answer is not None else pause_s
            may_help = answer is None or answer.status_code in WORTH_REPEATING or not _is_ours(answer)
            if may_help and time.monotonic() + wait_s < end_s:
                time.sleep(wait_s)
                pause_s = min(pause_s * 2, SLOWEST_REPEAT_S)
            elif answer is not None:
                raise _refusal(answer)
            else:
                raise ServiceUnreachableError(
                    "service", "must answer", type(error).__name__, "Is it running, and is the URL right?"
                ) from error

    def _request(self, method: str, path: str, upload: Path | None) -> httpx.Response:
        if upload is None:
            return self._http.request(method, path)
        with upload.open("rb") as file:
            return self._http.request(method, path, files={"files": (upload.name, file)})


def _retry_after_s(answer: httpx.Response) -> float:
    """How long the service asks to wait [s]; 0 where it does not say."""
    found = answer.headers.get("Retry-After", "")
    return float(found) if found.isdigit() else 0.0


def _is_ours(answer: httpx.Response) -> bool:
    """Whether an error is the service's own: Ray Serve's proxy says 404 of every path while it starts."""
    try:
        return "error" in answer.json()
    except (ValueError, TypeError):
        return False


def _refusal(answer: httpx.Response) -> ServiceRefusedError:
    """The service's own words, as far as it used any."""
    try:
        body = answer.json()
        refused = ServiceRefusedError(body["subject"], body["rule"], body["found"], body["remedy"])
    except (ValueError, KeyError, TypeError):
        refused = ServiceRefusedError("service", "must answer with success", f"HTTP {answer.status_code}")
    refused.status = answer.status_code
    return refused


@contextmanager
def _as_one_file(study: Path) -> Iterator[Path]:
    if study.is_file():
        yield study
        return
    files = sorted(path for path in study.rglob("*") if path.is_file())
    if not files:
        raise EmptyStudyError(
            f"study {study.name}", "must be a file, or a folder with files", "nothing", "Check the path."
        )
    with tempfile.TemporaryDirectory(prefix="send-") as folder:
        path = Path(folder) / "study.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in files:
                # Fixed time stamps, and old ones do not fit the format.
                info = zipfile.ZipInfo(file.relative_to(study).as_posix(), (1980, 1, 1, 0, 0, 0))
                with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as sink:
                    shutil.copyfileobj(source, sink)
        yield path
