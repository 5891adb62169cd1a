"""Runs commands as on Windows: for this package, what only Unix has does not exist.

Other packages see the system as it is. Usage: ``without_posix.py COMMAND ... [-- COMMAND ...]``.
"""

from __future__ import annotations

import builtins
import itertools
import sys
import types
from typing import Any

MISSING_MODULES = {
    "fcntl", "grp", "posix", "pty", "pwd", "resource", "select", "syslog", "termios", "tty",
}  # fmt: skip
MISSING = {
    "os": {
        "fchmod", "fork", "forkpty", "getpgid", "getuid", "geteuid", "killpg", "mkfifo",
        "nice", "pread", "preadv", "pwrite", "register_at_fork", "sched_getaffinity", "setsid",
        "statvfs", "sync", "uname", "wait", "wait4", "waitid", "O_NOFOLLOW", "WNOHANG",
    },
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "alarm",
        "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
    },
    "sys": {"abiflags"},
    "time": {"pthread_getcpuclockid", "clock_settime", "tzset"},
}  # fmt: skip


def kill(process: int, number: int) -> None:
    raise AssertionError("on Windows, any signal ends the process")


OTHER_VALUES: dict[str, dict[str, Any]] = {
    "os": {"name": "nt", "kill": kill},
    "sys": {"platform": "win32"},
}


class Reduced(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__(module.__name__)
        self.__dict__["_module"] = module

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__["_module"]
        if name in MISSING[module.__name__]:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        others = OTHER_VALUES.get(module.__name__, {})
        return others[name] if name in others else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_module"], name, value)


def make_msvcrt() -> types.ModuleType:
    """The module by which Windows locks files."""
    import fcntl

    def locking(descriptor: int, mode: int, size: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    module = types.ModuleType("msvcrt")
    module.__dict__.update(LK_NBLCK=2, locking=locking)
    return module


def main() -> None:
    real_import = builtins.__import__
    replaced = {name: Reduced(real_import(name)) for name in MISSING} | {"msvcrt": make_msvcrt()}

    def import_(name: str, globals: Any = None, *rest: Any, **named: Any) -> Any:
        if ((globals or {}).get("__name__") or "").startswith("phoneme_moe"):
            if name.partition(".")[0] in MISSING_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}")
            if name in replaced:
                return replaced[name]
        return real_import(name, globals, *rest, **named)

    builtins.__import__ = import_
    from phoneme_moe.cli import main as command

    for ours, words in itertools.groupby(sys.argv[1:], lambda word: word != "--"):
        if ours:
            sys.argv = ["phoneme-moe", *words]
            try:
                command()
            except SystemExit as end:
                if end.code:
                    raise


if __name__ == "__main__":
    main()
