"""An application on a port of this machine. The only module that imports uvicorn."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any

from uvicorn import Config, Server

from meddistill.base.errors import InputError

_TRIES = 50


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on `port`, or on one of the next fifty where it is in use.

    Raises: InputError where none is free, or `host` is none of this machine's.
    """
    for number in range(port, min(port + _TRIES, 65536)):
        found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if os.name != "nt":  # there it would take a port that another program listens on
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, number))
            found.listen(128)
            return found
        except OSError as error:
            found.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise InputError(
                    f"cannot listen on {host}:{number}: {error.strerror or error}"
                ) from error
    raise InputError(f"no port from {port} to {number} is free; choose another with --port")


class RunningServer:
    """The application on an open socket, in a thread of its own until `stop`."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        config = Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
        )
        self._server = Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="server", daemon=True
        )
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End, after the requests that are being answered."""
        self._server.should_exit = True
        self._thread.join()
