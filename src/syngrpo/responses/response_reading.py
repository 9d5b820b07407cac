"""Reads kept responses: those of some steps, of a sample, or by a filter.

Only the files of the wanted steps are opened, and only the wanted columns are read. A run that is
being written can be read: files may come and go meanwhile. Nothing here needs torch.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from syngrpo.responses.response_files import RESPONSES, ResponseFile, response_files
from syngrpo.responses.response_rows import COLUMNS, TOKEN_COLUMNS

logger = logging.getLogger(__name__)

_WHOLE = (
    pc.field("step").is_valid()
    & pc.field("group_index").is_valid()
    & pc.field("response_index").is_valid()
)


class KeptResponses:
    """The kept responses of the run in a directory; none for a run that keeps none.

    A row without a step or a place in its group is no response, and is left out.
    """

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory / RESPONSES
        self._left_out: dict[Path, str] = {}

    @property
    def problems(self) -> list[str]:
        """A line for each file that could not be read when it was needed last."""
        return [line for path, line in list(self._left_out.items()) if os.path.exists(path)]

    def last_step(self) -> int | None:
        """Return the newest step that has responses, None without any."""
        files = self._files()
        return files[-1].last if files else None

    def step_from(self, step: int) -> int | None:
        """Return the first step from this one on that has responses, None without any."""
        for file in self._files():
            found = [one for one in self._steps(file) if one >= step] if file.last >= step else []
            if found:
                return min(found)
        return None

    def step_up_to(self, step: int) -> int | None:
        """Return the last step up to this one that has responses, None without any."""
        for file in reversed(self._files()):
            found = [one for one in self._steps(file) if one <= step] if file.first <= step else []
            if found:
                return max(found)
        return None

    def read(
        self,
        steps: Collection[int] | None = None,
        where: pc.Expression | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return responses in the order of steps, groups and responses.

        ``steps``: those to read, such as ``range(90, 101)``; None for all. ``where``: a filter,
        such as ``pc.field("diversity") > 0.5``. ``columns``: None for all but those of tokens.
        ``limit``: the largest number of rows. A column that a file of an earlier version does not
        have is null there. A file that cannot be read is left out, and named in ``problems``.
        """
        files = self._files()
        where = _WHOLE if where is None else _WHOLE & where
        if steps is not None:
            wanted = sorted(steps)
            files = [file for file in files if _has_any(file, wanted)]
            where = pc.field("step").isin(pa.array(wanted, pa.int32())) & where
        schema = self._schema(files)
        if columns is None:
            columns = [name for name in schema.names if name not in TOKEN_COLUMNS]
        empty = pa.schema([schema.field(name) for name in columns]).empty_table()
        return self._read(files, schema, where, columns, limit) if files else empty

    def of_sample(
        self,
        sample_id: str,
        steps: Collection[int] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the responses to a sample. ``steps``: those at which it was drawn, if they are
        known (``Pool.observations``), so that only their files are opened."""
        return self.read(steps, pc.field("sample_id") == sample_id, columns)

    def _files(self) -> list[ResponseFile]:
        """Return the files, [] if the folder cannot be read."""
        try:
            files = response_files(self._directory)
        except OSError as error:
            self._left_out[self._directory] = f"{self._directory} cannot be read ({error.strerror})"
            return []
        self._left_out.pop(self._directory, None)
        return files

    def _steps(self, file: ResponseFile) -> list[int]:
        """Return the steps of a file, [] if it cannot be read."""
        column = self._read([file], self._schema([]), _WHOLE, ["step"], None)
        return [int(step) for step in column["step"].unique().to_pylist()]

    def _schema(self, files: Sequence[ResponseFile]) -> pa.Schema:
        """Return all columns: those of this version, and the rewards of the newest file."""
        known = list(COLUMNS.items())
        for file in reversed(files):
            try:
                found = pq.read_schema(file.path)
            except (OSError, pa.ArrowException):
                continue  # reading it tells
            known += [(one.name, one.type) for one in found if one.name.startswith("reward/")]
            break
        return pa.schema([*known, *TOKEN_COLUMNS.items()])

    def _read(
        self,
        files: Sequence[ResponseFile],
        schema: pa.Schema,
        where: pc.Expression | None,
        columns: Sequence[str],
        limit: int | None,
    ) -> pa.Table:
        """Read the files together; one by one if one of them cannot be read."""
        try:
            paths = [str(file.path) for file in files]
            dataset = ds.dataset(paths, schema=schema, format="parquet")
            if limit is not None:
                table = dataset.head(limit, columns=list(columns), filter=where)
            else:
                table = dataset.to_table(columns=list(columns), filter=where)
            table.validate(full=True)  # texts that are no UTF-8 could not be turned into strings
            for file in files:
                self._left_out.pop(file.path, None)
            return table
        except (OSError, pa.ArrowException) as error:
            if len(files) == 1:
                self._leave_out(files[0].path, error)
                return pa.schema([schema.field(name) for name in columns]).empty_table()
        tables = [self._read([file], schema, where, columns, limit) for file in files]
        return pa.concat_tables(tables).slice(0, limit)

    def _leave_out(self, path: Path, error: Exception) -> None:
        if not path.exists():
            return  # removed meanwhile: by logging.responses.max_gb, or because the run goes on
        reason = str(error).strip().splitlines()[0]
        line = f"{path} cannot be read and is left out: {reason}"
        if self._left_out.get(path) != line:
            self._left_out[path] = line
            logger.warning("%s", line)


def _has_any(file: ResponseFile, steps: Sequence[int]) -> bool:
    """Return whether a file may hold one of these steps, which ascend."""
    place = bisect_left(steps, file.first)
    return place < len(steps) and steps[place] <= file.last
