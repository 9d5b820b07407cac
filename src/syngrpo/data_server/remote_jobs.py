"""The ``JobSource`` of a worker on any host: it leases jobs of a data server over HTTP."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from syngrpo.data_server.data_connection import ContentRefused, DataServerConnection
from syngrpo.data_server.job_exchange import Leased
from syngrpo.data_server.sample_wire import (
    PROTOCOL,
    Data,
    leased_from,
    result_data,
    sample_from,
    unread_image,
)
from syngrpo.painting.painting_request import Result
from syngrpo.sample import InputError, Sample
from syngrpo.serving.http_client import ServerAddress

WAIT_S = 1.0
"""Seconds that the server may wait for a job before it answers. A worker that is told to stop waits
for this answer."""
REMEMBERED_BYTES = 64 << 20
"""Bytes of seeds' images that are kept, because the jobs of a seed usually follow each other."""
ERROR_CHARACTERS = 60_000
"""Characters of the longest traceback that is sent. Only the end of a longer one is sent."""
HANDED_IN_BYTES = 32 << 20
"""Bytes of images after which a request gets no further image."""


class RemoteJobs:
    """The ``JobSource`` of the worker called ``worker``. It leases jobs for one ``generator``
    (fingerprint)."""

    def __init__(self, server: ServerAddress, worker: str, generator: str) -> None:
        self._connection = DataServerConnection(server)
        self._worker = worker
        self._generator = generator
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self._remembered = 0

    def lease(self, count: int) -> list[Leased]:
        """Lease jobs. One whose source cannot be fetched or is not valid is reported as failed."""
        wanted = {
            "generator": self._generator,
            "count": count,
            "wait_s": WAIT_S,
            "protocol": PROTOCOL,
        }
        leased = []
        rows = self._post("lease", wanted).get("leases")
        if not isinstance(rows, list):
            url = self._connection.url
            raise InputError(f"{url} answers POST /v1/lease as no data server does; check the URL")
        for one in rows:
            try:
                leased.append(leased_from(one, self._source(one["run"], one["source"])))
            except InputError as error:  # of this job alone
                failed = {"run": one["run"], "job": one["job"]["id"], "error": str(error)}
                self._post("fail", failed)
        return leased

    def heartbeat(self, leased: Sequence[Leased]) -> None:
        self._post("heartbeat", {"jobs": _names(leased)})

    def complete(self, results: Sequence[tuple[Leased, Result]]) -> None:
        """Hand in results. A job whose result the server refuses is reported as failed."""
        waiting = [(leased, result_data(leased, result)) for leased, result in results]
        while waiting:
            now, size = 0, 0
            while now < len(waiting) and size < HANDED_IN_BYTES:
                size += _bytes_of_image(waiting[now][1])
                now += 1
            try:
                self._post("complete", {"results": [data for _, data in waiting[:now]]})
            except ContentRefused as error:
                for leased, data in waiting[:now]:
                    self._complete_one(leased, data, str(error))
            del waiting[:now]

    def _complete_one(self, leased: Leased, data: Data, error: str) -> None:
        try:
            self._post("complete", {"results": [data]})
        except ContentRefused:
            self.fail(leased, error)

    def fail(self, leased: Leased, error: str) -> None:
        (name,) = _names([leased])
        self._post("fail", {**name, "error": error[-ERROR_CHARACTERS:]})

    def release(self, leased: Sequence[Leased]) -> None:
        self._post("release", {"jobs": _names(leased)})

    def _post(self, what: str, data: Data) -> Any:
        return self._connection.send("POST", f"/v1/{what}", {"worker": self._worker, **data})

    def _source(self, run: str, row: Mapping[str, Any]) -> Sample:
        small = row["content"]
        content = base64.b64decode(small) if small else self._image(run, row["image"])
        return sample_from(row, unread_image(row, content))

    def _image(self, run: str, digest: str) -> bytes:
        if digest not in self._images:
            content = self._images[digest] = self._connection.image(run, digest)
            self._remembered += len(content)
        self._images.move_to_end(digest)
        content = self._images[digest]
        while self._remembered > REMEMBERED_BYTES and len(self._images) > 1:
            _, forgotten = self._images.popitem(last=False)
            self._remembered -= len(forgotten)
        return content


def _bytes_of_image(result: Data) -> int:
    """Return the size of the image in a result, in characters."""
    image = result["painted"]["image"] if "painted" in result else result["picture"]
    return len(image or "")


def _names(leased: Sequence[Leased]) -> list[Data]:
    return [{"run": one.run, "job": one.job.id} for one in leased]
