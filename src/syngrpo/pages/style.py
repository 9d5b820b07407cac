"""The look of the report page: one style sheet, light and dark, nothing loaded from elsewhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f5f2; --card: #ffffff; --ink: #23262b; --soft: #6a7078; --line: #e3e1dc;
  --good: #1d7f4e; --bad: #b4452f; --accent: #2f5f9e;
  --series-0: #2f6fb7; --series-1: #d9822b; --series-2: #3d9a68; --series-3: #a3519f;
  --series-4: #8b8f94;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #17191d; --card: #1f2227; --ink: #e6e6e3; --soft: #9aa0a8; --line: #33373e;
    --good: #5cc48d; --bad: #e58a72; --accent: #86b3ea;
    --series-0: #6ea8ec; --series-1: #eda65a; --series-2: #6cc795; --series-3: #cf8bcb;
    --series-4: #9aa0a8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 4px; }
h3 { font-size: 14px; margin: 0 0 10px; font-weight: 600; }
.family + h3, ul + h3 { margin-top: 24px; }
p { margin: 0 0 12px; } .lead, .note { color: var(--soft); }
.note { font-size: 12.5px; margin: 0 0 6px; }
.grid-cards { display: grid; gap: 14px; margin-top: 22px;
  grid-template-columns: repeat(auto-fit, minmax(262px, 1fr)); }
.card, .chart, .family { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 16px 18px; }
.card dl { display: grid; grid-template-columns: 1fr auto; gap: 3px 12px; margin: 0; }
.card dt { color: var(--soft); } .card dd { margin: 0; text-align: right; }
.card dd, td, .legend b, .fact b { font-variant-numeric: tabular-nums; }
.change { margin-top: 8px; } .change > * { display: block; }
.change .what { color: var(--soft); font-size: 13px; }
.change .value { font-size: 24px; font-weight: 600; white-space: nowrap; }
.change .value small { font-size: 16px; font-weight: 400; color: var(--soft); }
.change .range { color: var(--soft); font-size: 12px; }
.up { color: var(--good); } .down { color: var(--bad); } .delta { font-weight: 600; }
.charts { display: grid; gap: 14px; margin-top: 14px;
  grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; font-size: 14px; }
.chart svg { width: 100%; height: auto; display: block; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .tick { fill: var(--soft); font-size: 10.5px; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .faint { fill: none; stroke-width: 1; opacity: 0.28; }
.chart .bar { stroke-width: 1.5; opacity: 0.55; } .chart .hover { fill: transparent; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 0;
  padding: 0; font-size: 12.5px; color: var(--soft); }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px;
  margin-right: 6px; } .legend b { margin-left: 6px; color: var(--ink); font-weight: 600; }
.family { margin-top: 14px; display: grid; gap: 18px; grid-template-columns: 220px 1fr; }
.family .children { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(176px, 1fr)); }
.picture svg { width: 100%; height: auto; display: block; border-radius: 6px;
  background: var(--line); }
.picture rect { fill: transparent; stroke: #ff3b6b; stroke-width: 2;
  vector-effect: non-scaling-stroke; }
.picture rect.other { stroke: #ffffff; stroke-width: 1.2; stroke-dasharray: 3 3; opacity: 0.85; }
.picture svg text { fill: #ffffff; stroke: #b0123c; stroke-width: 3px; paint-order: stroke;
  vector-effect: non-scaling-stroke; font-weight: 600; }
.picture figcaption { font-weight: 400; font-size: 12.5px; margin-top: 6px; line-height: 1.4; }
.picture .words { display: block; overflow-wrap: anywhere; }
.fact { color: var(--soft); margin-right: 10px; white-space: nowrap; }
.fact b { color: var(--ink); font-weight: 600; }
details { color: var(--soft); font-size: 12px; } summary { cursor: pointer; }
.columns { display: grid; gap: 12px 48px; grid-template-columns: auto 1fr; align-items: start; }
.columns h3 { margin-top: 14px; } .examples { margin: 0; padding-left: 18px; font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; margin-top: 10px; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 5px 18px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; }
.meter { display: inline-block; height: 8px; border-radius: 4px; vertical-align: middle;
  background: var(--accent); opacity: 0.75; }
.warn { border-left: 4px solid var(--bad); padding: 8px 14px; background: var(--card);
  border-radius: 4px; margin-top: 16px; }
@media (max-width: 700px) { .family, .columns { grid-template-columns: 1fr; } }
"""
