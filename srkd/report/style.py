"""The page's style sheet: one column, the reader's own sans-serif, light or dark as the reader's system is."""

from __future__ import annotations

STYLE = """
:root {
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  --paper: #ffffff; --panel: #f5f6f8; --ink: #1b1f24; --soft: #5a616b; --faint: #d5d9df; --accent: #0065a3;
  --series-1: #0072b2; --series-2: #d55e00; --series-3: #009e73; --series-4: #cc79a7;
  --series-5: #b8860b; --series-6: #56b4e9; --series-7: #5b4fc4; --series-8: #444444;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1d2126; --ink: #e7e9ec; --soft: #a0a8b3; --faint: #3a414a; --accent: #6fc0f2;
    --series-1: #56b4e9; --series-2: #ff9148; --series-3: #2fcb9c; --series-4: #e8a3cd;
    --series-5: #e2bd55; --series-6: #b5dcf6; --series-7: #aaa0f7; --series-8: #c4c8ce;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; padding: 3.5rem 1.25rem 4rem; max-width: 62rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 var(--sans);
}
h1 { font-size: clamp(1.75rem, 1.3rem + 2vw, 2.5rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0; }
h1, h2, p, dd, figcaption { overflow-wrap: anywhere; }
h1, h2 { text-wrap: balance; font-weight: 650; }
h2 { font-size: 1.375rem; line-height: 1.25; letter-spacing: -0.01em; margin: 0 0 1rem; }
p { max-width: 66ch; margin: 0 0 1rem; }
.lead { font-size: 1.1875rem; line-height: 1.5; color: var(--soft); margin: 0.875rem 0 0; }
a { color: var(--accent); text-underline-offset: 0.2em; text-decoration-thickness: 1px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 1.5rem 0 0; padding: 0; }
nav { font-size: 0.9375rem; }
section { margin-top: 2.75rem; padding-top: 1.75rem; border-top: 1px solid var(--faint); }
section.more { margin-top: 1.75rem; padding-top: 0; border: 0; }
section > :last-child { margin-bottom: 0; }
figure { margin: 0 0 1.75rem; }
figcaption { font-size: 0.875rem; line-height: 1.5; color: var(--soft); margin-top: 0.625rem; max-width: 75ch; }
footer { margin-top: 3.5rem; font-size: 0.8125rem; color: var(--soft); }

.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1.25rem 2rem; }
.facts { margin: 0 0 1.75rem; }
.facts div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.facts dd { margin: 0; font-size: 1.875rem; line-height: 1.2; font-weight: 600; letter-spacing: -0.02em; }
.facts dd { font-variant-numeric: tabular-nums; }
.facts dt { font-size: 0.875rem; color: var(--soft); }

.scroll { overflow: auto; }
.scroll.tall { max-height: 32rem; border-bottom: 1px solid var(--faint); }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.5rem 0.875rem; text-align: left; border-bottom: 1px solid var(--faint); vertical-align: baseline; }
th:first-child, td:first-child { padding-left: 0.25rem; }
th:last-child, td:last-child { padding-right: 0.25rem; }
th, td { overflow-wrap: break-word; max-width: 20rem; }
tbody th { font-weight: 500; min-width: 7rem; }
td:not(.number) { min-width: 6rem; }
tbody th, thead th:first-child { position: sticky; left: 0; background: inherit; }
tbody tr { background: var(--paper); }
thead th:first-child { z-index: 1; }
tbody tr:hover { background: var(--panel); }
.number { text-align: right; white-space: nowrap; }
thead th, thead th:first-child { position: sticky; top: 0; background: var(--paper); }
thead th { vertical-align: bottom; border-bottom-width: 0; }
thead th { box-shadow: inset 0 -1px var(--soft); font-size: 0.8125rem; font-weight: 600; color: var(--soft); }
thead button { all: unset; cursor: pointer; padding: 0.25rem 0; }
thead button:hover { color: var(--ink); }
thead button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
thead th:not(.number) button::after, thead .number button::before { content: "\\2193"; visibility: hidden; }
thead button::after { margin-left: 0.3em; }
thead button::before { margin-right: 0.3em; }
thead [aria-sort="ascending"]:not(.number) button::after, thead .number[aria-sort="ascending"] button::before {
  content: "\\2191";
}
thead [aria-sort$="scending"]:not(.number) button::after, thead .number[aria-sort$="scending"] button::before {
  visibility: visible;
}
thead [aria-sort]:not([aria-sort="none"]) { color: var(--ink); }

.plot svg { display: block; width: 100%; height: auto; }
.plot svg * { stroke-linejoin: round; }
.plot .wide { max-width: 50rem; }
.plot .narrow { display: none; }

.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1.25rem 1rem; }
.strip figure { margin: 0; }
.strip img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: 3px; }
.strip figcaption { margin-top: 0.375rem; }
.strip b { display: block; font-weight: 600; color: var(--ink); line-height: 1.3; }
.strip span { font-variant-numeric: tabular-nums; }
.compare { max-width: 36rem; margin-bottom: 1.75rem; }
.stage { position: relative; }
.viewport { overflow: auto; border-radius: 4px; aspect-ratio: var(--width) / var(--height); background: var(--panel); }
.viewport { max-height: 85vh; overscroll-behavior: contain; scrollbar-width: none; }
.viewport::-webkit-scrollbar { display: none; }
.canvas { display: grid; width: calc(100% * var(--zoom, 1)); }
.canvas img { grid-area: 1 / 1; display: block; width: 100%; image-rendering: pixelated; user-select: none; }
.fits .canvas { touch-action: pan-y; cursor: ew-resize; }
.divider {
  position: absolute; top: 0; bottom: 0; width: 2.5rem; margin-left: -1.25rem; cursor: ew-resize; touch-action: none;
}
.divider::before {
  content: ""; position: absolute; inset: 0 auto 0 50%; width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px rgb(0 0 0 / 0.4);
}
.divider::after {
  content: "\\2194"; position: absolute; top: 50%; left: 50%; transform: translate(-50%, -50%);
  width: 2rem; height: 2rem; border-radius: 50%; font: 1.125rem/2rem var(--sans); text-align: center;
  background: #fff; color: #1b1f24; box-shadow: 0 1px 5px rgb(0 0 0 / 0.45);
}
.tag {
  position: absolute; top: 0.5rem; max-width: 44%; padding: 0.125rem 0.5rem; border-radius: 3px; pointer-events: none;
  font-size: 0.8125rem; background: rgb(0 0 0 / 0.68); color: #fff;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.tag.left { left: 0.5rem; }
.tag.right { right: 0.5rem; }
.controls { display: grid; grid-template-columns: 1fr 1fr 4.5rem; gap: 0.75rem; margin-top: 0.75rem; }
.controls label { display: grid; gap: 0.25rem; font-size: 0.8125rem; color: var(--soft); min-width: 0; }
.controls .slide { grid-column: 1 / -1; }
.controls input { margin: 0; height: 1.5rem; accent-color: var(--accent); }
.controls select {
  width: 100%; height: 2.5rem; padding: 0 0.5rem; font: 0.9375rem var(--sans); text-overflow: ellipsis;
  color: var(--ink); background: var(--panel); border: 1px solid var(--faint); border-radius: 5px;
}

details { border: 1px solid var(--faint); border-radius: 6px; }
summary { cursor: pointer; padding: 0.625rem 1rem; font-weight: 600; }
pre {
  margin: 0; padding: 1rem; overflow: auto; max-height: 36rem; tab-size: 2;
  border-top: 1px solid var(--faint); background: var(--panel); font: 0.8125rem/1.6 var(--mono);
}

@media (max-width: 40rem) {
  body { padding-top: 2rem; }
  .plot .wide { display: none; }
  .plot .narrow { display: block; }
  .strip { grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); }
  table { font-size: 0.875rem; }
  th, td { padding: 0.5rem 0.625rem; }
  tbody th { max-width: 9rem; }
}
@media (min-width: 60rem) {
  .crops { display: grid; grid-template-columns: 36rem 1fr; gap: 0 2rem; align-items: start; }
  .crops > figcaption { grid-column: 1 / -1; }
}
@media print {
  body { padding: 0; max-width: none; }
  nav, .compare { display: none; }
  .scroll.tall { max-height: none; }
  figure, tr { break-inside: avoid; }
}
"""
