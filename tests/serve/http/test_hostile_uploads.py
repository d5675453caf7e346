"""Damaged files of every kind: no 5xx, and no answer that shows a path, a stack or the patient."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from deploy.trials.hostile import LEAK, fault_of
from deploy.trials.mutations import mutated, originals
from tests.serve.http.services import Service

N_UPLOADS = 80


def test_damaged_uploads_are_refused_in_words(service: Service, tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()
    faults = []
    for upload in islice(mutated(originals(tmp_path / "originals"), np.random.default_rng(0)), N_UPLOADS):
        answer = service.http.post("/v1/studies", files=[("files", file) for file in upload.files])
        statuses[answer.status_code] += 1
        if fault := fault_of(answer):
            faults.append(f"{upload.what}: {fault}")
    assert faults == []
    assert statuses[422] > N_UPLOADS / 2
    assert set(statuses) <= {200, 202, 400, 415, 422}
    assert not any("SECRET" in name.upper() for name in service.kept())


@pytest.mark.parametrize("text", ["/tmp/x", 'File "a.py", line 1', "Traceback (most", "at 0x7f0011223344", "secret"])
def test_a_leak_is_seen(text: str) -> None:
    assert LEAK.search(text)


def test_what_nobody_thought_of_is_still_the_files_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("SECRET^PATIENT")

    monkeypatch.setattr("serve.reading.prepare", fail)
    from tests.serve.http.services import npz

    answer = service.http.post("/v1/studies", files={"files": ("a.npz", npz())})
    assert (answer.status_code, answer.json()["found"]) == (422, "ZeroDivisionError while preparing it")
    assert fault_of(answer) == ""
