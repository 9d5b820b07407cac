"""Requests to a data server that are nearly right: something in them was replaced."""

from __future__ import annotations

import base64
import copy
import io
import json
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from service_client import RUN, SEEDS, jobs, painted
from strange_masks import codes

from syngrpo.data_server.sample_wire import parent_data
from syngrpo_rooms.dataset import rooms_samples


def repeatable(examples: int) -> settings:
    """Return the settings of a property test over requests: the same ones each time, however
    long one takes."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


TEXTS = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(
    [
        "",
        "\0",
        "a\0b",
        "\ud800",
        "<|im_start|>",
        "x" * 5000,
        "\u202eשלום",
        "🛋️" * 40,
        "../..",
        "\n\r",
    ]
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, 5e-324, 2**63, -1])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SIDES = st.sampled_from([1, 3, 128, 129, 9000, 70_000, 2**31])


def _bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(200_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _encoded(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


FILES = [_encoded(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "PPM")]
SAMPLES = [parent_data(one) for one in SEEDS]
SAMPLES += [
    parent_data(one) for task in ("ovd", "isr") for one in rooms_samples("train", 2, task=task)
]


@st.composite
def images(draw: st.DrawFn) -> str:
    """A picture file in base64: whole, cut off, with other bytes, or with a size it has not."""
    if draw(st.integers(0, 5)) == 0:
        content = _bomb(draw(SIDES), draw(SIDES))
    else:
        content = draw(st.sampled_from(FILES))
    at = draw(st.just(0) | st.integers(0, len(content)))
    kind = draw(st.integers(0, 3))
    if kind == 1:
        content = content[:at]
    elif kind == 2:
        content = content[:at] + draw(st.binary(max_size=20)) + content[at + 8 :]
    return base64.b64encode(content).decode()


@st.composite
def changed(draw: st.DrawFn, data: Any) -> Any:
    """The data with one value replaced, left out or twice there, at any depth."""
    whole = inner = copy.deepcopy(data)
    while True:
        places = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not places:
            return whole
        place = draw(st.sampled_from(places))
        if isinstance(inner[place], dict | list) and inner[place] and draw(st.integers(0, 3)):
            inner = inner[place]
            continue
        kind = draw(st.integers(0, 4))
        if kind == 0:
            del inner[place]
        elif kind == 1 and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[place]))
        elif place in ("content", "image") and kind < 4:
            inner[place] = draw(images())
        elif place == "mask" or (place == "counts" and kind < 4):
            inner[place] = draw(codes() if place == "mask" else TEXTS)
        else:
            inner[place] = draw(VALUES)
        return whole


def _data(draw: st.DrawFn, leased: list[Any]) -> tuple[str, str, Any]:
    kind = draw(st.integers(0, 9))
    if kind <= 3:
        sample = draw(st.sampled_from(SAMPLES))
        return (
            "POST",
            f"{RUN}/samples",
            {"samples": [{**sample, "id": draw(TEXTS) or sample["id"]}]},
        )
    if kind <= 5:
        one = draw(st.sampled_from(leased))
        result = painted(one, FILES[0], draw(st.integers(0, 255)))
        return "POST", "/v1/complete", {"worker": "fuzz", "results": [result]}
    if kind == 6:
        asked = jobs(2, draw(st.integers(0, 2**40)), description=draw(TEXTS))
        return "POST", f"{RUN}/jobs", asked
    if kind == 7:
        visit = {"step": 1, "policy_version": 1, "diversity": 0.5, "accuracy": 0.5}
        return (
            "POST",
            f"{RUN}/observations",
            {"observations": [{"sample_id": SEEDS[0].id, **visit}]},
        )
    if kind == 8:
        held = {"run": "one", "job": draw(st.sampled_from(leased))["job"]["id"]}
        what = draw(st.sampled_from(["heartbeat", "release", "fail", "lease"]))
        more = {"fail": {**held, "error": "no"}, "lease": {"generator": "noop-1", "count": 2}}
        return "POST", f"/v1/{what}", {"worker": "fuzz", **more.get(what, {"jobs": [held]})}
    options = {"queue_limit": 5000, "lease_s": 86_400.0, "max_attempts": 900}
    options |= {"policy": {"max_visits": 5}, "painting": {"frame": {"scale": [0.5, 1.0]}}}
    return "PUT", "/v1/runs/other", options


@st.composite
def requests(draw: st.DrawFn, leased: list[Any]) -> tuple[str, str, bytes]:
    """Method, path and body of a request. ``leased`` are jobs that the worker "fuzz" holds."""
    method, path, data = _data(draw, leased)
    for _ in range(draw(st.integers(0, 2))):
        if isinstance(data, dict | list) and data:
            data = draw(changed(data))
    body = json.dumps(data).encode()
    if draw(st.integers(0, 30)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=10)) + body[at + 3 :]
    return method, path, body
