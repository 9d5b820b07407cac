"""The kinds of image generators, one file each, and what all of them may raise."""

from __future__ import annotations


class OutOfMemory(RuntimeError):  # noqa: N818
    """The device cannot hold a picture of ``size`` (width, height) in pixels.

    What could be freed has been freed. The picture may succeed after the generator's ``limit_side``
    was called with less than the longer of the two.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(size)  # the only argument, so that it survives the way between processes
        self.size = size

    def __str__(self) -> str:
        return f"out of device memory while painting {self.size[0]}x{self.size[1]} pixels"
