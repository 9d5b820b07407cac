"""``report.html``: what a run did, on one page that needs no other file and no network."""

from __future__ import annotations

from html import escape
from pathlib import Path

from syngrpo.pages.cards import (
    accuracy_card,
    diversity_card,
    held_out_tables,
    images_card,
    pace_line,
    tasks_card,
)
from syngrpo.pages.curves import evaluation_charts, training_charts
from syngrpo.pages.gallery import extremes_section, gallery_section
from syngrpo.pages.headlines import image_counts, pace
from syngrpo.pages.lineage import (
    early_and_late_descriptions,
    extremes,
    families,
    open_pool,
)
from syngrpo.pages.run_data import RunData, read_run
from syngrpo.pages.style import STYLE
from syngrpo.pages.words import words_section
from syngrpo.pool.store import Pool
from syngrpo.serving.atomic_files import atomic_write

FAMILIES = 8
CHILDREN = 4
EXTREMES = 5


def write_report(run_dir: Path) -> Path:
    """Writes ``run_dir/report.html`` and returns its path.

    Works at any moment of a run, also after a crash, and on runs without synthesis or evaluation.
    Raises InputError when the directory holds no run.
    """
    run = read_run(run_dir)
    pool = open_pool(run_dir)
    try:
        page = _page(run, pool)
    finally:
        if pool is not None:
            pool.close()
    path = run_dir / "report.html"
    atomic_write(path, page)
    return path


def _page(run: RunData, pool: Pool | None) -> str:
    name = escape(run.directory.resolve().name)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Syn-GRPO: {name}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{name}</h1>{_lead(run)}{_cards(run, pool)}{_charts(run)}"
        f"{_pictures(pool)}{held_out_tables(run)}</main></body></html>\n"
    )


def _lead(run: RunData) -> str:
    facts = [
        f"{title} {_config(run, section, key)}"
        for title, section, key in (
            ("method", "method", "name"),
            ("model", "model", "path"),
            ("generator", "synthesis", "generator"),
            ("seed", "trainer", "seed"),
        )
        if _config(run, section, key) is not None
    ]
    now = pace(run)
    lines = [line for line in (" · ".join(facts), pace_line(now)) if line]
    lead = f"<p class='lead'>{'<br>'.join(map(escape, lines))}</p>"
    if now.planned is not None and now.steps < now.planned:
        lead += (
            f"<p class='warn'>This run is at step {now.steps} of {now.planned}: it is still going, "
            "or it was stopped; <code>--resume</code> goes on with it.</p>"
        )
    return lead


def _config(run: RunData, section: str, key: str) -> object:
    return (run.config.get(section) or {}).get(key)


def _cards(run: RunData, pool: Pool | None) -> str:
    counts = image_counts(run, pool.stats() if pool is not None else None)
    cards = [accuracy_card(run, name) for name in run.sets()]
    cards += [diversity_card(run), tasks_card(run), images_card(counts)]
    return f"<div class='grid-cards'>{''.join(cards)}</div>"


def _charts(run: RunData) -> str:
    charts = evaluation_charts(run) + training_charts(run)
    if not charts:
        return ""
    return f"<h2>Curves</h2><div class='charts'>{''.join(charts)}</div>"


def _pictures(pool: Pool | None) -> str:
    if pool is None:
        return ""
    return (
        gallery_section(families(pool, FAMILIES, CHILDREN))
        + extremes_section(*extremes(pool, EXTREMES))
        + words_section(*early_and_late_descriptions(pool))
    )
