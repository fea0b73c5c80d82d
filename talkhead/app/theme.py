"""How the page looks: colours, fonts that every system has, and a few rules for small screens."""

from __future__ import annotations

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#head { padding: 0.75rem 0 0.25rem; }
#head h1 { font-size: 2rem; font-weight: 700; letter-spacing: -0.02em; margin: 0; }
#head p { margin: 0.15rem 0 0; color: var(--body-text-color-subdued); font-size: 1.05rem; }
.faces img { cursor: pointer; }
.screen { width: 100%; aspect-ratio: 1; overflow: hidden; border-radius: var(--block-radius);
  background: var(--block-background-fill); box-shadow: var(--block-shadow); }
.screen img { display: block; width: 100%; height: 100%; object-fit: contain; }
.screen img:not([src]) { visibility: hidden; }
#note { color: var(--body-text-color-subdued); font-size: 0.9rem; padding-top: 0.5rem; }
.state { min-height: 1.5rem; }
.state .bar { height: 0.5rem; border-radius: 0.25rem; overflow: hidden;
  background: var(--border-color-primary); margin-top: 0.45rem; }
.state .bar > div { height: 100%; background: var(--color-accent); transition: width 0.3s; }
.state .bar > div.unknown { width: 100%; opacity: 0.35; }
.state .line { display: flex; justify-content: space-between; gap: 1rem;
  font-variant-numeric: tabular-nums; }
.state .mark { color: var(--body-text-color-subdued); font-size: 0.9rem; margin-top: 0.3rem; }
table.batch { width: 100%; border-collapse: collapse; border: 0 !important; }
table.batch td { padding: 0.45rem 0.6rem; vertical-align: top; overflow-wrap: anywhere;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
table.batch td:first-child { width: 35%; font-weight: 600; }
table.batch .line { flex-wrap: wrap; }
@media (max-width: 640px) {
  #head h1 { font-size: 1.6rem; }
  footer .divider { display: none !important; }
  .gradio-container { padding: 0 !important; }
  .gradio-container .main { padding: 0.75rem !important; min-width: 0; }
  .tab-container button { padding-left: 0.6rem !important; padding-right: 0.6rem !important; }
}
"""


def theme() -> gr.Theme:
    """Return the page's theme, light and dark; no font is fetched from anywhere."""
    return gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=_MONO)
