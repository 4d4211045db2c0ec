"""Reports on paper: the tagged PDF, its cell pictures and the code that finds the report; it decides nothing.

The PDF library needs Pango from the system, so it is loaded only when a PDF is asked for; without it, say so.
"""

import base64
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

from django.template.loader import render_to_string
from django.urls import reverse

from leukoweb.accounts.logos import embedded_logo
from leukoweb.analysis.crops import crop_path, picture_of
from leukoweb.analysis.models import Cell
from leukoweb.cases.models import SlideImage
from leukoweb.places import ASSETS
from leukoweb.refusals import Refused
from leukoweb.review.reports import pdf_kinds
from leukoweb.review.reports.fonts import undrawable
from leukoweb.review.reports.parts import CellPart, Content
from leukoweb.review.reports.rejection import RejectionContent

MOST_LETTERS = 40  # named in the notice of letters that no font has


class CellPicture(CellPart):
    """A chosen cell with the address of its picture."""

    src: str


class FindingPicture(TypedDict):
    """A picture of a finding: `box` is [image, x1, y1, x2, y2], `src` its address."""

    name: str
    box: list[int]
    src: str


def cell_pictures(content: Content) -> list[CellPicture]:
    """Return the chosen cells of a report with `src`, the address of each cell's picture on this server."""
    return [{**cell, "src": reverse("cell_crop", args=[cell["id"]])} for cell in _chosen(content)]


def finding_pictures(content: Content) -> list[FindingPicture]:
    """Return the pictures of findings with `src`, the address of each on this server, and `name`, the finding."""
    return [
        {"name": item["name"], "box": box, "src": reverse("finding_picture", args=box)}
        for group in content.get("findings", [])
        for item in group["items"]
        for box in item.get("pictures", [])
    ]


def _embedded_findings(content: Content) -> list[FindingPicture]:
    """The same as data: addresses; what has no picture any more is left out."""
    shown = finding_pictures(content)
    scales = {image["id"]: image["um_per_px"] for image in content["images"]}
    images = SlideImage.objects.in_bulk([picture["box"][0] for picture in shown])
    for picture in shown:
        image, *box = picture["box"]
        path = picture_of(images[image], tuple(box), um_per_px=scales.get(image)) if image in images else None
        picture["src"] = _jpeg(path) if path else ""
    return [picture for picture in shown if picture["src"]]


def _jpeg(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


def _chosen(content: Content) -> list[CellPart]:
    cells = {cell["id"]: cell for cell in content["cells"]}
    return [cells[pk] for pk in content["pictures"] if pk in cells]


def pdf_of(page: dict) -> bytes:
    """Return the report as a PDF (PDF/UA-1, PDF/A-3a); `page` is what the report's page shows, with `address`."""
    content = page["content"]
    pictures = {"pictures": _embedded_pictures(content), "finding_pictures": _embedded_findings(content)}
    return _written("review/report_pdf.html", page | pictures)


def rejection_pdf(content: RejectionContent, address: str) -> bytes:
    """Return the one-page report of a rejected specimen as a tagged PDF."""
    return _written("review/rejection_pdf.html", {"content": content, "address": address})


def _written(template: str, page: dict) -> bytes:
    html = _weasyprint()
    page = {**page, "code_svg": _code(page["address"]), "stylesheet": _stylesheet(),
            "logo_src": embedded_logo(page["content"]["laboratory"])}  # fmt: skip
    text = render_to_string(template, page)
    letters = undrawable(text)
    if letters:
        page["undrawable"] = ", ".join(f"U+{ord(letter):04X}" for letter in letters[:MOST_LETTERS])
        text = render_to_string(template, page)
    return pdf_kinds.write(html(string=text, url_fetcher=_fetch_only_embedded()), is_complete=not letters)


def _weasyprint() -> Any:
    """The library, or a sentence in place of a stack trace."""
    try:
        from weasyprint import HTML
    except OSError as error:
        raise Refused(
            "PDF is not available on this server: the system library Pango is missing (on Debian: libpango-1.0-0, "
            "libpangoft2-1.0-0, libharfbuzz-subset0). This page prints well from the browser.",
            code="pdf_unavailable",
        ) from error
    return HTML


def _fetch_only_embedded() -> Any:
    """A fetcher that reads nothing but data: addresses: no report text can make the server fetch something."""
    from weasyprint import URLFetcher

    return URLFetcher(allowed_protocols={"data"})


@lru_cache(maxsize=1)
def _stylesheet() -> str:
    return (ASSETS / "static" / "css" / "report_pdf.css").read_text()


def _code(address: str) -> str:
    """A QR code of the report's own address, which holds no patient's name or number."""
    import segno

    return segno.make(address, error="m").svg_data_uri(scale=4, border=2)


def _embedded_pictures(content: Content) -> list[CellPicture]:
    """The chosen cells with their pictures as data: addresses; a cell without a picture is left out."""
    scales = {image["id"]: image["um_per_px"] for image in content["images"]}
    cells = Cell.objects.select_related("image").in_bulk(content["pictures"])
    shown: list[CellPicture] = []
    for chosen in _chosen(content):
        cell = cells.get(chosen["id"])
        path = crop_path(cell, um_per_px=scales.get(cell.image_id)) if cell else None
        if path:
            shown.append({**chosen, "src": _jpeg(path)})
    return shown
