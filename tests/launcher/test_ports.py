"""Ports that are taken are passed over, and those that cannot be had are named."""

from __future__ import annotations

import pytest
from launching import listening
from support import free_ports

from brainmtl.errors import ConfigError
from brainmtl.launcher import ports


def test_the_wanted_port_where_it_is_free() -> None:
    (port,) = free_ports(1)
    assert ports.free_port("api_port", port) == port


def test_the_next_one_where_it_is_taken() -> None:
    with listening() as taken:
        found = ports.free_port("api_port", taken)
        assert taken < found < taken + ports.SEARCH
        assert ports.free_port("page_port", taken, [found]) > found, "one of a pair stays out"
        with listening(found):
            assert ports.free_port("api_port", taken) > found


def test_nothing_free_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "SEARCH", 1)
    with listening() as taken, pytest.raises(ConfigError, match=f"page_port={taken}: all ports"):
        ports.free_port("page_port", taken)


@pytest.mark.parametrize("value", [0, -1, 65536, "8000", True, None])
def test_what_is_no_port(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^api_port=.* must be a whole number from 1 to 65535"):
        ports.check_port("api_port", value)
    ports.check_port("api_port", 65535)
