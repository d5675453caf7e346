import pytest


@pytest.fixture(autouse=True)
def small_grids_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharing is tested on grids so small that it would be no gain."""
    for module in ("sharing", "forward"):
        monkeypatch.setattr(f"pool.engine.{module}.LEAST_PER_AXIS", 5)
