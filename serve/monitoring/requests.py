"""Measurements of the HTTP front."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class RequestMetrics:
    """Of one front; counts from its start."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Histogram(
            "pool_request_seconds",
            "Time until a request was answered, by route and status [s].",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=own,
        )
        self._uploads = Counter(
            "pool_uploads",
            "Uploads: new, known, or the kind of the refusal.",
            ["outcome"],
            registry=own,
        )
        self._studies = Gauge("pool_studies", "Studies in the store by state.", ["state"], registry=own)
        self._on_their_way = Gauge("pool_uploads_on_their_way", "Uploads that come in now.", registry=own)
        self._room = Gauge("pool_queue_limit", "Unfinished studies that there is room for.", registry=own)
        self._selector = Gauge("pool_selector_up", "1 if the selector answers.", registry=own)

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is its template, never a path that was asked for."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def note_upload(self, outcome: str) -> None:
        """An upload was taken or refused."""
        self._uploads.labels(outcome).inc()

    def text(self, n_studies: Mapping[str, int], n_uploads: int, most_waiting: int, of_selector: str | None) -> str:
        """All of it, in Prometheus' text format.

        Args:
            n_studies: studies in the store by state.
            n_uploads: on their way.
            most_waiting: room for unfinished studies.
            of_selector: what the selector says of itself; None where it does not answer.
        """
        for state, n in n_studies.items():
            self._studies.labels(state).set(n)
        self._on_their_way.set(n_uploads)
        self._room.set(most_waiting)
        self._selector.set(of_selector is not None)
        return generate_latest(self._registry).decode() + (of_selector or "")
