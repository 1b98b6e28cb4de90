"""Results with thumbnails: a contact sheet, one HTML file that opens anywhere and fetches nothing; a notebook's."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m3search.search.results import Results
    from m3search.types import Hit

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --quiet: #5b6670; --page: #f6f7f8; --card: #fff; --line: #dde1e5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --quiet: #9aa5b1; --page: #15181b; --card: #1e2226; --line: #343a40; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
  max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.35rem; margin: 2.2rem 0 .2rem; }
p.about, footer { color: var(--quiet); margin: 0 0 1rem; }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figure { margin: 0; }
img { display: block; width: 100%; height: 13rem; object-fit: contain; background: #000; }
li.ecg img { background: #fff; }
figcaption { padding: .6rem .8rem .8rem; overflow-wrap: anywhere; }
.head { display: flex; justify-content: space-between; font-weight: 600; }
.score { color: var(--quiet); font-variant-numeric: tabular-nums; }
.text { margin: .35rem 0; display: -webkit-box; -webkit-line-clamp: 5; -webkit-box-orient: vertical; overflow: hidden; }
.uri { color: var(--quiet); font-size: .85rem; }
"""

LIMITS = "Made with m3search: a research tool, not a medical device. Images and text may identify a person."


def render(pages: Sequence[Results]) -> str:
    """The sheet of one or more queries."""
    body = "\n".join(_section(results) for results in pages)
    title = escape(pages[0].query if len(pages) == 1 else f"{len(pages)} queries")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title} · m3search</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n<footer>{LIMITS}</footer>\n</body>\n</html>\n"
    )


# A notebook shows its output on a ground of its own, light or dark, and takes style sheets out of what it does not
# trust: so each element carries its few rules, and colours are the notebook's own, made fainter.
CELL = "width:11rem;border:1px solid color-mix(in srgb,currentColor 25%,transparent);border-radius:6px;overflow:hidden"
PICTURE = "display:block;width:100%;height:9rem;object-fit:contain;margin:0;background:"
WORDS = "padding:.3rem .5rem .5rem;font-size:.8rem;line-height:1.35;overflow-wrap:anywhere"
MOST_IN_NOTEBOOK = 60  # thumbnails: a notebook keeps its output in its file
MOST_WORDS = 90  # characters of a hit's text


def fragment(results: Results) -> str:
    """The first hits as notebooks show them."""
    shown = results[:MOST_IN_NOTEBOOK]
    images = results.fetch_thumbnails([hit.item_id for hit in shown])
    cells = "".join(_cell(hit, images.get(hit.item_id, b"")) for hit in shown)
    more = f", the first {len(shown)} are shown" if len(results) > len(shown) else ""
    return (
        f'<div><div style="margin:.3rem 0"><strong>{escape(results.query)}</strong> '
        f'<span style="opacity:.7">{_about(results)}{more}</span></div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:.5rem">{cells}</div></div>'
    )


def _cell(hit: Hit, thumbnail: bytes) -> str:
    words = hit.text or ", ".join(hit.labels)
    short = words if len(words) <= MOST_WORDS else words[: MOST_WORDS - 1].rstrip() + "…"
    place = f"{hit.item_id[:8]} {hit.best_part}".strip()
    style = PICTURE + ("#fff" if hit.modality == "ecg" else "#000")
    return (
        f'<div style="{CELL}" title="{escape(words)}">{_image(hit, thumbnail, style)}<div style="{WORDS}">'
        f"<strong>{hit.rank}. {escape(hit.modality)}</strong> {hit.score:.3f}<br>{escape(short)}<br>"
        f'<span style="opacity:.7;font-family:monospace">{escape(place)}</span></div></div>'
    )


def _section(results: Results) -> str:
    images = results.fetch_thumbnails([hit.item_id for hit in results])
    hits = "\n".join(_hit(hit, images.get(hit.item_id, b"")) for hit in results)
    head = f'<h1>{escape(results.query)}</h1>\n<p class="about">{_about(results)}</p>'
    return f"<section>\n{head}\n<ol>\n{hits}\n</ol>\n</section>"


def _about(results: Results) -> str:
    found = f"{len(results)} hit{'' if len(results) == 1 else 's'}"
    return f"{found} · {results.mode} search · {results.took_ms:.0f} ms"


def _hit(hit: Hit, thumbnail: bytes) -> str:
    words = hit.text or ", ".join(hit.labels)
    place = f"{hit.uri} · {hit.best_part}" if hit.best_part else hit.uri
    return (
        f'<li class="{escape(hit.modality)}"><figure>{_image(hit, thumbnail)}<figcaption>'
        f'<div class="head"><span>{hit.rank}. {escape(hit.modality)}</span>'
        f'<span class="score">{hit.score:.3f}</span></div>'
        f'<div class="text">{escape(words)}</div><div class="uri">{escape(place)}</div></figcaption></figure></li>'
    )


def _image(hit: Hit, thumbnail: bytes, style: str = "") -> str:
    if not thumbnail:
        return ""
    kind = "png" if thumbnail.startswith(b"\x89PNG") else "jpeg"
    data = b64encode(thumbnail).decode("ascii")
    styled = f' style="{style}"' if style else ""
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(hit.modality)}, rank {hit.rank}"{styled}>'
