"""`python -m serve pacs`: between a PACS and a service, until Ctrl-C."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from serve.client import ServiceClient
from serve.command_line import refusals_in_words, say
from serve.errors import ServiceUnreachableError, StudyFailedError
from serve.pacs.dicomweb import DicomWeb
from serve.pacs.dimse import receiver, store_by_c_store
from serve.pacs.gateway import Gateway
from serve.pacs.inbox import Inbox
from serve.pacs.settings import PacsSettings
from serve.pacs.stow_endpoint import create_app, stow_server

ANALYSIS_DEADLINE_S = 7200.0
"""Longest wait for a study that the service has taken [s]; after that it is asked for anew."""


class ServiceAnalyst:
    """Has runs analysed by a service.

    Args:
        settings: where it is.
    """

    def __init__(self, settings: PacsSettings) -> None:
        token = settings.service_token.get_secret_value() if settings.service_token else None
        self._open = partial(ServiceClient, settings.service_url, token=token)

    def analyse(self, images: Path, out_dir: Path) -> None:
        """See `serve.pacs.gateway.Analyst`. Bytes that the service knows are not analysed again."""
        with self._open() as client:
            sent = client.send(images)
            try:
                client.wait(sent.id, deadline_s=ANALYSIS_DEADLINE_S)
            except StudyFailedError as error:
                if client.get(sent.id).state.is_final:
                    raise
                raise ServiceUnreachableError("service", "must come to an end", "none yet") from error
            client.fetch(sent.id, out_dir)


def pacs(
    dicomweb: Annotated[str | None, typer.Option(help="DICOMweb root of the PACS.")] = None,
    service: Annotated[str | None, typer.Option(help="URL of the service (default: http://127.0.0.1:8000).")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of what must survive a restart (default: pacs).")] = None,
    poll: Annotated[float | None, typer.Option(help="Ask the PACS for new studies every so many seconds.")] = None,
    stow_port: Annotated[int | None, typer.Option(help="Port to receive by STOW-RS on.")] = None,
    dimse_port: Annotated[int | None, typer.Option(help="Port to receive by C-STORE on.")] = None,
    store_by: Annotated[str | None, typer.Option(help="stow, c-store or nothing (default: stow).")] = None,
    quiet: Annotated[
        float | None, typer.Option(help="A study is complete when nothing came for so many seconds (default: 60).")
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Send de-identified images to the service (PS3.15 basic profile).")
    ] = False,
) -> None:
    """Fetch or receive studies, have them analysed, store the results. Other settings: variables POOL_PACS_..."""
    given = {
        "dicomweb_url": dicomweb,
        "service_url": service,
        "state_dir": state,
        "poll_s": poll,
        "stow_port": stow_port,
        "dimse_port": dimse_port,
        "store_by": store_by,
        "quiet_s": quiet,
        "deidentify": deidentify or None,
    }
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("httpx", "httpcore"):  # they log URLs, which hold UIDs
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with refusals_in_words():
        settings = PacsSettings(**{key: value for key, value in given.items() if value is not None})
        gateway = make_gateway(settings)

        def stop(*_: object) -> None:
            gateway.stopped.set()
            gateway.wakened.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        with ExitStack() as stack:
            if settings.stow_port:
                app = create_app(settings, gateway.inbox, gateway.wakened.set, gateway.counts)
                port = stack.enter_context(stow_server(app, settings.stow_host, settings.stow_port))
                say.print(f"receives by STOW-RS at http://{settings.stow_host}:{port}/dicom-web", highlight=False)
            if settings.dimse_port:
                port = stack.enter_context(receiver(settings, gateway.inbox, gateway.wakened.set))
                say.print(f"receives by C-STORE as {settings.dimse_aet} on port {port}", highlight=False)
            say.print("ready; Ctrl-C stops it, and nothing is lost", highlight=False)
            gateway.run_forever()


def make_gateway(settings: PacsSettings) -> Gateway:
    """A gateway that does what the settings say."""

    def store(files: Sequence[Path]) -> None:
        if settings.store_by == "c-store":
            store_by_c_store(settings, files)
        else:
            with DicomWeb(settings) as pacs:
                pacs.store(files)

    return Gateway(
        settings=settings,
        inbox=Inbox(settings.state_dir),
        analyst=ServiceAnalyst(settings),
        open_pacs=partial(DicomWeb, settings),
        send=store,
    )
