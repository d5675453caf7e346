from pathlib import Path

import pytest

from deploy.demo import Places
from pool.errors import OutputError


def test_the_demo_clears_what_it_made_and_nothing_else(tmp_path: Path) -> None:
    places = Places(tmp_path / "demo")
    places.clear()
    for name in ("pool", "mlflow-artifacts"):
        (places.root / name).mkdir()
    (places.root / "mlflow.db").touch()
    (places.root / "notes.txt").touch()
    places.clear()
    assert sorted(path.name for path in places.root.iterdir()) == [".made-by-the-demo", "notes.txt"]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    with pytest.raises(OutputError, match="must be new, empty or an earlier demo; found other files"):
        Places(tmp_path).clear()
    assert (tmp_path / "pool").is_dir()
