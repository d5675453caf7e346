"""Asks the PACS for new studies and fetches those that have stopped growing."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from pool.errors import PoolError
from serve.pacs.dicomweb import DicomWeb
from serve.pacs.inbox import Inbox, StudyEntry, job_of
from serve.pacs.settings import PacsSettings

_UID = re.compile(r"[0-9.]{1,64}")
_log = logging.getLogger(__name__)


@dataclass
class Poller:
    """Remembers what the PACS listed last time; all that must survive a restart lies in the inbox."""

    settings: PacsSettings
    inbox: Inbox
    clock: Callable[[], float] = time.time
    _seen: dict[str, tuple[dict[str, int], float]] = field(default_factory=dict)
    """Listing of a study, and since when it is the same [s since 1970]."""

    def poll(self, pacs: DicomWeb) -> None:
        """Look once through the studies of the last days.

        A study whose MR series are listed with the same numbers for `quiet_s` is complete, and is fetched unless these
        very numbers were fetched before. Our own results are no MR series: they change nothing.

        Raises:
            PoolError: the PACS cannot be asked; what was fetched before stays.
        """
        first = date.today() - timedelta(days=self.settings.poll_days)
        for study_uid in pacs.find_studies(f"{first:%Y%m%d}-", self.settings.poll_description):
            if not _UID.fullmatch(study_uid):
                continue
            listing = {series.uid: series.n_instances for series in pacs.list_mr_series(study_uid)}
            listing = {uid: n for uid, n in listing.items() if _UID.fullmatch(uid)}
            known = self.inbox.find(study_uid)
            if not listing or (known is not None and dict(known.listing) == listing):
                self._seen.pop(study_uid, None)
                continue
            before, since = self._seen.get(study_uid, ({}, 0.0))
            if before != listing:
                self._seen[study_uid] = (listing, self.clock())
            elif self.clock() - since >= self.settings.quiet_s:
                self._fetch(pacs, study_uid, listing)
                self._seen.pop(study_uid, None)

    def _fetch(self, pacs: DicomWeb, study_uid: str, listing: dict[str, int]) -> None:
        """Fetch all series; the listing is noted last, so that a crash before it fetches again."""
        job = job_of(study_uid)
        self._note(study_uid, fetching=True)
        n_refused = 0
        for series_uid in listing:
            with self.inbox.staging() as folder:
                for path in pacs.fetch_series(study_uid, series_uid, folder):
                    try:
                        self.inbox.add(path, study_uid)
                    except PoolError:
                        n_refused += 1
        self._note(study_uid, fetching=False, listing=listing)
        _log.info("study %s: fetched, %d instances could not be taken", job[:8], n_refused)

    def _note(self, study_uid: str, **changes: Any) -> None:
        with self.inbox.changing():
            entry = self.inbox.find(study_uid) or StudyEntry(study_uid)
            self.inbox.update(job_of(study_uid), replace(entry, **changes))
