import asyncio
import base64
import dataclasses
import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from fastapi import Response
from fastapi.responses import JSONResponse
from image_edit_server import (
    Asked,
    Behaviour,
    ImageEditServer,
    answering,
    break_off,
    colour,
    drip,
    failing,
    flood,
    hang,
    picture_answer,
    png,
)
from PIL import Image

from syngrpo.painting.compositing import ERASED, composite, erase_background
from syngrpo.painting.generators import make_generator
from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.generators.http_generator import HttpGenerator
from syngrpo.painting.generators.image_server import (
    ImageServerError,
    ImageServerOptions,
    Pace,
    Timing,
    pause_s,
    retry_after_s,
)
from syngrpo.sample import InputError

KEY = "sk-very-secret-0123456789"
KEY_ENV = "SYNGRPO_TEST_IMAGE_KEY"


class Timer:
    """A clock that only its own sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ImageEditServer, ImageEditServer]]:
    servers = ImageEditServer(), ImageEditServer()
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def server(servers: tuple[ImageEditServer, ImageEditServer]) -> ImageEditServer:
    servers[0].reset()
    return servers[0]


@pytest.fixture
def stranger(servers: tuple[ImageEditServer, ImageEditServer]) -> ImageEditServer:
    servers[1].reset()
    return servers[1]


def scene(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A picture of noise, and the mask of a disc in it."""
    original = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width]
    return original, (rows - height // 2) ** 2 + (columns - width // 3) ** 2 < (height // 4) ** 2


def asking_for(seed: int = 3, height: int = 48, width: int = 64) -> GenerationRequest:
    original, keep = scene(height, width)
    image = erase_background(original, keep)
    return GenerationRequest(image, keep, "a beach, at night", seed, (width, height))


def timed(server: ImageEditServer, timer: Timer, **options: object) -> HttpGenerator:
    timing = Timing(timer.clock, timer.sleep, chance=lambda: 0.0)
    return HttpGenerator(timing, url=server.url, **options)


def fails(generator: HttpGenerator, *requests: GenerationRequest) -> str:
    with pytest.raises(ImageServerError) as caught:
        generator.generate(requests or [asking_for()])
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is sent, and what comes back


@pytest.mark.parametrize("polarity", ["transparent", "white"])
@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"sizes": ("256x256", "192x128", "128x192")},
        {"multiple": 32, "min_pixels": 128 * 128, "max_pixels": 256 * 256},
    ],
)
def test_the_background_is_painted_and_kept_pixels_are_exact(
    server: ImageEditServer, polarity: str, rule: dict[str, object]
) -> None:
    server.paints = polarity
    original, keep = scene()
    request = asking_for(seed=11)
    generator = HttpGenerator(url=server.url, mask=polarity, **rule)
    painted = generator.generate([request])[0]
    assert painted.dtype == np.uint8
    assert painted.shape[:2] == generator.size_for((64, 48))[::-1]
    result = composite(original, painted, keep, feather=0)
    assert (result[keep] == original[keep]).all()
    black, white = np.zeros_like(original), np.full_like(original, 255)
    far = composite(black, white, keep, feather=6)[..., 0] == 255
    assert far.mean() > 0.3
    assert (result[far] == colour(11)).all()
    assert (painted == colour(11)).all(axis=-1).mean() > 0.7
    if not rule:
        assert (painted[keep] == original[keep]).all()
        assert (painted[~keep] == colour(11)).all()


def test_the_server_sees_no_old_background(server: ImageEditServer) -> None:
    _, keep = scene()
    HttpGenerator(url=server.url).generate([asking_for()])
    uploaded = np.asarray(server.asked[0].files["image"])
    assert (uploaded[~keep] == ERASED).all()


def test_a_mask_of_the_wrong_kind_is_refused_once(server: ImageEditServer) -> None:
    generator = HttpGenerator(url=server.url, mask="white", mask_field="mask")
    assert "missing alpha channel" in fails(generator)
    assert len(server.asked) == 1


def test_the_fields_of_a_request(server: ImageEditServer) -> None:
    extra = {"num_inference_steps": 4, "guidance_scale": 1.5, "enhance": False, "quality": "low"}
    options = {"model": "m", "response_format": "b64_json", "extra": extra}
    HttpGenerator(url=server.url, **options).generate([asking_for(seed=2**31 - 1)])
    assert server.asked[0].fields == {
        "prompt": "a beach, at night",
        "model": "m",
        "size": "64x48",
        "seed": "2147483647",
        "response_format": "b64_json",
        "num_inference_steps": "4",
        "guidance_scale": "1.5",
        "enhance": "false",
        "quality": "low",
    }
    HttpGenerator(url=server.url, seed_field=None).generate([asking_for()])
    assert server.asked[1].fields.keys() == {"prompt", "size"}


def test_prompts_arrive_as_they_are(server: ImageEditServer) -> None:
    prompt = 'Käse "im" Schnee; --x\r\n雪'
    request = dataclasses.replace(asking_for(), prompt=prompt)
    HttpGenerator(url=server.url).generate([request])
    assert server.asked[0].fields["prompt"] == prompt


def test_sizes() -> None:
    url = "http://127.0.0.1:1/v1/images/edits"
    three = HttpGenerator(url=url, sizes=("1024x1024", "1536x1024", "1024x1536"))
    assert three.size_for((640, 480)) == (1536, 1024)
    assert three.size_for((500, 480)) == (1024, 1024)
    assert three.size_for((480, 800)) == (1024, 1536)
    square = HttpGenerator(url=url, sizes=("256x256", "1024x1024"))
    assert square.size_for((300, 300)) == (256, 256)
    assert HttpGenerator(url=url).size_for((641, 479)) == (641, 479)
    width, height = HttpGenerator(url=url, multiple=16).size_for((641, 479))
    assert width % 16 == height % 16 == 0
    assert 512 * 512 * 0.9 < width * height <= 1024 * 1024


def test_a_picture_of_another_size_is_taken(server: ImageEditServer) -> None:
    other = np.full((30, 20, 3), 200, dtype=np.uint8)
    server.plan.append(answering(picture_answer(png(other))))
    painted = HttpGenerator(url=server.url).generate([asking_for()])[0]
    assert (painted == other).all()


def test_no_requests_are_no_pictures(server: ImageEditServer) -> None:
    assert HttpGenerator(url=server.url).generate([]) == []
    assert not server.asked


# Failures that may pass


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_failures_that_may_pass_are_tried_again(server: ImageEditServer, status: int) -> None:
    server.plan.extend([failing(status)] * 3)
    timer = Timer()
    painted = timed(server, timer, backoff_s=1, max_backoff_s=3).generate([asking_for()])
    assert (painted[0][0, 0] == colour(3)).all()
    assert len(server.asked) == 4
    assert timer.sleeps == [0.5, 1.0, 1.5]


def test_it_gives_up_after_the_last_retry(server: ImageEditServer) -> None:
    server.plan.extend([failing(503, "no\nworker\x1b[31m free")] * 9)
    said = fails(timed(server, Timer(), retries=2))
    assert said == (
        f"image server {server.host}/v1/images/edits answered 503: no worker [31m free; "
        "gave up after 3 attempts"
    )
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_other_refusals_are_final(server: ImageEditServer, status: int) -> None:
    server.plan.append(failing(status, "that\r\nwill not do " + "x" * 9999))
    timer = Timer()
    said = fails(timed(server, timer))
    assert f"answered {status}: that will not do xxx" in said
    assert len(said) < 500
    assert len(server.asked) == 1
    assert not timer.sleeps


def test_the_words_of_other_servers_are_understood(server: ImageEditServer) -> None:
    fields = [{"loc": ["body", "size"], "msg": "is required", "type": "missing"}]
    said = {
        "size: is required": JSONResponse({"detail": fields}, 422),
        "not today": JSONResponse({"detail": "not today"}, 400),
        "<h1>Bad</h1>": Response("<h1>Bad</h1>", 400),
        "no message": Response(b"", 400),
    }
    for words, response in said.items():
        server.plan.append(answering(response))
        assert fails(timed(server, Timer())).endswith(
            f"answered 4{response.status_code % 100:02}: {words}"
        )


def test_the_server_says_when_to_come_back(server: ImageEditServer) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    server.plan.extend([failing(429, retry_after="7"), failing(503, retry_after=later)])
    timer = Timer()
    timed(server, timer, backoff_s=1, max_backoff_s=1).generate([asking_for()])
    assert len(server.asked) == 3
    assert timer.sleeps[0] == 7.5
    assert 30 < timer.sleeps[1] < 51


def test_no_waiting_past_the_deadline(server: ImageEditServer) -> None:
    server.plan.append(failing(429, "slow down", retry_after="3600"))
    timer = Timer()
    said = fails(timed(server, timer, deadline_s=100))
    assert "answered 429: slow down; gave up after 1 attempt" in said
    assert "deadline_s 100" in said
    assert not timer.sleeps
    server.plan.extend([failing(503)] * 99)
    fails(timed(server, timer, deadline_s=10, backoff_s=6, max_backoff_s=6, retries=99))
    assert timer.sleeps == [3.0, 3.0, 3.0]


def test_a_server_that_is_not_there() -> None:
    gone = ImageEditServer()
    gone.stop()
    timer = Timer()
    said = fails(timed(gone, timer, retries=3))
    assert "cannot be reached (ConnectError" in said
    assert len(timer.sleeps) == 3


@pytest.mark.parametrize("behaviour", [hang, drip])
def test_a_server_that_takes_too_long(server: ImageEditServer, behaviour: Behaviour) -> None:
    server.plan.append(behaviour)
    generator = timed(server, Timer(), timeout_s=1.5)
    assert (generator.generate([asking_for()])[0][0, 0] == colour(3)).all()
    assert len(server.asked) == 2
    server.plan.extend([behaviour] * 2)
    said = fails(timed(server, Timer(), timeout_s=0.1, retries=1))
    assert "did not answer in time; gave up after 2 attempts" in said


def test_an_answer_that_breaks_off_is_tried_again(server: ImageEditServer) -> None:
    server.plan.append(break_off)
    timed(server, Timer()).generate([asking_for()])
    assert len(server.asked) == 2


# Several in one call


def test_pictures_come_in_order_of_their_requests(server: ImageEditServer) -> None:
    requests = [asking_for(seed) for seed in range(3)]
    painted = HttpGenerator(url=server.url).generate(requests)
    assert [tuple(picture[0, 0]) for picture in painted] == [tuple(colour(s)) for s in range(3)]


def test_the_rest_is_not_asked_for_when_one_fails(server: ImageEditServer) -> None:
    async def paint(asked: Asked) -> None:
        return None

    server.plan.extend([paint, failing(400, "not this one")])
    requests = [asking_for(seed) for seed in range(6)]
    assert "not this one" in fails(timed(server, Timer()), *requests)
    assert len(server.asked) == 2


def test_requests_are_paced_retries_too(server: ImageEditServer) -> None:
    server.plan.append(failing(500))
    timer = Timer()
    requests = [asking_for(seed) for seed in range(3)]
    generator = timed(server, timer, max_requests_per_minute=30, backoff_s=0.1)
    generator.generate(requests)
    assert timer.sleeps == [2.0, 2.0, 2.0]
    generator.generate(requests[:1])
    assert timer.now == 8.0


def test_waiting_for_its_turn_is_not_held_against_a_picture(server: ImageEditServer) -> None:
    timer = Timer()
    generator = timed(server, timer, max_requests_per_minute=1, deadline_s=5)
    assert len(generator.generate([asking_for(seed) for seed in range(3)])) == 3
    assert timer.sleeps == [60.0, 60.0]


def test_requests_begin_evenly_spaced() -> None:
    now = 100.0
    pace = Pace(per_minute=60, clock=lambda: now)
    assert [pace.reserve() for _ in range(3)] == [0, 1, 2]
    now += 2.5
    assert pace.reserve() == 0.5
    now += 1000  # a pause saves nothing up
    assert [pace.reserve() for _ in range(2)] == [0, 1]


def test_pauses_double_up_to_a_limit_and_are_spread() -> None:
    options = ImageServerOptions(backoff_s=1.0, max_backoff_s=20.0)
    assert [pause_s(n, options, None, 0.0) for n in range(1, 7)] == [0.5, 1, 2, 4, 8, 10]
    assert pause_s(2, options, None, 0.5) == 1.5
    assert pause_s(1, options, 30.0, 0.0) == 30.5
    assert pause_s(5000, options, None, 0.0) == 10


def test_retry_after() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert retry_after_s("12") == 12
    assert retry_after_s("1.5") == 1.5
    assert retry_after_s("-3") == 0
    assert retry_after_s("Thu, 01 Jan 2026 12:01:00 GMT", now) == 60
    assert retry_after_s("Thu, 01 Jan 2026 11:00:00 -0000", now) == 0
    for nonsense in (None, "", "soon", "inf", "nan"):
        assert retry_after_s(nonsense) is None


# Answers that are not to be trusted


def claiming(width: int, height: int) -> bytes:
    """A PNG header for that size, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def icon() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="ICO")
    return buffer.getvalue()


TRUNCATED = png(scene()[0])[:-3000]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Response(b"\x00\xffhello"), "without a picture"),
        (Response(b"[" * 200_000), "without a picture"),
        (JSONResponse({"data": []}), "without a picture"),
        (JSONResponse({"data": {"b64_json": "x"}}), "without a picture"),
        (JSONResponse({"error": {"message": "safety"}}), "without a picture: safety"),
        (JSONResponse({"data": [{"b64_json": "§$%"}]}), "not base64"),
        (picture_answer(b"certainly not a picture"), "not a picture"),
        (picture_answer(icon()), "not a picture"),
        (picture_answer(TRUNCATED), "not a picture"),
        (picture_answer(claiming(9000, 9000)), "9000x9000 pixels, more than"),
        (picture_answer(claiming(60000, 60000)), "claims more than"),
        (Response(gzip.compress(b"{}"), headers={"content-encoding": "gzip"}), "encoding gzip"),
        (Response(b" " * 200_001), "more than max_answer_bytes 200000"),
    ],
)
def test_bad_answers_are_refused(server: ImageEditServer, answer: Response, complaint: str) -> None:
    server.plan.append(answering(answer))
    assert complaint in fails(timed(server, Timer(), max_answer_bytes=200_000))
    assert len(server.asked) == 1


def test_a_flood_is_not_read_to_its_end(server: ImageEditServer) -> None:
    server.plan.append(flood)
    assert "more than max_answer_bytes 1000000" in fails(
        timed(server, Timer(), max_answer_bytes=1_000_000)
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_in_other_formats_and_modes(server: ImageEditServer, form: str) -> None:
    buffer = io.BytesIO()
    mode = "L" if form == "JPEG" else "RGBA"
    Image.new(mode, (16, 8), 99 if mode == "L" else (99, 99, 99, 255)).save(buffer, format=form)
    server.plan.append(answering(picture_answer(buffer.getvalue())))
    painted = HttpGenerator(url=server.url).generate([asking_for()])[0]
    assert painted.shape == (8, 16, 3)
    assert (np.abs(painted.astype(int) - 99) <= 2).all()


# Pictures that lie elsewhere


@pytest.mark.parametrize("prefix", ["", "http://{host}"])
def test_a_picture_on_the_same_server_is_fetched(server: ImageEditServer, prefix: str) -> None:
    server.answers_with, server.prefix = "url", prefix.format(host=server.host)

    async def paint(asked: Asked) -> None:
        return None

    server.plan.extend([paint, failing(503)])
    timed(server, Timer(), response_format="url").generate([asking_for()])
    assert server.asked[0].fields["response_format"] == "url"
    assert (len(server.asked), len(server.fetched)) == (1, 2)


def test_a_picture_on_another_host_only_where_that_is_allowed(
    server: ImageEditServer, stranger: ImageEditServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    stranger.pictures.append(png(np.full((8, 8, 3), 7, dtype=np.uint8)))
    answer = JSONResponse({"data": [{"url": f"http://{stranger.host}/pictures/0.png?token=t"}]})
    server.plan.extend([answering(answer)] * 2)
    said = fails(timed(server, Timer(), api_key_env=KEY_ENV))
    assert f"a picture on {stranger.host}; add that to image_hosts" in said
    assert "token" not in said
    assert not stranger.fetched
    generator = timed(server, Timer(), api_key_env=KEY_ENV, image_hosts=(stranger.host,))
    assert (generator.generate([asking_for()])[0] == 7).all()
    assert "authorization" not in stranger.fetched[0].headers
    assert KEY not in str(stranger.fetched[0].headers)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://a:b@{host}/x", "//example.org/x"]
)
def test_addresses_that_are_never_fetched(server: ImageEditServer, url: str) -> None:
    answer = JSONResponse({"data": [{"url": url.format(host=server.host)}]})
    server.plan.append(answering(answer))
    assert "answered with" in fails(timed(server, Timer()))
    assert not server.fetched


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    server: ImageEditServer,
    stranger: ImageEditServer,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    away = answering(Response(status_code=status, headers={"location": stranger.url}))
    server.plan.append(away)
    generator = timed(server, Timer(), api_key_env=KEY_ENV)
    assert f"answered {status}, a redirect" in fails(generator)

    async def paint(asked: Asked) -> None:
        return None

    server.answers_with = "url"
    server.plan.extend([paint, away])
    assert f"answered {status}, a redirect" in fails(generator)
    assert not stranger.asked
    assert not stranger.fetched


# The key


def test_the_key_is_in_the_authorization_header_and_nowhere_else(
    server: ImageEditServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = timed(server, Timer(), api_key_env=KEY_ENV, retries=0)
    monkeypatch.setenv(KEY_ENV, KEY)
    server.answers_with = "url"
    generator.generate([asking_for()])
    for asked in (server.asked[0], server.fetched[0]):
        assert asked.headers.pop("authorization") == f"Bearer {KEY}"
        assert KEY not in str(asked)
    server.answers_with = "b64_json"
    echoes = [
        failing(401, f"Incorrect API key provided: {KEY}."),
        failing(500, "x" * 290 + KEY),
        answering(Response(f"{KEY} is wrong", 403)),
        answering(JSONResponse({"data": [], "note": KEY})),
        answering(JSONResponse({"data": [{"url": f"http://{KEY}/"}]})),
    ]
    for echo in echoes:
        server.plan.append(echo)
        said = fails(generator)
        assert KEY not in said
        assert KEY[:12] not in said
    assert KEY not in generator.fingerprint
    assert KEY not in repr(generator)


def test_no_key_no_header(server: ImageEditServer) -> None:
    HttpGenerator(url=server.url).generate([asking_for()])
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize("value", [None, "", f"{KEY}\n", f"Bearer {KEY}", f"{KEY}ä"])
def test_a_key_that_is_missing_or_cannot_be_one(
    server: ImageEditServer, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    generator = HttpGenerator(url=server.url, api_key_env=KEY_ENV)
    monkeypatch.delenv(KEY_ENV, raising=False)
    if value is not None:
        monkeypatch.setenv(KEY_ENV, value)
    for call in (generator.load, lambda: generator.generate([asking_for()])):
        with pytest.raises(InputError, match=KEY_ENV) as caught:
            call()
        assert KEY not in str(caught.value)
    assert not server.asked


# Options


def test_the_fingerprint_names_what_changes_pictures() -> None:
    url = "https://images.example.org/v1/images/edits"
    base = {"url": url, "model": "m"}
    same = [
        {"timeout_s": 5, "retries": 1, "api_key_env": "X"},
        {"url": f"{url}?api-version=secret"},
        {"response_format": "url", "max_requests_per_minute": 3.0},
        {"min_pixels": 7, "extra": {}},
    ]
    other = [
        {"url": "https://images.example.org:8443/v1/images/edits"},
        {"model": "n"},
        {"mask": "white"},
        {"mask": "white", "mask_field": "mask"},
        {"seed_field": None},
        {"extra": {"steps": 4}},
        {"sizes": ("1024x1024",)},
        {"multiple": 16},
        {"multiple": 16, "min_pixels": 7},
    ]
    print_ = make_generator("http", base).fingerprint
    assert print_.startswith("http/images.example.org/v1/images/edits/m/")
    assert {make_generator("http", base | options).fingerprint for options in same} == {print_}
    prints = {make_generator("http", base | options).fingerprint for options in other}
    assert len(prints - {print_}) == len(other)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"url": "127.0.0.1:8000/v1/images/edits"}, "http:// or https://"),
        ({"url": "ftp://host/x"}, "http:// or https://"),
        ({"url": "http://host/v1"}, "add /v1/images/edits"),
        ({"url": "http://host:8000"}, "add /v1/images/edits"),
        ({"url": "http://host:port/x"}, "url is not a URL"),
        ({"url": "http://host:99999/x"}, "a host and port"),
        ({"url": f"http://me:{KEY}@host/x"}, "api_key_env"),
        ({"mask": "black"}, "'transparent' or 'white'"),
        ({"response_format": "png"}, "'b64_json' or 'url'"),
        ({"sizes": ("1024",)}, "1024x1024"),
        ({"sizes": ("0x5",)}, "1024x1024"),
        ({"sizes": ("8x8",), "multiple": 8}, "exclude each other"),
        ({"multiple": 0}, "option multiple of"),
        ({"min_pixels": 9, "max_pixels": 4}, "min_pixels 9 is more than max_pixels 4"),
        ({"timeout_s": 0}, "option timeout_s of"),
        ({"deadline_s": float("nan")}, "option deadline_s of"),
        ({"retries": -1}, "option retries of"),
        ({"backoff_s": 30}, "backoff_s 30 is more than max_backoff_s"),
        ({"max_requests_per_minute": 0.0}, "option max_requests_per_minute of"),
        ({"extra": {"seed": 3}}, "'seed', which every request does"),
        ({"extra": {"n": 3}}, "'n', which every request does"),
        ({"extra": {"lora": ["a"]}}, "'lora' to a list"),
    ],
)
def test_options_that_make_no_sense(change: dict[str, object], complaint: str) -> None:
    options = {"url": "http://127.0.0.1:1/v1/images/edits"} | change
    with pytest.raises(InputError) as caught:
        make_generator("http", options)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_seed_may_be_fixed_for_a_server_that_calls_it_otherwise(server: ImageEditServer) -> None:
    generator = HttpGenerator(url=server.url, seed_field=None, extra={"seed": 5})
    painted = generator.generate([asking_for(seed=9)])[0]
    assert (painted[0, 0] == colour(5)).all()


def test_base64_may_not_hide_in_white_space(server: ImageEditServer) -> None:
    text = "\n".join(base64.encodebytes(png(scene()[0])).decode().split())
    server.plan.append(answering(JSONResponse({"data": [{"b64_json": text}]})))
    assert "not base64" in fails(timed(server, Timer()))
