"""HTTP: what is refused, with which status and words, and what a client sees of a study's life."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pool.manifest import PoolManifest
from pool.output import RESULT_NAMES
from serve.http.ingress import create_app
from serve.settings import ServiceSettings
from tests.pool.dicom import dicom_samples
from tests.samples import bolus_frames, bolus_series, tiny_pool, write_npz
from tests.serve.http.services import FakeRunner, Service, archive, front_of, npz

NAN_FRAMES = np.where(np.arange(80) == 7, np.nan, bolus_frames(n_frames=12)).astype(np.float32)[None]
DARK_FRAMES = np.random.default_rng(0).normal(100, 5, (1, 12, 96, 80)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "content", "status", "error", "words"),
    [
        ("study.npz", b"", 400, "EmptyStudyError", "upload: needs at least one file with content; found none."),
        ("scan", b"not DICOM at all" * 100, 422, "UnreadableFileError", "needs at least one DICOM file"),
        ("notes.zip", archive(notes=b"hello"), 422, "UnreadableFileError", "none of them DICOM"),
        ("cut.zip", archive(a=b"x" * 999)[:-40], 422, "UnreadableFileError", ""),
        ("cut.npz", npz()[:5000], 422, "UnreadableFileError", "must be a whole, readable .npz file"),
        ("other.npz", npz(frames=np.array(["a"])), 422, "InconsistentStudyError", "must be real numbers"),
        ("a.mat", b"MATLAB 5.0 MAT-file nothing", 422, "UnreadableFileError", "must be a whole, readable .mat file"),
        ("nan.npz", npz(frames=NAN_FRAMES), 422, "NonFiniteError", "every pixel must be a finite number"),
        ("dark.npz", npz(frames=DARK_FRAMES), 422, "HeartNotFoundError", "a first pass must brighten"),
        (
            "short.npz",
            npz(frames=bolus_frames(n_frames=5)[None], times_s=np.arange(5.0)),
            422,
            "TooFewFramesError",
            "5 frames",
        ),
        (
            "keys.npz",
            archive(**{"x.npy": b""}),
            415,
            "UnsupportedFileError",
            "needs frames, times_s and pixel_spacing_mm",
        ),
    ],
)
def test_a_study_that_cannot_be_analysed_is_refused_in_words(
    service: Service, name: str, content: bytes, status: int, error: str, words: str
) -> None:
    answer = service.http.post("/v1/studies", files={"files": (name, content)})
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error)
    assert words in body["message"]
    assert set(body) == {"error", "message", "subject", "rule", "found", "remedy"}
    assert str(service.folder) not in answer.text
    assert service.kept() == []
    assert service.runner.heard == []


def send_dicom(service: Service, files: list[Path]) -> tuple[int, str, str]:
    answer = service.http.post("/v1/studies", files=[("files", (path.name, path.read_bytes())) for path in files])
    assert "SECRET" not in answer.text.upper()
    assert service.kept() == []
    return answer.status_code, answer.json()["error"], answer.json()["message"]


def test_dicom_files_that_are_cut_or_contradict_each_other_are_refused(service: Service, tmp_path: Path) -> None:
    files = dicom_samples.write_study(tmp_path / "good", n_slices=1)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(files[3].read_bytes()[:-100])
    status, error, words = send_dicom(service, [*files[:3], cut, *files[4:]])
    assert (status, error) == (422, "UnreadableFileError")
    assert words.startswith(
        "file 000003.dcm: must hold the 384 bytes of pixels that its header declares; found 284 bytes."
    )

    other = dicom_samples.write(tmp_path / "other.ima", dicom_samples.classic(0, 3, PatientID="SECRET-2"))
    status, error, words = send_dicom(service, [*files[:3], other, *files[4:]])
    assert (status, error) == (422, "InconsistentStudyError")

    status, error, words = send_dicom(service, [*files, *dicom_samples.write_study(tmp_path / "b", n_slices=2)[1:8:2]])
    assert (status, error) == (422, "InconsistentStudyError")

    status, error, words = send_dicom(service, files[:5])
    assert (status, error) == (422, "TooFewFramesError")


def test_two_files_of_which_one_is_an_array_are_refused(service: Service) -> None:
    answer = service.http.post("/v1/studies", files=[("files", ("a.npz", npz())), ("files", ("b.npz", npz()))])
    assert (answer.status_code, answer.json()["error"]) == (415, "UnsupportedFileError")


@pytest.mark.parametrize(
    ("request_", "status", "found"),
    [
        ({"data": {"other": "x"}}, 400, "none"),
        ({"json": {"files": 1}}, 400, "none"),
        ({"files": {"elsewhere": ("a.npz", b"x")}}, 400, "none"),
        ({}, 400, "none"),
        (
            {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
            400,
            "Missing boundary in multipart.",
        ),
    ],
)
def test_a_request_without_files_is_refused(service: Service, request_: dict, status: int, found: str) -> None:  # type: ignore[type-arg]
    answer = service.http.post("/v1/studies", **request_)
    assert answer.status_code == status
    assert answer.json()["found"] == found


def test_an_upload_that_is_too_large_is_refused_before_and_while_it_comes(tmp_path: Path) -> None:
    http = Service(tmp_path, max_upload_mb=1).http
    large = np.random.default_rng(0).bytes(1_200_000)
    declared = http.post("/v1/studies", files={"files": ("a.npz", large)})

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.npz"\r\n\r\n'
        yield large
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    streamed = http.post("/v1/studies", content=chunks(), headers=headers)
    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert answer.json()["message"] == (
            "upload: may have at most 1 MB; found 1.2 MB or more. "
            "Send one series alone, without the rest of the examination."
        )


def test_a_study_from_upload_to_results(service: Service) -> None:
    sent = service.http.post("/v1/studies", files={"files": ("Doe^John.npz", npz())})
    assert sent.status_code == 202
    body = sent.json()
    assert (body["state"], body["n_sweeps"], body["n_sweeps_done"], body["results"]) == ("received", 2, 0, [])
    assert sent.headers["location"] == body["links"]["self"] == f"/v1/studies/{body['id']}"
    assert service.runner.heard == ["wake"]
    assert "Doe" not in sent.text
    assert not any("Doe" in name for name in service.kept())

    early = service.http.get(f"{body['links']['self']}/result.json")
    assert (early.status_code, early.json()["error"]) == (404, "ResultNotReadyError")

    service.work()
    done = service.http.get(body["links"]["self"]).json()
    assert (done["state"], done["n_sweeps_done"]) == ("done", 2)
    assert done["results"] == ["maps.npz", "members.npz", "members.png", "overlay.png", "result.json"]
    results = service.front.store.results_dir(body["id"])
    for name in done["results"]:
        answer = service.http.get(done["links"][name])
        assert answer.status_code == 200
        assert answer.content == (results / name).read_bytes()
    absent = service.http.get(f"{body['links']['self']}/umap.dcm")
    assert (absent.status_code, absent.json()["found"]) == (404, "not umap.dcm")
    page = service.http.get("/v1/studies", params={"limit": 1}).json()
    assert (page["n_studies"], [study["id"] for study in page["studies"]]) == (1, [body["id"]])
    assert service.http.get("/v1/studies", params={"offset": 1}).json()["studies"] == []


def test_delete_cancels_what_is_not_done_and_removes_what_is(service: Service) -> None:
    own = service.http.post("/v1/studies", files={"files": ("a.npz", npz())}).json()["links"]["self"]
    cancelled = service.http.delete(own)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert service.runner.heard == ["wake", f"stop {own.rpartition('/')[2]}"]
    service.work()
    assert service.http.get(own).json()["state"] == "cancelled"
    assert service.http.delete(own).status_code == 204
    assert service.http.get(own).status_code == 404
    assert service.kept() == []


@pytest.mark.parametrize("path", ["x", "..%2f..%2fx", "%2e%2e", "0" * 32, "0" * 32 + "/result.json", "%00", "a/b/c"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_is_no_study_is_not_found(service: Service, method: str, path: str) -> None:
    answer = service.http.request(method, f"/v1/studies/{path}")
    assert answer.status_code in (404, 405)
    assert answer.json()["message"]
    assert "/" not in answer.json()["found"]


def test_a_page_that_makes_no_sense_is_refused(service: Service) -> None:
    answer = service.http.get("/v1/studies", params={"limit": 0})
    assert (answer.status_code, answer.json()["subject"]) == (400, "request query.limit")


def test_an_accepted_study_is_accepted_even_if_the_runner_is_away(service: Service) -> None:
    service.runner.deaf = True
    assert service.http.post("/v1/studies", files={"files": ("a.npz", npz())}).status_code == 202
    service.work()
    assert service.http.get("/v1/studies").json()["studies"][0]["state"] == "done"


def test_health_and_readiness(tmp_path: Path) -> None:
    service = Service(tmp_path, readiness_deadline_s=0.01)
    assert service.http.get("/healthz").json() == {"ok": True, "complaints": []}
    assert service.http.get("/readyz").status_code == 200
    service.runner.complaints = ["shard 1 does not answer"]
    answer = service.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ok": False, "complaints": ["shard 1 does not answer"]})


def test_the_pool_says_which_shard_holds_whom(tmp_path: Path) -> None:
    manifest: PoolManifest = tiny_pool(tmp_path / "pool")
    settings = ServiceSettings(pool_dir=tmp_path / "pool", studies_dir=tmp_path / "studies")
    body = TestClient(create_app(front_of(settings, manifest, FakeRunner())), "http://127.0.0.1").get("/v1/pool").json()
    assert (body["name"], body["sha256"], body["rule"]) == ("tiny", manifest.sha256(), "min-u_pp")
    assert [(member["id"], member["shard"]) for member in body["members"]] == [
        ("s0-e01", 0),
        ("s1-e01", 1),
        ("s2-e01", 0),
    ]


def test_an_unexpected_failure_says_nothing_of_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_study_id: str) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(service.front.store, "get", fail)
    answer = service.http.get(f"/v1/studies/{'0' * 32}")
    assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
    assert "secret" not in answer.text


def test_the_openapi_document_names_every_result_and_refusal(service: Service) -> None:
    paths = service.http.get("/openapi.json").json()["paths"]
    assert {f"/v1/studies/{{study_id}}/{name}" for name in RESULT_NAMES} <= set(paths)
    post = paths["/v1/studies"]["post"]
    assert {"202", "400", "413", "415", "422"} <= set(post["responses"])
    assert "files" in post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]


def test_a_study_written_by_hand_is_read(service: Service, tmp_path: Path) -> None:
    content = write_npz(tmp_path / "study.npz", bolus_series(n_slices=3, n_frames=12)).read_bytes()
    assert service.http.post("/v1/studies", files={"files": ("s.npz", content)}).json()["n_sweeps"] == 6
