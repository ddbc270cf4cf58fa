"""The `eventbus` program, also `python -m eventbus`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ["main"]

_FAILED, _REFUSED, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (it failed), 2 (no such log, or a wrong call), 130 (Ctrl-C).

    SIGTERM ends `run` with SystemExit(143).
    """
    if arguments is None:  # this process is the program's; it collects again when its command is loaded (program.py)
        gc.disable()
    _open_what_is_closed()
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough (`| head`).
        _say_no_more()
        return 0
    except OSError as error:
        if not _is_stdouts():
            raise
        _say_no_more()
        sys.stderr.write(f"eventbus: The output cannot be written: {error.strerror or error}.\n")
        return _FAILED


def _open_what_is_closed() -> None:
    """Whoever starts a program with `>&-` wants none of its words; Python has None for such a stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # as their numbers go: the lowest is taken
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _is_stdouts() -> bool:
    """Whether it is the output that fails: then it fails again."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _say_no_more() -> None:
    """The interpreter flushes stdout once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    import click

    from eventbus.cli.program import program
    from eventbus.cli.safe_logging import log_safely
    from eventbus.errors import EventBusError, LogError

    _speak_any_text()
    log_safely()
    try:
        with program.make_context("eventbus", arguments) as context:
            program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:  # Ctrl-C at a question, which stands on the line still
        sys.stderr.write("\n")
        return _INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as asked:  # the help of a group, which is no error to be complained of
        sys.stderr.write(asked.format_message() + "\n")
        return asked.exit_code
    except click.ClickException as error:
        return _complain(_called_wrongly(error), error.exit_code)
    except EventBusError as error:
        return _complain(str(error), _REFUSED if isinstance(error, LogError) else _FAILED)
    return 0


def _speak_any_text() -> None:
    """A terminal or pipe that cannot show a character gets its escape, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _called_wrongly(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" Try: {context.command_path} --help" if context is not None else ""
    return error.format_message() + hint


def _complain(sentence: str, code: int) -> int:
    from eventbus.cli.plain import plain

    sys.stdout.flush()
    sys.stderr.write(f"eventbus: {plain(sentence)}\n")
    return code
