"""The look of the page: one style sheet, light and dark, nothing loaded from elsewhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f5f2; --card: #ffffff; --ink: #23262b; --soft: #6a7078; --line: #e3e1dc;
  --truth: #128a46; --found: #d81b70; --accent: #2f5f9e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #17191d; --card: #1f2227; --ink: #e6e6e3; --soft: #9aa0a8; --line: #33373e;
    --truth: #4fd08a; --found: #ff6fae; --accent: #86b3ea;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 8px; }
.note { color: var(--soft); font-size: 12.5px; margin: 8px 0 0; max-width: 80ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 5px 18px 5px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; }
.scale { display: inline-block; position: relative; width: 160px; height: 10px;
  border-radius: 5px; background: var(--line); vertical-align: middle; }
.scale i { position: absolute; top: 2px; bottom: 2px; min-width: 1px; border-radius: 3px;
  background: var(--accent); opacity: 0.5; }
.scale b { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px;
  background: var(--accent); }
.cases { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
figure { margin: 0; padding: 12px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; min-width: 0; }
figure svg { width: 100%; max-height: 320px; display: block; border-radius: 6px;
  background: var(--line); }
figcaption { font-size: 12.5px; line-height: 1.45; margin-top: 8px; overflow-wrap: anywhere; }
figcaption > * { display: block; }
.facts { color: var(--soft); margin: 2px 0; }
.fact { margin-right: 12px; white-space: nowrap; display: inline-block; }
.fact b { color: var(--ink); }
.id { color: var(--soft); font-size: 11px; }
figcaption .truth::before { content: "truth: "; } figcaption .found::before { content: "answer: "; }
figcaption .truth { color: var(--truth); } figcaption .found { color: var(--found); }
pre { margin: 6px 0; padding: 6px 8px; max-height: 9.5em; overflow: auto; white-space: pre-wrap;
  background: var(--page); border-radius: 6px;
  font: 11px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
svg rect { fill: none; vector-effect: non-scaling-stroke; stroke-width: 2.5; }
svg rect.halo { stroke: #ffffff; stroke-width: 4.5; opacity: 0.55; }
svg rect.truth { stroke: #14b85a; } svg rect.found { stroke: #ff2d86; stroke-dasharray: 7 4; }
svg text { font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 0.22em;
  stroke-linejoin: round; }
svg text.truth { fill: #0b7a3a; } svg text.found { fill: #c2105f; }
.legend { display: flex; gap: 20px; color: var(--soft); font-size: 12.5px; margin: 0 0 8px; }
.legend span { display: flex; align-items: center; gap: 7px; }
.legend i { width: 22px; height: 0; border-top: 3px solid #14b85a; }
.legend i.found { border-top: 3px dashed #ff2d86; }
details { margin-top: 40px; color: var(--soft); font-size: 13px; } summary { cursor: pointer; }
"""
