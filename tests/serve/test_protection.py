"""What strangers may not do: foreign pages, foreign names, no token, too much at once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from phoneme_moe.serve.protection import COOKIE
from phoneme_moe.serve.settings import Limits, is_loopback

Serving = Callable[..., TestClient]


@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com", "10.0.0.1:8642", "", "[::2]"])
def test_a_page_cannot_rename_this_machine(client: TestClient, host: str) -> None:
    answer = client.get("/v1/runs", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("host: ")


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1:8642", "[::1]:8642"])
def test_this_machine_has_several_names(client: TestClient, host: str) -> None:
    assert client.get("/v1/runs", headers={"host": host}).status_code == 200


def test_behind_a_proxy_the_public_name_is_one_of_them(serving: Serving, sound: bytes) -> None:
    client = serving(public_host="lab.example.org", token="secret")
    given = {"authorization": "Bearer secret"}
    for name in ("lab.example.org", "localhost:8642"):
        assert client.get("/v1/runs", headers=given | {"host": name}).status_code == 200
    assert client.get("/v1/runs", headers=given | {"host": "evil.com"}).status_code == 403
    own = given | {"host": "lab.example.org", "origin": "https://lab.example.org"}
    assert client.post("/v1/transcribe", content=sound, headers=own).status_code == 200
    foreign = own | {"origin": "https://evil.com"}
    assert client.post("/v1/transcribe", content=sound, headers=foreign).status_code == 403


def test_pages_of_others_may_not_post(client: TestClient, sound: bytes) -> None:
    foreign = {"origin": "https://evil.com"}
    assert client.post("/v1/transcribe", content=sound, headers=foreign).status_code == 403
    own = {"origin": "http://localhost"}
    assert client.post("/v1/transcribe", content=sound, headers=own).status_code == 200
    for headers in (foreign, {"host": "localhost"} | foreign, {"host": "evil.com"}):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/v1/listen", headers=headers),
        ):
            pass


def test_no_answer_allows_other_pages_to_read_it(client: TestClient) -> None:
    answer = client.get("/v1/runs", headers={"origin": "https://evil.com"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_token_is_needed_everywhere_but_for_the_health_check(
    serving: Serving, sound: bytes
) -> None:
    client = serving(host="0.0.0.0", token="secret")
    for path in ("/", "/v1/runs", "/page/js/main.js", "/metrics", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 401
    assert client.post("/v1/transcribe", content=sound).status_code == 401
    assert client.get("/healthz").status_code == 200
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/listen"):
        pass
    for wrong in ("", "secre", "secret2", "Bearer secret"):
        given = {"authorization": f"Bearer {wrong}"}
        assert client.get("/v1/runs", headers=given).status_code == 401
    given = {"authorization": "Bearer secret"}
    assert client.get("/v1/runs", headers=given).status_code == 200
    assert client.post("/v1/transcribe", content=sound, headers=given).status_code == 200


def test_a_link_with_the_token_opens_the_page_and_hides_the_token(serving: Serving) -> None:
    client = serving(host="0.0.0.0", token="se cret;ü")
    assert client.get("/?token=wrong").status_code == 401
    answer = client.get("/", params={"token": "se cret;ü"}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/v1/runs").status_code == 200


def test_the_policy_of_the_page_allows_no_inline_script(client: TestClient) -> None:
    answer = client.get("/")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*src=)", answer.text)
    nonce = re.search(r'csp-nonce" content="([^"]+)"', answer.text)
    assert nonce is not None
    assert f"'nonce-{nonce[1]}'" in policy["style-src"]
    assert client.get("/").text != answer.text


def test_large_bodies_are_refused_before_they_are_read_to_the_end(serving: Serving) -> None:
    client = serving(Limits(upload_bytes=1000))
    told = client.post("/v1/transcribe", content=b"x" * 1001)
    assert told.status_code == 413
    assert told.json()["error"] == "request: larger than 0.001 MB"
    read = []

    def without_length():  # a body in pieces says no length before
        for _ in range(100):
            read.append(1)
            yield b"x" * 100

    assert client.post("/v1/transcribe", content=without_length()).status_code == 413
    form = {"file": ("a.wav", b"x" * 2000)}
    assert client.post("/v1/transcribe", files=form).status_code == 413


def test_long_recordings_are_refused(serving: Serving, sound: bytes) -> None:
    client = serving(Limits(audio_seconds=0.3))
    answer = client.post("/v1/transcribe?name=a.wav", content=sound)
    assert answer.status_code == 413
    assert answer.json()["error"] == "a.wav: longer than 0.3 s"


def test_without_a_place_a_request_is_told_when_to_come_again(
    serving: Serving, sound: bytes
) -> None:
    client = serving(Limits(requests=0))
    answer = client.post("/v1/transcribe", content=sound)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_uploads_of_all_clients_together_are_bounded(serving: Serving, sound: bytes) -> None:
    client = serving(Limits(upload_bytes_in_all=100))
    answer = client.post("/v1/transcribe", content=sound)
    assert answer.status_code == 429
    # What was read is no longer counted.
    assert client.post("/v1/transcribe", content=b"x" * 90).status_code == 400


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", "")),
    ],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    "path",
    ["/page/../app.py", "/page/%2e%2e/app.py", "/v1/recordings/..%2f..%2fx", "/report/..%2fx"],
)
def test_paths_lead_nowhere_else(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in {400, 404, 405}


def test_strangers_paths_are_not_counted_one_by_one(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/nothing/{number}")
    text = client.get("/metrics").text
    assert 'phoneme_moe_requests_total{path="other",status="404"} 5.0' in text
    assert "nothing" not in text
