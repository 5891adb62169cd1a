"""The ASGI application: routes, page, protection, and one form of every error."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from phoneme_moe import __version__
from phoneme_moe.audio import AudioWarning
from phoneme_moe.errors import InputError
from phoneme_moe.serve import routes, routes_of_corrections, routes_of_page
from phoneme_moe.serve.documents import error
from phoneme_moe.serve.metrics import Measured
from phoneme_moe.serve.protection import BodyLimit, Protection
from phoneme_moe.serve.server import Server
from phoneme_moe.serve.uploads import TooLongError

_PAGE = resources.files("phoneme_moe.serve").joinpath("page")


def create_app(server: Server) -> FastAPI:
    """The application of a server.

    Args:
        server: Its parts; closed when the application ends.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A note on a recording, such as channels that cancel out, is no matter of the server's log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AudioWarning)
            yield
        server.close()

    app = FastAPI(
        title="phoneme_moe",
        version=__version__,
        description="Recordings to phonemes, with the experts that recognised them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    app.include_router(routes.router, tags=["public"])
    app.include_router(routes_of_page.router, tags=["page"])
    app.include_router(routes_of_corrections.router, tags=["page"])
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/docs", _documentation, include_in_schema=False)
    app.add_api_route("/report.css", _report_style, include_in_schema=False)
    app.mount("/page", StaticFiles(packages=[("phoneme_moe.serve", "page")]), "page")
    app.add_exception_handler(InputError, _input_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    # The last one added is the first that a request meets.
    app.add_middleware(BodyLimit, limits=server.settings.limits)
    app.add_middleware(Protection, settings=server.settings)
    app.add_middleware(Measured, metrics=server.metrics)
    return app


def _page(request: Request) -> Response:
    text = _PAGE.joinpath("index.html").read_text(encoding="utf-8")
    return HTMLResponse(text.replace("{{nonce}}", request.state.nonce))


def _report_style() -> Response:
    """The style of routing reports, whose colours the page shares."""
    style = resources.files("phoneme_moe.report.page").joinpath("page.css")
    return Response(style.read_text(encoding="utf-8"), media_type="text/css")


def _documentation(request: Request) -> Response:
    return HTMLResponse(_PAGE.joinpath("api.html").read_text(encoding="utf-8"))


def _input_error(_: Request, raised: Exception) -> Response:
    return JSONResponse(error(str(raised)), 413 if isinstance(raised, TooLongError) else 400)


def _http_error(_: Request, raised: Exception) -> Response:
    assert isinstance(raised, HTTPException)
    return JSONResponse(error(str(raised.detail)), raised.status_code, raised.headers)


def _validation_error(_: Request, raised: Exception) -> Response:
    assert isinstance(raised, RequestValidationError)
    first: dict[str, Any] = raised.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or "request"
    given = first.get("input")
    found = "" if isinstance(given, dict | None) else f": found {str(given)[:60]!r}"
    problem = first["msg"][:1].lower() + first["msg"][1:]
    return JSONResponse(error(f"{name}{found}: {problem}"), 400)
