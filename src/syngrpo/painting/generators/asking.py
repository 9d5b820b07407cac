"""What a server of pictures is asked: its options, checked, and a request as a form.

Nothing here goes over the network.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from PIL import Image, ImageChops

from syngrpo.painting.generators.base import GenerationRequest
from syngrpo.painting.generators.sizes import SizeRule, fitted_image, repaint_mask, working_size
from syngrpo.sample import InputError

REVISION = 1
"""Counts the changes of how requests are handed to a server that change pictures."""
MASK_FIELDS = {"transparent": "mask", "white": "mask_image"}
"""The pixels of a mask that are painted anew → the form field that such servers read it from."""
CELL = 16
"""Pixels a latent spans, at most, in the models that are served."""
_OURS = ("image", "mask", "prompt", "model", "size", "response_format", "n", "stream")

Form = dict[str, str | int | float | bool]
Files = dict[str, tuple[str, bytes, str]]


@dataclass(frozen=True)
class HttpOptions:
    """Which server paints, and how it is asked.

    ``url`` is where requests are posted to, such as ``http://host:8000/v1/images/edits``;
    ``model`` None lets the server choose. ``api_key_env`` names the environment variable that holds
    the key; it is not the key.

    ``mask`` says which pixels of a mask the server paints anew: "transparent" (OpenAI) or "white"
    (vLLM-Omni); ``mask_field`` is the form field of the mask, by default the one such servers read.
    ``response_format`` is "b64_json" or "url"; None asks for neither, as the newer models of OpenAI
    demand. ``seed_field`` is the form field of the seed, None for a server that takes none; its
    pictures cannot be reproduced. ``extra`` are further form fields (num_inference_steps, quality).

    Pictures are asked for in the size that is wanted; or in the one of ``sizes`` ("1024x1024", …)
    nearest in shape; or in sides that are multiples of ``multiple`` and an area between
    ``min_pixels`` and ``max_pixels``.

    One attempt may take ``timeout_s`` seconds. After a failure that may pass, up to ``retries``
    more follow, after pauses that double from ``backoff_s`` to ``max_backoff_s``, or longer where
    the server asks for it; all attempts for a picture together may take ``deadline_s``.
    ``concurrency`` requests are under way at a time and ``max_requests_per_minute`` begin in a
    minute, both counted for this generator alone.

    An answer may have ``max_answer_bytes`` and a picture ``max_answer_pixels``. A picture may lie
    on the server asked, or on one of ``image_hosts`` ("host" or "host:port").
    """

    url: str
    model: str | None = None
    api_key_env: str | None = None
    mask: str = "transparent"
    mask_field: str | None = None
    response_format: str | None = None
    seed_field: str | None = "seed"
    extra: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    multiple: int | None = None
    min_pixels: int = 512 * 512
    max_pixels: int = 1024 * 1024
    timeout_s: float = 60.0
    deadline_s: float = 110.0
    retries: int = 4
    backoff_s: float = 0.5
    max_backoff_s: float = 20.0
    concurrency: int = 4
    max_requests_per_minute: float | None = None
    max_answer_bytes: int = 64 << 20
    max_answer_pixels: int = 4096 * 4096
    image_hosts: tuple[str, ...] = ()


class Asking:
    """The options at work. ``address`` names the server, ``fingerprint`` all that changes what it
    paints, ``url`` is posted to; only the last could hold a secret, in its query."""

    def __init__(self, options: HttpOptions) -> None:
        """Raises InputError for options that make no sense."""
        _check_numbers(options)
        _check_form(options)
        self.options = options
        self.url = _checked_url(options.url)
        self.address = self.url.netloc.decode("ascii") + self.url.path
        self.fingerprint = self._fingerprint()
        self._sizes = [_parsed_size(size) for size in options.sizes]

    def size_for(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) in which a picture of the ``wanted`` one is asked for."""
        options = self.options
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

    def form(self, request: GenerationRequest) -> tuple[Form, Files]:
        """The fields and the files (name, PNG, media type) of a request, image and mask alike in
        the size of ``size_for``."""
        options = self.options
        size = self.size_for(request.size)
        form: Form = {"prompt": request.prompt, "size": f"{size[0]}x{size[1]}"}
        if options.model is not None:
            form["model"] = options.model
        if options.response_format is not None:
            form["response_format"] = options.response_format
        if options.seed_field is not None:
            form[options.seed_field] = request.seed
        # Who asks for multiples asks a model with latents; others take a mask to the pixel.
        repaint = repaint_mask(request.keep, size, math.gcd(options.multiple or 1, CELL))
        if options.mask == "transparent":
            kept = ImageChops.invert(repaint)
            repaint = Image.merge("RGBA", (repaint, repaint, repaint, kept))
        files = {
            "image": ("image.png", _png(fitted_image(request.image, size)), "image/png"),
            mask_field(options): ("mask.png", _png(repaint), "image/png"),
        }
        return form | dict(options.extra), files

    def _fingerprint(self) -> str:
        options = self.options
        areas = None if options.multiple is None else (options.min_pixels, options.max_pixels)
        parts = {
            "revision": REVISION,
            "mask": options.mask,
            "mask_field": mask_field(options),
            "seed_field": options.seed_field,
            "extra": dict(options.extra),
            "sizes": options.sizes,
            "multiple": options.multiple,
            "areas": areas,
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return f"http/{self.address}/{options.model or 'default'}/{digest}"


def mask_field(options: HttpOptions) -> str:
    """The form field of the mask."""
    return options.mask_field or MASK_FIELDS[options.mask]


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InputError(f"synthesis: url is not one ({error}); correct it") from None
    port = 80 if url.port is None else url.port
    if url.scheme not in ("http", "https") or not url.host or not 0 < port < 65536:
        raise InputError(
            "synthesis: url must begin with http:// or https:// and name a host and port, such as "
            "http://127.0.0.1:8000/v1/images/edits"
        )
    if url.userinfo:
        raise InputError(
            f"synthesis: the url of {url.host} holds a user or password; put the key into an "
            "environment variable and name that in api_key_env"
        )
    if url.path.rstrip("/").endswith("/v1") or url.path == "/":
        raise InputError(
            f"synthesis: url {url.host}{url.path} is not the whole address; add /v1/images/edits"
        )
    return url


def _check_numbers(options: HttpOptions) -> None:
    least = {"multiple": 1, "min_pixels": 1, "concurrency": 1, "retries": 0, "backoff_s": 0}
    least |= {"max_answer_bytes": 1, "max_answer_pixels": 1}
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise InputError(f"synthesis: {name} is {value}; it must be at least {lowest}")
    for name in ("timeout_s", "deadline_s", "max_requests_per_minute"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError(f"synthesis: {name} is {value}; it must be more than 0")
    for low, high in (("min_pixels", "max_pixels"), ("backoff_s", "max_backoff_s")):
        values = getattr(options, low), getattr(options, high)
        if values[0] > values[1]:
            raise InputError(f"synthesis: {low} {values[0]} is more than {high} {values[1]}")


def _check_form(options: HttpOptions) -> None:
    if options.mask not in MASK_FIELDS:
        known = ", ".join(MASK_FIELDS)
        raise InputError(f"synthesis: mask '{options.mask}' is unknown; use one of {known}")
    if options.response_format not in (None, "b64_json", "url"):
        raise InputError(
            f"synthesis: response_format '{options.response_format}' is unknown; use b64_json, "
            "url or none"
        )
    if options.sizes and options.multiple is not None:
        raise InputError("synthesis: sizes and multiple exclude each other; remove one")
    for name, value in options.extra.items():
        if name in (*_OURS, mask_field(options), options.seed_field):
            raise InputError(f"synthesis: extra sets '{name}', which every request does; remove it")
        if not isinstance(value, str | int | float):
            raise InputError(
                f"synthesis: extra sets '{name}' to a {type(value).__name__}; give a text, a "
                "number or true or false"
            )


def _parsed_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if found is None:
        raise InputError(f"synthesis: size '{text}' is not of the form 1024x1024; correct it")
    return int(found[1]), int(found[2])


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
