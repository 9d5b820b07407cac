"""The generator ``http``: a server with OpenAI's API ``/v1/images/edits`` paints the surroundings.

OpenAI itself, vLLM-Omni and SGLang offer that API; options say where they differ, see
docs/generators_http.md. This module writes the requests; ``image_server`` sends them and reads the
answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import numpy as np
from PIL import Image, ImageChops

from syngrpo.options import REQUIRED, option
from syngrpo.painting.generators.base import GenerationRequest, Generator
from syngrpo.painting.generators.image_server import (
    REAL_TIMING,
    Files,
    Form,
    ImageServer,
    ImageServerOptions,
    Timing,
)
from syngrpo.painting.generators.sizes import SizeRule, fitted_image, repaint_mask, working_size

REVISION = 1
"""Part of the fingerprint. Raise it when requests are written in a way that changes pictures."""
MASK_FIELDS = {"transparent": "mask", "white": "mask_image"}
"""For each value of the option ``mask``, the form field that such servers read the mask from."""
CELL = 16
"""Largest side in pixels of the square that one latent covers, of the models that are served."""
_OURS = ("image", "mask", "prompt", "model", "size", "response_format", "n", "stream")
"""Form fields that ``extra`` may not set."""


@dataclass(frozen=True, kw_only=True)
class HttpOptions(ImageServerOptions):
    """Which server paints, and how it is asked.

    Without ``sizes`` and ``multiple`` the server is asked for pictures in the size of the request;
    with ``sizes``, in the one of them that is nearest in aspect ratio; with ``multiple``, in sides
    that are multiples of it and an area between ``min_pixels`` and ``max_pixels``.
    """

    url: str = option(
        REQUIRED, "where requests are posted to, such as http://host:8000/v1/images/edits"
    )
    model: str | None = option(None, "name of the model on the server; null: the server chooses")
    mask: Literal["transparent", "white"] = option(
        "transparent",
        "which pixels of a mask the server paints anew: transparent (OpenAI) or white (vLLM-Omni)",
    )
    mask_field: str | None = option(
        None, "form field of the mask; null: mask for transparent, mask_image for white"
    )
    response_format: Literal["b64_json", "url"] | None = option(
        None,
        "how the server sends the picture, as it is told in the form field of that name; "
        "null: the field is not sent, because OpenAI refuses it",
    )
    seed_field: str | None = option(
        "seed", "form field of the seed; null: no seed is sent, so pictures cannot be reproduced"
    )
    extra: Mapping[str, Any] = option(
        dict,
        "further form fields, such as num_inference_steps or quality; values are texts, numbers, "
        "true or false",
    )
    sizes: tuple[str, ...] = option((), 'the sizes that may be asked for: "1024x1024", …')
    multiple: int | None = option(
        None, "pixels of which both sides must be multiples; null: any size", ge=1
    )
    min_pixels: int = option(
        512 * 512, "smallest area of a picture in pixels; used with multiple", ge=1
    )
    max_pixels: int = option(
        1024 * 1024, "largest area of a picture in pixels; used with multiple", ge=1
    )

    def __post_init__(self) -> None:
        """Raise ValueError for a url that no request can go to and for options that contradict each
        other."""
        super().__post_init__()
        checked_url(self.url)
        for size in self.sizes:
            _parsed_size(size)
        if self.sizes and self.multiple is not None:
            raise ValueError("sizes and multiple exclude each other; remove one")
        if self.min_pixels > self.max_pixels:
            raise ValueError(
                f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}"
            )
        for name, value in self.extra.items():
            if name in (*_OURS, self.field_of_mask, self.seed_field):
                raise ValueError(f"extra sets '{name}', which every request does; remove it")
            if not isinstance(value, str | int | float):
                raise ValueError(
                    f"extra sets '{name}' to a {type(value).__name__}; give a text, a number or "
                    "true or false"
                )

    @property
    def field_of_mask(self) -> str:
        """The form field of the mask."""
        return self.mask_field or MASK_FIELDS[self.mask]


class HttpGenerator(Generator):
    """Asks an image server for pictures. They have the size that the server paints."""

    Options = HttpOptions
    wants_gpu = False

    def __init__(self, timing: Timing = REAL_TIMING, **options: Any) -> None:
        """Check the options, without a request and without reading the key.

        ``options`` are those of HttpOptions. Raises ValueError when they contradict each other.
        """
        self._options = HttpOptions(**options)
        self._server = ImageServer(checked_url(self._options.url), self._options, timing)
        self._sizes = [_parsed_size(size) for size in self._options.sizes]
        self.fingerprint = self._named()

    def load(self) -> None:
        """Read the key. Raises InputError when there is none or it holds unusable characters."""
        self._server.load_key()

    def generate(self, requests: Sequence[GenerationRequest]) -> list[np.ndarray]:
        """Paint one picture per request, one after the other. Must not be called from a coroutine.

        Raises ImageServerError for the first picture that was not painted; the next ones are then
        not asked for. Raises InputError as ``load`` does.
        """
        self.load()
        return asyncio.run(self._server.paint_all(self._form(request) for request in requests))

    def size_for(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) that the server is asked for when the request wants
        ``wanted``."""
        options = self._options
        if self._sizes:
            width, height = wanted
            return min(
                self._sizes,
                key=lambda size: (
                    abs(math.log(size[0] * height / (size[1] * width))),
                    abs(math.log(size[0] * size[1] / (width * height))),
                ),
            )
        if options.multiple is None:
            return wanted
        rule = SizeRule(options.multiple, options.min_pixels, options.max_pixels)
        return working_size(wanted, rule)

    def _form(self, request: GenerationRequest) -> tuple[Form, Files]:
        """Return the form fields and the files (name, PNG, media type) of a request. Image and mask
        have the size of ``size_for``."""
        options = self._options
        size = self.size_for(request.size)
        form: Form = {"prompt": request.prompt, "size": f"{size[0]}x{size[1]}"}
        if options.model is not None:
            form["model"] = options.model
        if options.response_format is not None:
            form["response_format"] = options.response_format
        if options.seed_field is not None:
            form[options.seed_field] = request.seed
        # With ``multiple`` the model has latents, and the mask must be constant on their cells.
        # Without, the mask is exact to the pixel.
        repaint = repaint_mask(request.keep, size, math.gcd(options.multiple or 1, CELL))
        if options.mask == "transparent":
            kept = ImageChops.invert(repaint)
            repaint = Image.merge("RGBA", (repaint, repaint, repaint, kept))
        files = {
            "image": ("image.png", _png(fitted_image(request.image, size)), "image/png"),
            options.field_of_mask: ("mask.png", _png(repaint), "image/png"),
        }
        return form | dict(options.extra), files

    def _named(self) -> str:
        """Return the fingerprint. It changes with everything that changes pictures and that a
        client can know; it does not know the server's weights."""
        options = self._options
        areas = None if options.multiple is None else (options.min_pixels, options.max_pixels)
        parts = {
            "revision": REVISION,
            "mask": options.mask,
            "mask_field": options.field_of_mask,
            "seed_field": options.seed_field,
            "extra": dict(options.extra),
            "sizes": options.sizes,
            "multiple": options.multiple,
            "areas": areas,
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return f"http/{self._server.address}/{options.model or 'default'}/{digest}"


def checked_url(text: str) -> httpx.URL:
    """Return the URL of an image edit API. Raises ValueError for a text that is no such URL."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"url is not a URL ({error}); correct it") from None
    port = 80 if url.port is None else url.port
    if url.scheme not in ("http", "https") or not url.host or not 0 < port < 65536:
        raise ValueError(
            "url must begin with http:// or https:// and name a host and port, such as "
            "http://127.0.0.1:8000/v1/images/edits"
        )
    if url.userinfo:
        raise ValueError(
            f"the url of {url.host} holds a user or password; put the key into an environment "
            "variable and name that in api_key_env"
        )
    if url.path.rstrip("/").endswith("/v1") or url.path == "/":
        raise ValueError(f"url {url.host}{url.path} is not the whole address; add /v1/images/edits")
    return url


def _parsed_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if found is None:
        raise ValueError(f"size '{text}' is not of the form 1024x1024; correct it")
    return int(found[1]), int(found[2])


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
