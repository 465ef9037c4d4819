"""The log handler writes to the stdout of the moment, as a live progress bar needs."""

from __future__ import annotations

import contextlib
import io
import logging

from brainmtl.console import StdoutHandler


def test_handler_follows_a_replaced_stdout() -> None:
    logger = logging.Logger("console-test")
    handler = StdoutHandler()
    handler.setFormatter(logging.Formatter("> %(message)s"))
    logger.addHandler(handler)
    first, second = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(first):
        logger.info("one")
        with contextlib.redirect_stdout(second):
            logger.info("two")
    assert first.getvalue() == "> one\n"
    assert second.getvalue() == "> two\n"
