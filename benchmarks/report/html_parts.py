"""Pieces of an HTML page that needs nothing but itself: text escaped, styles and pictures inside.

Every function returns HTML. What is called `html` is HTML already; every other text is escaped.
"""

import base64
import html as escaping
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from benchmarks.figures.style import figure_bytes, title_of

_STYLE_FILE = Path(__file__).parent / "report.css"
_PHOTO_DPI = 150
_PX_PER_IN = 108
"""So large are figures on a wide screen, and the text in all of them alike."""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, which its list of contents names."""

    key: str
    heading: str
    html: str


def page(title: str, top_html: str, sections: Iterable[Section], foot: str) -> str:
    """The whole document."""
    sections = list(sections)
    links = "".join(f'<a href="#{s.key}">{escape(s.heading)}</a>' for s in sections)
    body = "".join(
        f'<section id="{s.key}"><h2>{escape(s.heading)}</h2>{s.html}</section>\n' for s in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE_FILE.read_text()}</style></head>\n"
        f"<body><main><header><h1>{escape(title)}</h1>{top_html}<nav>{links}</nav></header>\n"
        f'{body}<footer class="muted">{escape(foot)}</footer></main></body></html>\n'
    )


def escape(text: object) -> str:
    return escaping.escape(str(text))


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{escape(text)}</p>"


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def command(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


def what_to_run(text: str, *commands: str) -> str:
    """Says what is missing, and the commands that make it."""
    return paragraph(text) + "".join(map(command, commands))


def definitions(pairs: Iterable[tuple[str, object]]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{''.join(items)}</dl>"


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    words: Collection[int] = (0,),
    caption: str = "",
) -> str:
    """A table that scrolls in its own box; columns hold numbers, but those in `words`."""

    def line(cells: Sequence[object], tag: str) -> str:
        kinds = ["number" if i not in words else "words" if i else "" for i in range(len(cells))]
        return "".join(
            f"<{tag}{_class(kind)}>{unbroken(escape(cell))}</{tag}>"
            for cell, kind in zip(cells, kinds, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = f"<thead><tr>{line(headings, 'th')}</tr></thead>"
    return scrolling(f"<table>{above}{head}<tbody>{body}</tbody></table>")


def unbroken(text: str) -> str:
    """A mean and its deviation stay in one line."""
    return text.replace(" ± ", "\u00a0±\u00a0")


def scrolling(html: str) -> str:
    return f'<div class="scroll" tabindex="0">{html}</div>'


def figure(drawn: Figure, caption: str, is_photo: bool = False, is_wide: bool = False) -> str:
    """A matplotlib figure inside the page: SVG, or PNG where it holds pictures."""
    if is_photo:
        kind, data = "image/png", figure_bytes(drawn, "png", _PHOTO_DPI)
    else:
        kind, data = "image/svg+xml", figure_bytes(drawn, "svg")
    alt = title_of(drawn).replace("\n", ". ")
    return _image(kind, data, alt, caption, drawn.get_figwidth() * _PX_PER_IN, is_wide)


def picture(path: Path, alt: str, caption: str, width_px: int = 1200) -> str:
    """A picture from a file, made smaller, as JPEG."""
    with Image.open(path) as read:
        image = read.convert("RGB")
    image.thumbnail((width_px, 10 * width_px))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return _image("image/jpeg", buffer.getvalue(), alt, caption, width_px, True)


def _image(
    kind: str, data: bytes, alt: str, caption: str, width_px: float, is_wide: bool
) -> str:  # fmt: skip
    """The picture at most so wide; a wide one is not made smaller than legible, but scrolls."""
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    size = f"max-width:{width_px:.0f}px"
    size += f";min-width:min({width_px:.0f}px,640px)" if is_wide else ""
    image = f'<img alt="{escape(alt)}" style="{size}" src="{source}">'
    return (
        f"<figure{_class('wide' if is_wide else '')}>{scrolling(image) if is_wide else image}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
