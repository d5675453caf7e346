"""C-STORE: what modalities and PACS speak that know no DICOMweb. A receiver for the inbox and a sender of results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import (
    AllTransferSyntaxes,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pool.errors import OutputError, PoolError
from serve.errors import ServiceRefusedError, ServiceUnreachableError
from serve.pacs.inbox import Inbox
from serve.pacs.settings import PacsSettings

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Statuses of C-STORE (PS3.4 table B.2-1)."""
RECEIVED = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
WAIT_S = 60.0
"""Longest wait of an association for the next message, and for a connection [s]."""
_log = logging.getLogger(__name__)
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its messages quote what it was sent


@contextmanager
def receiver(settings: PacsSettings, inbox: Inbox, on_change: Callable[[], None]) -> Iterator[int]:
    """A C-STORE receiver on the settings' port (0: any free one), for as long as the block lasts; gives the port.

    An instance is acknowledged once it is synced to disk.
    """
    entity = AE(ae_title=settings.dimse_aet)
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.dimse_senders)
    entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = WAIT_S
    for kind in RECEIVED:
        entity.add_supported_context(kind, AllTransferSyntaxes)
    entity.add_supported_context(Verification)

    def on_store(event: evt.Event) -> int:
        try:
            with inbox.staging() as folder:
                path = folder / "instance"
                path.write_bytes(event.encoded_dataset())
                if path.stat().st_size > settings.max_instance_mb * 1_000_000:
                    return CANNOT_UNDERSTAND
                inbox.add(path)
        except (OutputError, OSError):
            _log.warning("C-STORE: no room for an instance")
            return OUT_OF_RESOURCES
        except PoolError:
            return CANNOT_UNDERSTAND
        on_change()
        return SUCCESS

    server = entity.start_server(
        (settings.dimse_host, settings.dimse_port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    assert server is not None  # with block=False there is one
    assert server.socket is not None
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()


def store_by_c_store(settings: PacsSettings, files: Sequence[Path]) -> None:
    """Send files to the PACS; what is there already counts as stored.

    Raises:
        ServiceUnreachableError: no association.
        ServiceRefusedError: an object that the PACS does not take.
    """
    datasets = [dcmread(path) for path in files]
    entity = AE(ae_title=settings.dimse_aet)
    entity.connection_timeout = entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = WAIT_S
    for kind in sorted({dataset.SOPClassUID for dataset in datasets}):
        entity.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    association = entity.associate(settings.store_host, settings.store_port, ae_title=settings.store_aet)
    if not association.is_established:
        raise ServiceUnreachableError(
            "PACS", "must accept an association", "none", "Are host, port and titles those that the PACS knows?"
        )
    try:
        for dataset in datasets:
            try:
                status = association.send_c_store(dataset).get("Status")
            except ValueError as error:  # no context was accepted for it
                raise ServiceRefusedError("PACS", f"must take {dataset.SOPClassUID.name}", "no context") from error
            if status is None:
                raise ServiceUnreachableError("PACS", "must answer", "an association that broke")
            if status != SUCCESS and status >> 12 != 0xB:  # B000 and on are warnings: it is stored
                raise ServiceRefusedError("PACS", f"must take {dataset.SOPClassUID.name}", f"status {status:04X}")
    finally:
        if association.is_established:
            association.release()
