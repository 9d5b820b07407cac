"""The directory of one training run: the paths of its files, its metrics file, its log, and a lock.

The lock keeps two runs from using the same directory. ``run`` opens the directory in the main
process.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from syngrpo.responses.response_files import RESPONSES
from syngrpo.sample import InputError
from syngrpo.serving.atomic_files import atomic_write, disk_full_error, is_disk_full
from syngrpo.serving.directory_lock import LOCK_NAME, InUse, lock_directory
from syngrpo.serving.log_file import LogFile
from syngrpo.serving.run_files import require_plain
from syngrpo.workflow.run_options import config_text

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass
class RunDirectory:
    """The paths of a run.

    ``RunDirectory.open`` also locks the directory. ``RunDirectory(path)`` does not: it is for a
    process that only reads, and for the other ranks of the same run.

    ``log_from``: the place in the log, in bytes, at which the messages of this attempt begin.
    """

    path: Path
    log_from: int = 0
    _lock: IO[str] | None = field(default=None, repr=False)
    _log: logging.Handler | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Path, resume: bool = False) -> RunDirectory:
        """Create the directory, or with ``resume`` use an existing one, and lock it.

        The lock holds until ``close``, or until the process ends for any reason. Raises InputError
        when another process uses the directory, when it has content and ``resume`` is not set, or
        when there is no run to resume. A run that was killed before it wrote its configuration may
        be resumed: it starts from step 0.
        """
        if resume and not path.is_dir():
            raise InputError(
                f"there is no run to resume at {path}; check --run-dir or leave out --resume"
            )
        if path.exists() and not path.is_dir():
            raise InputError(f"run directory {path} is a file; choose another --run-dir")
        content = {entry.name for entry in path.iterdir()} if path.exists() else set()
        if resume and content - {LOCK_NAME} and "config.yaml" not in content:
            raise InputError(
                f"{path} has files but no config.yaml, so it is no run; check --run-dir"
            )
        if LOCK_NAME in content or resume or not content:
            run = cls(path)
            run._claim()
            content = {entry.name for entry in path.iterdir()}
            if resume or content == {LOCK_NAME}:
                return run
            run.close()
        raise InputError(
            f"run directory {path} is not empty; pass --resume to go on with that run, or choose "
            "another --run-dir"
        )

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def pool_path(self) -> Path:
        """The database file of the pool."""
        return self.path / "pool.db"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def responses(self) -> Path:
        """The folder of the kept responses."""
        return self.path / RESPONSES

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        """The trained model, in Hugging Face format."""
        return self.path / "final"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration (plain values) to ``config.yaml``, atomically."""
        atomic_write(self.config_path, config_text(config), durable=True)

    def append_metrics(self, record: Mapping[str, float | int | None]) -> None:
        """Append the metrics of one step to ``metrics.jsonl``, as one line of JSON.

        Floats are written so that reading gives the same float. Raises ValueError for a number
        that is not finite, which JSON cannot hold, and InputError when the disk is full. In that
        case a part of the line may be written, which is removed on resume.
        """
        for name, value in record.items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"metric {name} is {value} at step {record['step']}")
        line = (json.dumps({"step": record["step"], **record}) + "\n").encode()
        try:
            with self.metrics_path.open("ab") as file:
                file.write(line)
        except OSError as error:
            if not is_disk_full(error, self.path):
                raise
            raise disk_full_error(self.metrics_path, len(line), error) from error

    def start_log(self, level: int = logging.INFO) -> None:
        """Append the messages of all ``syngrpo`` loggers to ``log.txt`` from now on. Raises
        InputError when something else is in its place."""
        require_plain(self.log_path)
        self.log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._log = LogFile(self.log_path)
        self._log.setFormatter(logging.Formatter(_LOG_FORMAT))
        self._log.setLevel(level)
        logger = logging.getLogger("syngrpo")
        logger.addHandler(self._log)
        logger.setLevel(min(level, logger.level or level))

    def close(self) -> None:
        """Close the log and release the lock."""
        if self._log is not None:
            logging.getLogger("syngrpo").removeHandler(self._log)
            self._log.close()
            self._log = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _claim(self) -> None:
        """Create and lock the directory. The system releases the lock when the process ends."""
        try:
            self._lock = lock_directory(self.path)
        except OSError as error:
            raise InputError(
                f"run directory {self.path} cannot be written ({error.strerror}); choose another "
                "--run-dir"
            ) from None
        except InUse as error:
            raise InputError(
                f"run directory {self.path} is in use by process {error.owner}; wait for it, stop "
                "it, or choose another --run-dir"
            ) from None
