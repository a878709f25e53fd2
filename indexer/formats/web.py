"""HTML: what a reader would read of a page, as Markdown, so that the splitter sees its structure."""

import re
from pathlib import Path, PurePosixPath

from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from markdownify import MarkdownConverter

from indexer.documents import Document
from indexer.formats.encoding import MOST_BYTES, decoded, marked, read_bytes
from indexer.formats.markdown import heading

_NOT_READ = "script, style, template, noscript, nav, [role=navigation], svg, math annotation, iframe, object, button"
_BLANK_LINES = re.compile(r"[ \t]*\n(?:[ \t]*\n)+")


def read(path: Path, name: str) -> list[Document]:
    """The page as one document, entitled by its <title>, else its first heading. Raises RefusedArtifact, OSError."""
    data = read_bytes(path, MOST_BYTES)
    declared = None if marked(data) else EncodingDetector.find_declared_encoding(data[:4096], is_html=True)
    title, text = as_markdown(decoded(data, declared))
    return [Document(name, title or heading(text) or PurePosixPath(name).stem, text, markdown=True)]


def as_markdown(html: str) -> tuple[str, str]:
    """The title, or nothing, and the body. Links are left as their text, pictures as what they are said to show."""
    page = BeautifulSoup(html, "html.parser")
    title = " ".join(page.title.get_text().split()) if page.title else ""
    for element in page.select(f"head, title, {_NOT_READ}"):
        element.decompose()
    for picture in page.find_all("img"):
        picture.replace_with(str(picture.get("alt") or ""))
    converter = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=["a"],
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    )
    text = str(converter.convert_soup(page))
    return title, _BLANK_LINES.sub("\n\n", text).strip()
