"""The client and its command line, against a service without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

import serve.__main__ as command_line
from pool.errors import EmptyStudyError, OutputError
from serve.client import ServiceClient
from serve.errors import ServiceRefusedError, ServiceUnreachableError, StudyFailedError
from serve.generations import Announcement, announce
from serve.http.schemas import StudyView
from tests.samples import bolus_series, tiny_pool, write_npz
from tests.serve.http.services import Service


class ToService(httpx.BaseTransport):
    """Carries requests into the application; works on studies when one is asked for the second time."""

    def __init__(self, service: Service) -> None:
        self.service, self.n_asked = service, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/v1/studies/"):
            self.n_asked += 1
            if self.n_asked == 2:
                self.service.work()
        headers = dict(request.headers)
        answer = self.service.http.request(request.method, path, content=request.read(), headers=headers)
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "service")
    with service.http:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[ServiceClient]:
    with ServiceClient("http://127.0.0.1", ToService(service)) as client:
        yield client


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_npz(tmp_path / "study.npz", bolus_series(n_frames=12))


def test_send_wait_fetch(client: ServiceClient, service: Service, study: Path, tmp_path: Path) -> None:
    seen: list[StudyView] = []
    sent = client.send(study)
    client.wait(sent.id, seen.append, deadline_s=30)
    assert [(view.state, view.n_sweeps_done, view.n_sweeps) for view in seen] == [("received", 0, 2), ("done", 2, 2)]
    files = client.fetch(sent.id, tmp_path / "out")
    assert [path.name for path in files] == ["maps.npz", "members.npz", "members.png", "overlay.png", "result.json"]
    for path in files:
        assert path.read_bytes() == (service.front.store.results_dir(sent.id) / path.name).read_bytes()
    client.fetch(sent.id, tmp_path / "out")  # an earlier result is replaced
    assert client.pool()["name"] == "fake"
    client.end(sent.id)
    assert service.kept() == []


def test_results_come_whole_or_not_at_all(client: ServiceClient, service: Service, study: Path, tmp_path: Path) -> None:
    sent = client.send(study)
    service.work()
    (service.front.store.results_dir(sent.id) / "result.json").unlink()
    with pytest.raises((ServiceRefusedError, RuntimeError)):
        client.fetch(sent.id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_folder_with_other_files_is_left_alone(client: ServiceClient, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"must be new, empty or an earlier result; found thesis\.tex"):
        client.fetch("0" * 32, tmp_path / "mine")


def test_the_service_is_quoted_when_it_refuses(client: ServiceClient, tmp_path: Path) -> None:
    short = write_npz(tmp_path / "short.npz", bolus_series(n_frames=12))
    short.write_bytes(short.read_bytes()[:900])
    with pytest.raises(
        ServiceRefusedError,
        match=r"must be a whole, readable \.npz file; .* Was it cut, changed or encrypted",
    ):
        client.send(short)


def test_a_folder_goes_as_one_zip(client: ServiceClient, tmp_path: Path) -> None:
    (tmp_path / "scan" / "deep").mkdir(parents=True)
    with pytest.raises(EmptyStudyError, match="must be a file, or a folder with files"):
        client.send(tmp_path / "scan")
    (tmp_path / "scan" / "deep" / "I0001").write_bytes(b"no DICOM")
    with pytest.raises(ServiceRefusedError, match="needs at least one DICOM file; found 1 file, none of them DICOM"):
        client.send(tmp_path / "scan")


def test_a_study_that_ends_without_a_result_is_an_error(client: ServiceClient, service: Service, study: Path) -> None:
    slow, failed = client.send(study), client.send(study)
    with pytest.raises(StudyFailedError, match=r"must be done within 0 s; found received"):
        client.wait(slow.id, deadline_s=0)
    service.front.store.fail(failed.id, "slice base: needs answers.")
    with pytest.raises(StudyFailedError, match=r"ended as failed; found slice base: needs answers"):
        client.wait(failed.id)


def test_a_service_that_is_not_there_is_said_in_words() -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = ServiceClient("http://service", httpx.MockTransport(refuse))
    with (
        client,
        pytest.raises(ServiceUnreachableError, match="service: must answer; found ConnectError. Is it running"),
    ):
        client.pool()


def test_an_answer_of_another_program_is_said_in_words() -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    client = ServiceClient("http://service", other)
    with client, pytest.raises(ServiceRefusedError, match="service: must answer with success; found HTTP 502"):
        client.pool()


def test_the_send_command(service: Service, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "ServiceClient", lambda url, **_: ServiceClient(url, ToService(service)))
    done = CliRunner().invoke(command_line.app, ["send", str(study), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "wrote maps.npz, members.npz, members.png, overlay.png, result.json" in done.output.replace("\n", "")
    assert (tmp_path / "out" / "result.json").is_file()
    study.write_bytes(b"")
    refused = CliRunner().invoke(command_line.app, ["send", str(study), "--out", str(tmp_path / "other")])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: upload: needs at least one file with content; found none.")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "needs a manifest.json; found none."),
        (["--port", "0"], "service setting port: input should be greater than or equal to 1; found 0."),
        (["--shards", "9"], "service setting n_shards: must be from 1 to the pool's 2 members; found 9."),
        (["damaged"], "member s1-e01: weights must have SHA-256"),
    ],
)
def test_the_run_command_refuses_before_ray_starts(
    tmp_path: Path, options: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", no_ray)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    if options:
        manifest = tiny_pool(tmp_path / "pool", n_members=2)
    if options == ["damaged"]:
        weights = tmp_path / "pool" / manifest.members[1].weights_name
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        options = []
    done = CliRunner().invoke(command_line.app, ["run", "--pool", str(tmp_path / "pool"), *options])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.output


def test_the_send_command_asks_with_the_token_of_a_file(
    service: Service, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_with: list[dict[str, object]] = []

    def client_of(_url: str, **options: object) -> ServiceClient:
        asked_with.append(options)
        return ServiceClient("http://127.0.0.1", ToService(service))

    monkeypatch.setattr(command_line, "ServiceClient", client_of)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# mine\nlab {'t' * 40}\n")
    tokens.chmod(0o600)
    words = ["send", str(study), "--out", str(tmp_path / "out"), "--tokens", str(tokens), "--patience", "7"]
    assert CliRunner().invoke(command_line.app, words).exit_code == 0
    assert asked_with == [{"token": "t" * 40, "patience_s": 7.0}]
    tokens.chmod(0o644)
    refused = CliRunner().invoke(command_line.app, [*words[:3], str(tmp_path / "other"), *words[4:]])
    assert (refused.exit_code, "may not be open to all users" in refused.stderr) == (2, True)


def test_the_roll_command_refuses_a_store_of_no_service_and_a_pool_that_is_not_whole(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(*_: object, **__: object) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr("ray.init", no_ray)
    roll = ["roll", "--pool", str(tmp_path / "new"), "--studies", str(tmp_path / "nowhere")]
    refused = CliRunner().invoke(command_line.app, roll)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: study store: must be that of a running service")
    announce(service.settings.studies_dir, Announcement("pool-x", service.settings))
    manifest = tiny_pool(tmp_path / "new", n_members=2)
    weights = tmp_path / "new" / manifest.members[1].weights_name
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    refused = CliRunner().invoke(command_line.app, [*roll[:3], "--studies", str(service.settings.studies_dir)])
    assert (refused.exit_code, "weights must have SHA-256" in refused.stderr) == (2, True)
