"""Reads masks that nobody checked, in a process whose memory is limited.

python strange_masks.py    # prints how many codes were decoded and how many refused
"""

from __future__ import annotations

import resource
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from syngrpo.boxes import decode_mask, encode_mask
from syngrpo.formats.masks import checked_mask, segmentation_mask
from syngrpo.sample import EncodedImage, InputError

MEMORY = 1 << 30
"""Bytes that the process may take beyond what it has after its imports."""
IMAGE = EncodedImage(9, 7)
BOX = (0.0, 0.0, 9.0, 7.0)

SIDES = st.integers(-1, 9) | st.sampled_from([7, 9, 60_000, 2**31, 2**63, 2**64, True, None, "9"])
SIZES = st.lists(SIDES, max_size=3) | st.none() | st.text(max_size=3)
TEXTS = st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40)
ODD = st.text(max_size=20) | st.none() | st.lists(st.integers(), max_size=6)


@st.composite
def codes(draw: st.DrawFn) -> dict[str, Any]:
    """The code of a real mask, of which mostly a part or all was replaced."""
    bits = np.random.default_rng(draw(st.integers(0, 2**32))).random((7, 9)) < 0.3
    text = encode_mask(bits)["counts"]
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return {"size": draw(SIZES), "counts": text}
    if kind == 1:
        return {"size": [7, 9], "counts": draw(TEXTS | ODD)}
    if kind <= 3:
        first, last = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        text = text[:first] + draw(TEXTS | st.just("0" * 15 + "o")) + text[last:]
    return {"size": [7, 9], "counts": text}


POINTS = st.integers(-5, 15) | st.floats() | st.sampled_from([2**31, -(2**40), 1e300])
PARTS = st.lists(POINTS, max_size=12)

seen: Counter[str] = Counter()


@settings(
    max_examples=1500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(codes())
def decode(code: dict[str, Any]) -> None:
    try:
        mask = decode_mask(code)
    except InputError:
        seen["refused"] += 1
        return
    seen["decoded"] += 1
    assert mask.shape == tuple(code["size"]) and mask.dtype == bool
    theirs = coco_mask.decode({"size": code["size"], "counts": code["counts"].encode()})
    assert np.array_equal(mask, theirs.astype(bool))


@settings(
    max_examples=700,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(codes() | st.lists(PARTS, max_size=3) | PARTS | st.text(max_size=3))
def read(segmentation: Any) -> None:
    for check in (checked_mask, segmentation_mask):
        try:
            mask = check(segmentation, BOX, IMAGE, "segmentation")
        except InputError:
            seen["refused"] += 1
            continue
        seen["read"] += 1
        assert mask is None or decode_mask(mask).shape == (7, 9)


def main() -> None:
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    decode()
    read()
    print(*(f"{name}: {count}" for name, count in sorted(seen.items())))
    assert min(seen[name] for name in ("decoded", "read", "refused")) >= 50


if __name__ == "__main__":
    main()
