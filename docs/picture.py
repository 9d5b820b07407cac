"""Makes docs/evolution.png: samples of finished runs, each with children painted from it.

python docs/picture.py RUN_DIR [RUN_DIR …]
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from PIL import Image, ImageDraw

from syngrpo.pool.store import Pool
from syngrpo.sample import Sample

SIDE = 176
GAP = 8
CHILDREN = 4
PARENTS = 2
"""Of each run; those with the most labelled objects come first."""


def picture(sample: Sample, framed: bool) -> Image.Image:
    """The sample's image, the object asked for in a frame where it is the parent."""
    image = Image.fromarray(sample.image.decode())
    if framed:
        ImageDraw.Draw(image).rectangle(sample.answer, outline=(230, 40, 80), width=2)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image.resize((SIDE, round(image.height * SIDE / image.width)), Image.Resampling.LANCZOS)


def families(run: Path) -> list[list[Image.Image]]:
    """Rows of one parent and its children."""
    with closing(Pool.open(run)) as pool:
        rows = []
        for seed in (drawn.sample for drawn in pool.samples("seed")):
            children = [c.sample for c in pool.children(seed.id)]
            if len({c.description for c in children}) >= CHILDREN:
                rows.append([seed, *children[:CHILDREN]])
        rows.sort(key=lambda row: len(row[0].objects), reverse=True)
        # Several questions may be asked about one image: once is enough here.
        different = {row[0].image.digest(): row for row in reversed(rows)}
        chosen = list(different.values())[::-1][:PARENTS]
        return [[picture(s, i == 0) for i, s in enumerate(row)] for row in chosen]


def main(runs: list[str]) -> None:
    rows = [row for run in runs for row in families(Path(run))]
    height = sum(row[0].height + GAP for row in rows) + GAP
    sheet = Image.new("RGB", ((CHILDREN + 1) * (SIDE + GAP) + 3 * GAP, height), "white")
    top = GAP
    for row in rows:
        for i, image in enumerate(row):
            sheet.paste(image, (GAP + i * (SIDE + GAP) + (2 * GAP if i else 0), top))
        top += row[0].height + GAP
    out = Path(__file__).with_name("evolution.png")
    sheet.save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])
