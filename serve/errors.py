"""What can go wrong in the service beyond `pool.errors`, and the HTTP status of everything that can.

PoolError
|-- UnknownStudyError      404: no study has this id
|-- ResultNotReadyError    404: the study has no such result, or not yet
|-- UploadTooLargeError    413
|-- UploadTooSlowError     408
|-- NotAllowedError        401, 403, 429: nobody who may ask, see `serve.http.access`
|-- QueueFullError         429: no room for another study now
|-- TooManyWatchersError   503: no room for another stream of events now
|-- StoreUnavailableError  503: the study store cannot keep an upload now
|-- MalformedRequestError  400: not the request that was documented
|-- TooFewMembersError     an answer from fewer members than the service was told to accept
|-- PoolRegistryError      the pool that the service was told to use cannot be had from its registry
|-- StudyFailedError       client: the study ended without a result
|-- ServiceRefusedError    client: the service answered with an error; holds its own words
`-- ServiceUnreachableError  client: no answer at all
"""

from __future__ import annotations

from pool.errors import EmptyStudyError, PoolError, SettingsError, StudyError, UnsupportedFileError


class UnknownStudyError(PoolError):
    """No study has this id."""


class ResultNotReadyError(PoolError):
    """The study has no such result, or not yet."""


class UploadTooLargeError(PoolError):
    """More bytes than the service takes."""


class UploadTooSlowError(PoolError):
    """Bytes that come too slowly."""


class NotAllowedError(PoolError):
    """Nobody who may ask."""


class QueueFullError(PoolError):
    """No room for another study now."""


class TooManyWatchersError(PoolError):
    """No room for another stream of events now."""


class StoreUnavailableError(PoolError):
    """The study store cannot keep an upload now."""


class MalformedRequestError(PoolError):
    """A request that is not as documented."""


class TooFewMembersError(PoolError):
    """Fewer members answered than the service was told to accept."""


class PoolRegistryError(PoolError):
    """The pool that the service was told to use cannot be had from its registry."""


class StudyFailedError(PoolError):
    """The study ended without a result."""


class ServiceRefusedError(PoolError):
    """The service answered with an error."""

    status: int | None = None
    """HTTP status of the answer, where there was one."""


class ServiceUnreachableError(PoolError):
    """The service gave no answer."""


_STATUS: tuple[tuple[type[PoolError], int], ...] = (
    (UnknownStudyError, 404),
    (ResultNotReadyError, 404),
    (UploadTooLargeError, 413),
    (UploadTooSlowError, 408),
    (QueueFullError, 429),
    (TooManyWatchersError, 503),
    (StoreUnavailableError, 503),
    (MalformedRequestError, 400),
    (EmptyStudyError, 400),
    (UnsupportedFileError, 415),
    (StudyError, 422),
    # An array file without a pixel spacing is refused as a setting that is missing: still the sender's to mend.
    (SettingsError, 422),
)


def http_status(error: PoolError) -> int:
    """HTTP status of an error; 500 for those that are not the sender's fault."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
