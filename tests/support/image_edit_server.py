"""A server with OpenAI's images API on a free port of this machine, for tests.

Uploads are read with the standard library's mail parser, not with what wrote them.
"""

import asyncio
import base64
import email
import email.policy
import io
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image

Behaviour = Callable[["Asked"], Awaitable[Response | None]]
"""Answers one request badly; None for "after all, paint"."""


@dataclass
class Asked:
    """One request as it arrived."""

    headers: dict[str, str]
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Image.Image] = field(default_factory=dict)


def colour(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, 3, dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


class ImageEditServer:
    """Paints what the mask says in the colour of the seed, in the size asked for.

    ``paints`` "transparent" reads the field mask as OpenAI does, "white" mask_image as vLLM-Omni.
    Each of ``plan`` answers one request before any is painted. ``answers_with`` "url" sends the
    path of the picture instead, after ``prefix``.
    """

    def __init__(self) -> None:
        self.reset()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.host}/v1/images/edits"
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def reset(self) -> None:
        """As new."""
        self.paints = "transparent"
        self.answers_with = "b64_json"
        self.prefix = ""
        self.plan: deque[Behaviour] = deque()
        self.asked: list[Asked] = []
        self.fetched: list[Asked] = []
        self.pictures: list[bytes] = []

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/images/edits")
        async def edits(request: Request) -> Response:
            asked = read(dict(request.headers), await request.body())
            self.asked.append(asked)
            behaviour = self.plan.popleft() if self.plan else None
            bad = await behaviour(asked) if behaviour else None
            return bad or self._paint(asked)

        @app.get("/pictures/{number}.png")
        async def picture(number: int, request: Request) -> Response:
            asked = Asked(dict(request.headers))
            self.fetched.append(asked)
            behaviour = self.plan.popleft() if self.plan else None
            bad = await behaviour(asked) if behaviour else None
            return bad or Response(self.pictures[number], media_type="image/png")

        return app

    def _paint(self, asked: Asked) -> Response:
        image = np.asarray(asked.files["image"].convert("RGB"))
        if self.paints == "transparent":
            mask = asked.files.get("mask")
            if mask is None or mask.mode != "RGBA":
                return refusal(400, "Invalid mask image: mask image missing alpha channel")
            repaint = np.asarray(mask)[..., 3] == 0
        else:
            mask = asked.files.get("mask_image")
            if mask is None:
                return refusal(400, "a mask is needed")
            repaint = np.asarray(mask.convert("L")) > 127
        if repaint.shape != image.shape[:2]:
            return refusal(400, "Invalid mask image: it has another size")
        painted = np.where(repaint[..., None], colour(int(asked.fields.get("seed", 0))), image)
        if asked.fields["size"] != f"{image.shape[1]}x{image.shape[0]}":
            return refusal(400, "size is not that of the image")
        data = png(painted)
        if self.answers_with == "url":
            self.pictures.append(data)
            url = f"{self.prefix}/pictures/{len(self.pictures) - 1}.png"
            return JSONResponse({"created": 1, "data": [{"url": url, "b64_json": None}]})
        return picture_answer(data)


def read(headers: dict[str, str], body: bytes) -> Asked:
    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    asked = Asked(headers)
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        assert isinstance(name, str) and isinstance(data, bytes)
        if part.get_filename():
            assert part.get_content_type() == "image/png"
            asked.files[name] = Image.open(io.BytesIO(data))
        else:
            asked.fields[name] = data.decode()
    return asked


def picture_answer(data: bytes) -> Response:
    encoded = base64.b64encode(data).decode()
    return JSONResponse({"created": 1, "data": [{"b64_json": encoded}]})


def refusal(status: int, message: str, **headers: str) -> Response:
    error = {"error": {"message": message, "type": "invalid_request_error", "code": None}}
    return JSONResponse(error, status, {k.replace("_", "-"): v for k, v in headers.items()})


def answering(response: Response) -> Behaviour:
    async def behave(asked: Asked) -> Response:
        return response

    return behave


def failing(status: int, message: str = "no", **headers: str) -> Behaviour:
    return answering(refusal(status, message, **headers))


async def hang(asked: Asked) -> Response:
    await asyncio.sleep(3600)
    raise AssertionError


async def drip(asked: Asked) -> Response:
    """One byte after the other, so that no single read takes long."""

    async def drops() -> AsyncIterator[bytes]:
        for _ in range(3000):
            yield b" "
            await asyncio.sleep(0.02)

    return StreamingResponse(drops(), media_type="application/json")


async def flood(asked: Asked) -> Response:
    async def waves() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 65536
            await asyncio.sleep(0)

    return StreamingResponse(waves(), media_type="application/json")


async def break_off(asked: Asked) -> Response:
    """Promises more than it sends, then closes the connection."""
    return Response(b"{", headers={"content-length": "1000"})
