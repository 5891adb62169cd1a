"""Transfer of a file over HTTP, which continues where an interrupted one ended."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    import requests

TIMEOUTS = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""
_CHUNK = 1 << 18
_MOST_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")


class _BrokenError(Exception):
    """The connection could not be made or broke; what has come is kept."""


def fetch(
    urls: Sequence[str],
    part: Path,
    size: int,
    *,
    exact: bool = True,
    redirects: Sequence[str] = (),
    show: Callable[[int], None] = lambda size: None,
) -> str:
    """Downloads a file, from the first server that has it.

    A broken connection is taken up again as long as that brings it further. A server without ranges
    sends everything again; what is there already is overwritten in place, so that nothing is lost
    if the connection breaks again.

    Args:
        urls: Where the file is.
        part: The file to write; an existing one is continued, and kept on errors.
        size: Size of the file in bytes.
        exact: Whether the size is known to the byte; else at most twice as much is accepted.
        redirects: Hosts that servers may redirect to, besides those of ``urls``.
        show: Called with the number of bytes that there are.

    Returns:
        The URL from which the file came.

    Raises:
        InputError: No server gives the file, or one gives another file.
    """
    import requests

    hosts = {urlsplit(url).hostname for url in urls} | set(redirects)
    problems: list[str] = []
    with part.open("r+b" if part.exists() else "w+b") as file, requests.Session() as session:
        transfer = _Transfer(session, file, size, exact, hosts, show)
        for url in urls:
            try:
                transfer.run(url)
            except InputError as error:
                problems.append(str(error))
            else:
                return url
    mirrors = f" ({len(urls) - 1} mirrors failed, too)" if len(urls) > 1 else ""
    raise InputError(problems[0] + mirrors)


@dataclass(frozen=True)
class _Transfer:
    """A file that is being downloaded; attributes as the arguments of ``fetch``."""

    session: requests.Session
    file: BinaryIO
    size: int
    exact: bool
    hosts: Set[str | None]
    show: Callable[[int], None]

    @property
    def have(self) -> int:
        """Number of bytes in the file."""
        return self.file.seek(0, os.SEEK_END)

    def run(self, url: str) -> None:
        """Downloads from one server, as long as each request brings the file further."""
        while not (self.exact and self.have == self.size):
            furthest = self.have
            try:
                self.receive(url)
            except _BrokenError as error:
                if self.have <= furthest:
                    after = f" after {furthest:,} bytes, which are kept" if furthest else ""
                    raise InputError(f"{url}: {error}{after}") from error
            else:
                return

    def receive(self, url: str) -> None:
        """Sends one request and writes the answer to its place in the file.

        Raises:
            InputError: The server refuses, or what it sends is not the file.
            _BrokenError: The connection could not be made, or broke.
        """
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        if self.exact and self.have > self.size:
            self.file.truncate(0)
        start = self.have
        try:
            with _open(self.session, url, start, self.hosts) as response:
                if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    self.check_end(response, url)
                    return
                position, total = _place(response, url, start)
                total = self.size if total is None and self.exact else total
                most = self.size if self.exact else 2 * self.size
                if total is not None and (total > most or (self.exact and total < most)):
                    raise InputError(f"{url}: found {total:,} bytes, expected {self.size:,}")
                self.file.seek(position)
                # read1 passes on what has come, so that nothing of it is lost.
                while chunk := response.raw.read1(_CHUNK, decode_content=False):
                    position += len(chunk)
                    if position > (total or most):
                        self.file.truncate(0)
                        raise InputError(
                            f"{url}: sends more than the {total or most:,} bytes expected"
                        )
                    self.file.write(chunk)
                    self.show(position)
        except (RequestException, HTTPError) as error:
            raise _BrokenError(_reason(error)) from error
        if position < (total or 0):
            raise _BrokenError("the connection broke")
        self.file.truncate(position)

    def check_end(self, response: requests.Response, url: str) -> None:
        """Checks that the file is complete, since the server does not have its next byte.

        Raises:
            InputError: It is not; it is emptied, so that another call starts over.
        """
        match = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if self.exact or match is None or int(match[1]) != self.have:
            have = self.have
            self.file.truncate(0)
            raise InputError(f"{url}: no byte {have:,} there (416); another call starts over")


def _open(
    session: requests.Session, url: str, start: int, hosts: Set[str | None]
) -> requests.Response:
    """Asks for a file from a byte on, and follows redirections to known hosts.

    Raises:
        InputError: The server refuses, or redirects elsewhere.
    """
    # Bytes of the file itself: some servers take the .gz for a compression of the transfer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    address = url
    for _ in range(_MOST_REDIRECTS):
        response = session.get(
            address, headers=headers, stream=True, timeout=TIMEOUTS, allow_redirects=False
        )
        if not response.is_redirect:
            break
        target = urljoin(address, response.headers["location"])
        response.close()
        former, parts = urlsplit(address), urlsplit(target)
        safe = parts.scheme == "https" or parts.scheme == former.scheme == "http"
        if not safe or parts.hostname not in hosts:
            raise InputError(f"{url}: redirects to {target}, which is not a server of this corpus")
        address = target
    else:
        raise InputError(f"{url}: redirects more than {_MOST_REDIRECTS} times")
    accepted = {HTTPStatus.OK} | (
        {HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE} if start else set()
    )
    if response.status_code not in accepted:
        response.close()
        raise InputError(f"{url}: the server answers {response.status_code} {response.reason}")
    return response


def _place(response: requests.Response, url: str, start: int) -> tuple[int, int | None]:
    """The byte at which an answer begins, and the size of the file, if the server tells."""
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    if match is None or int(match[1]) != start:
        raise InputError(f"{url}: found Content-Range {found!r}, expected bytes from {start} on")
    return start, None if match[2] == "*" else int(match[2])


def _reason(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    import requests
    from urllib3.exceptions import TimeoutError as TransferTimeoutError

    if isinstance(error, (requests.Timeout, TransferTimeoutError)):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "the connection broke"
