"""How a command ends: its exit status, and one line where it could not do its work.

| status | why |
| --- | --- |
| 0 | done |
| 1 | unusable input, or the system refuses: a full disk, too many open files |
| 2 | wrong usage |
| 128 + n | interrupted by signal n: 129 SIGHUP, 130 SIGINT (Ctrl-C), 143 SIGTERM |
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from phoneme_moe.cli.options import error_line
from phoneme_moe.errors import InputError, OtherProcessError
from phoneme_moe.system.launch import StoppedBySignalError, reports_interruptions
from phoneme_moe.system.terminal import print_error

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
"""Signals that end a command in order; Windows has no SIGHUP."""

CLEANING_SECONDS = 5
"""Time to remove temporary files before the process ends in any case."""

_REFUSALS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.EACCES, errno.EPERM,
}  # fmt: skip
"""Errors of the system that libraries wrap in exceptions of their own."""


class Interrupted(BaseException):
    """A signal that ends the command; nothing but ``end_in_order`` catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_in_order(command: Callable[[], object]) -> int:
    """Runs a command and turns what ends it into a line on stderr.

    Args:
        command: The application, which may raise ``SystemExit``.

    Returns:
        The exit status.
    """
    try:
        with _signals_raise():
            status = _status_of(command)
            sys.stdout.flush()  # a full disk is noticed only here
            return status
    except (Interrupted, StoppedBySignalError) as interrupted:
        if hasattr(signal, "alarm"):
            signal.alarm(0)  # all is cleaned up; the end of the interpreter may take longer
        return _interrupted(interrupted.number)
    except OtherProcessError:
        pass  # it has printed a line
    except InputError as error:
        print_error(error_line(error))
    except BrokenPipeError:
        # The reader of the pipe has exited, such as head.
        _discard_output()
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        print_error(f"phoneme-moe: {refusal}")
        _discard_output()
    return 1


def _status_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _interrupted(number: int) -> int:
    name = signal.Signals(number).name
    if not reports_interruptions():
        return 128 + number
    with suppress(OSError):  # the terminal may be gone
        print_error(f"interrupted by {name}; go on with: {command_to_go_on(sys.argv)}")
    _discard_output()
    return 128 + number


def command_to_go_on(argv: list[str]) -> str:
    """The command that does what an interrupted one has not done.

    Args:
        argv: The program and its arguments.
    """
    arguments = argv[1:]
    command = arguments[:1]
    if command == ["train"] and "--resume" not in arguments:
        arguments = [*arguments, "--resume"]
    into_folder = any(argument.partition("=")[0] == "--out" for argument in arguments)
    if command == ["transcribe"] and into_folder and "--skip-done" not in arguments:
        arguments = [*arguments, "--skip-done"]
    return shlex.join(["phoneme-moe", *arguments])


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turns the first signal into ``Interrupted``; later ones do not disturb the cleaning up."""
    received = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal received
        if received:
            return
        received = True
        if hasattr(signal, "SIGALRM"):
            # Should a library swallow the exception, or the cleaning up hang.
            signal.signal(signal.SIGALRM, lambda *_: os._exit(_interrupted(number)))
            signal.alarm(CLEANING_SECONDS)
        raise Interrupted(number)

    former: dict[int, Any] = {}
    excepthook = threading.excepthook
    try:
        if threading.current_thread() is threading.main_thread():
            # What is ignored stays ignored: that is how nohup and shells protect a command.
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    former[number] = signal.signal(number, handle)
        threading.excepthook = _quiet
        yield
    finally:
        threading.excepthook = excepthook
        for number, handler in former.items():
            # Signals after the first one stay without effect.
            signal.signal(number, signal.SIG_IGN if received else handler)


def _quiet(arguments: threading.ExceptHookArgs) -> None:
    """Keeps quiet about a thread that cannot write: its main thread gets the same error."""
    if not isinstance(arguments.exc_value, OSError):
        threading.__excepthook__(arguments)


def _refusal(error: BaseException) -> str | None:
    """What the system refused, if that is why an exception was raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "can't allocate memory" in str(cause):
            return "not enough memory"
        if isinstance(cause, OSError) and (cause is error or cause.errno in _REFUSALS):
            return f"{cause.filename or 'output'}: {cause.strerror or cause}"
        if isinstance(cause, ImportError) and os.strerror(errno.EMFILE) in str(cause):
            return f"{cause.path or cause.name or 'output'}: {os.strerror(errno.EMFILE)}"
        cause = cause.__cause__ or cause.__context__
    return None


def _discard_output() -> None:
    """Discards output that cannot be written, which the interpreter would try again at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
