"""Tokens, listening sockets, device names and counted nouns."""

import socket
from contextlib import closing
from pathlib import Path

import pytest
import torch

from syngrpo.sample import InputError
from syngrpo.serving.bearer_token import (
    is_loopback,
    read_token,
    refusal,
    require_token_beyond_loopback,
)
from syngrpo.serving.devices import parse_device
from syngrpo.serving.listening import listen, local_url, server_url
from syngrpo.serving.refusals import refusal_response
from syngrpo.serving.wording import count, plural


def test_a_token_is_one_word_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" correct-horse\n")
    assert read_token(file) == "correct-horse" and read_token(None) is None
    for wrong in ("", "two words", "t\x00n"):
        file.write_text(wrong)
        with pytest.raises(InputError, match="holds no token"):
            read_token(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "gone")


def test_only_loopback_addresses_do_without_a_token() -> None:
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1"):
        assert is_loopback(host)
        require_token_beyond_loopback(host, None)
    for host in ("0.0.0.0", "::", "10.0.0.1", "server", "127.0.0.1.example.org"):
        assert not is_loopback(host)
        require_token_beyond_loopback(host, "token")
        with pytest.raises(InputError, match="give a --token-file"):
            require_token_beyond_loopback(host, None)


def test_the_authorization_header() -> None:
    assert refusal("horse", b"Bearer horse") is None and refusal("horse", b"bearer  horse") is None
    for missing in (None, b"", b"Bearer", b"Bearer ", b"Basic horse"):
        assert (refusal("horse", missing) or (0,))[0] == 401
    for wrong in (b"Bearer hors", b"Bearer horse2", "Bearer hörse".encode()):
        assert (refusal("horse", wrong) or (0,))[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "localhost"])
def test_a_server_listens_and_knows_its_urls(host: str) -> None:
    try:
        listener = listen(host, 0)
    except InputError as error:
        pytest.skip(str(error))  # a host without IPv6
    with closing(listener):
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        assert server_url(host, listener) == f"http://{shown}:{port}"
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        near = "127.0.0.1" if host == "0.0.0.0" else shown
        assert local_url(host, listener) == f"http://{near}:{port}"
        with pytest.raises(InputError, match=f"cannot listen on .*:{port} .*; choose another"):
            listen(host, port)


def test_a_refusal_is_one_line_of_ascii() -> None:
    answer = refusal_response(429, "full\n of „pictures“" + "x" * 600, retry_after=5)
    assert answer.status_code == 429 and answer.headers["retry-after"] == "5"
    assert bytes(answer.body).startswith(rb'{"error":"full of \\u201epictures\\u201cxxx')
    assert len(answer.body) < 520
    assert refusal_response(401, "no").headers["www-authenticate"] == "Bearer"


def test_names_of_devices() -> None:
    assert parse_device("cpu") == torch.device("cpu")
    assert parse_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    with pytest.raises(InputError, match=r"model\.device 'abacus' is unknown; use cpu, cuda"):
        parse_device("abacus", "model.device")
    with pytest.raises(InputError, match=r"^model\.device 'meta' cannot be used \(.*\); use cpu"):
        parse_device("meta", "model.device")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device 'cuda:1' is not available on this host"):
            parse_device("cuda:1")


def test_counted_nouns() -> None:
    found = [count(number, "image") for number in (0, 1, 2, 1000)]
    assert found == ["0 images", "1 image", "2 images", "1000 images"]
    assert [count(2, noun) for noun in ("box", "query", "child")] == [
        "2 boxes",
        "2 queries",
        "2 children",
    ]
    assert count(3, "bad row") == "3 bad rows"
    assert plural(1, "worker process") == "worker process"
    assert plural(2, "worker process") == "worker processes"
