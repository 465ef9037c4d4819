"""The port that was asked for, or the next that is free."""

from __future__ import annotations

import socket
from collections.abc import Container

from brainmtl.errors import ConfigError

HOST = "127.0.0.1"
SEARCH = 100  # ports tried, the wanted one included


def check_port(name: str, wanted: int) -> None:
    """Refuse what is no port number.

    Raises:
        ConfigError: it is none; the message calls the option ``name``.
    """
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= 65535:
        raise ConfigError(f"{name}={wanted!r} must be a whole number from 1 to 65535")


def free_port(name: str, wanted: int, taken: Container[int] = ()) -> int:
    """``wanted``, or the first port above it on which this machine can listen and nobody does.

    Ports in ``taken`` are passed over. The port is only looked at: another process may take it
    before it is used.

    Raises:
        ConfigError: a port that needs special rights, or none free among the next 100; the message
            calls the option ``name``.
    """
    last = min(wanted + SEARCH - 1, 65535)
    for port in range(wanted, last + 1):
        if port not in taken and _is_free(name, port):
            return port
    raise ConfigError(
        f"{name}={wanted}: all ports up to {last} are taken. Choose another {name}, or end what "
        "listens there"
    )


def _is_free(name: str, port: int) -> bool:
    # Asked first, since BSD lets a second process listen on 127.0.0.1 beside one on all addresses.
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as listener:
        # As servers do it: connections of an earlier run that still fade away do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except PermissionError as error:
            raise ConfigError(
                f"{name}={port} needs special rights: choose one from 1024"
            ) from error
        except OSError:
            return False
    return True
