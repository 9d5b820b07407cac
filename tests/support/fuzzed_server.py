"""A data server under a limit of memory that measures how long its event loop is blocked.

python fuzzed_server.py DIRECTORY    # prints its address; after SIGTERM, the longest block, how
                                     # long a fixed piece of work takes on this machine, and the
                                     # largest size of the process, as JSON
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from syngrpo.data_server.routes import ServiceState, Signal
from syngrpo.data_server.serve_data import create_app
from syngrpo.data_server.server_runs import Runs
from syngrpo.serving.http_server import HttpServer
from syngrpo.serving.listening import listen, local_url

MEMORY = 2 << 30
"""Bytes of address space that the process may take beyond what it has after its imports."""


class Watched(HttpServer):
    """Notes the longest time between two ticks in which the process used the processor. A busy
    machine makes ticks late, but then the process does not run."""

    longest = 0.0
    last = (0.0, 0.0)

    async def on_tick(self, counter: int) -> bool:
        now = (time.monotonic(), time.process_time())
        if counter > 1:
            wall, used = (after - before for before, after in zip(self.last, now, strict=True))
            self.longest = max(self.longest, min(wall, used))
        self.last = now
        return await super().on_tick(counter)


class Impatient(ServiceState):
    """Lets no request wait for jobs that do not come."""

    async def wait_for(
        self, until: Signal, look: Callable[[], Awaitable[list[Any]]], seconds: float
    ) -> list[Any]:
        return await super().wait_for(until, look, min(seconds, 0.01))


def reference() -> float:
    """Processor seconds for reading 16 MiB of JSON: the speed of this machine."""
    text = "[" + "1," * (8 << 20) + "1]"
    start = time.process_time()
    json.loads(text)
    return time.process_time() - start


def main(directory: Path) -> None:
    app = create_app(Runs(directory))
    app.state.service.__class__ = Impatient
    listener = listen("127.0.0.1", 0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    print(local_url("127.0.0.1", listener), flush=True)
    server = Watched(app, answer_s=60)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # uvicorn raises it again at its end
    server.run(sockets=[listener])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"blocked_s": server.longest, "reference_s": reference(), "peak_bytes": peak}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
