"""Commands whose help and errors say what users need to know, not how Typer checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from phoneme_moe.system.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

# Newer versions of Typer contain click, and export only some of its exceptions.
_UsageError: Any = typer.BadParameter.__bases__[0]


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters: switches without a type, numbers as N."""
        return _named(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As for a command."""
        return _named(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; a message about its arguments is printable text."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = printable(error.message).removeprefix("Value error, ")
            if error.message.startswith("No such option"):
                error.message += "; a file name that begins with a dash is written ./-NAME"
            raise


def _named(parameters: Sequence[Any]) -> list[Any]:
    for parameter in parameters:
        if parameter.param_type_name == "option" and parameter.metavar is None:
            limits = (getattr(parameter, "min", None), getattr(parameter, "max", None))
            if parameter.is_flag:
                parameter.metavar = ""
            elif limits != (None, None):
                parameter.metavar = "N"
    return list(parameters)
