"""The catalogues of messages: what code, templates and scripts mark for translation, as .po files and compiled.

`make messages` runs it. It is in pure Python (Babel): no GNU gettext is needed. The product reads the .mo files only.
"""

import io
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import django
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from tests.services import ROOT

LOCALE = ROOT / "leukoweb" / "locale"
UNSTEADY = (
    "POT-Creation-Date|PO-Revision-Date|Generated-By|Language-Team|Last-Translator|Report-Msgid-Bugs-To|"
    "Project-Id-Version"
)
KEYWORDS = {
    **dict.fromkeys(["_", "N_", "gettext", "gettext_lazy", "gettext_noop"]),
    **dict.fromkeys(["ngettext", "ngettext_lazy"], (1, 2)),
    **dict.fromkeys(["pgettext", "pgettext_lazy"], ((1, "c"), 2)),
    "npgettext": ((1, "c"), 2, 3),
}
Found = tuple[str | tuple[str, ...], str, int, list[str], str | None]


def _sources(domain: str) -> Iterator[tuple[Path, str, str]]:
    """Give each file of a domain with the method that reads it and the text it reads."""
    if domain == "djangojs":
        for path in sorted((ROOT / "static" / "js").glob("*.js")):
            yield path, "javascript", path.read_text()
        return
    for path in sorted((ROOT / "leukoweb").rglob("*.py")):
        if "migrations" not in path.parts:
            yield path, "python", path.read_text()
    for path in sorted((ROOT / "templates").rglob("*")):
        if path.suffix in {".html", ".txt"}:
            # In brackets the result is one expression: the tokenizer of Python asks it for no indentation.
            yield path, "python", f"({templatize(path.read_text())})"


def found(domain: str) -> Iterator[Found]:
    """Give every message that is marked in the sources of a domain: its text, file, line, comments and context."""
    options = {"parse_template_string": True} if domain == "djangojs" else None
    for path, method, text in _sources(domain):
        lines = extract(method, io.BytesIO(text.encode()), KEYWORDS, comment_tags=["Translators:"], options=options)
        for line, message, comments, context in lines:
            yield message, str(path.relative_to(ROOT)), line, comments, context


def collected(domain: str) -> Catalog:
    """Return the catalogue of what the sources mark, without translations."""
    catalog = Catalog(domain=domain, project="LeukoWeb", charset="utf-8")
    for message, name, _line, comments, context in found(domain):
        flags = ["python-format"] if domain == "django" and re.search(r"%\(\w+\)[sd]", str(message)) else []
        catalog.add(message, locations=[(name, None)], auto_comments=comments, context=context, flags=flags)
    return catalog


def folders() -> list[Path]:
    """Return the folder of each language."""
    return sorted(LOCALE.glob("*/LC_MESSAGES"))


def read(folder: Path, domain: str) -> Catalog:
    """Return the stored catalogue of one language and domain, an empty one where there is none yet."""
    path = folder / f"{domain}.po"
    name = folder.parent.name
    if not path.exists():
        return Catalog(locale=name, domain=domain, charset="utf-8")
    return read_po(io.BytesIO(path.read_bytes()), locale=name, domain=domain)


def compiled(catalog: Catalog) -> bytes:
    """Return the .mo file of a catalogue."""
    out = io.BytesIO()
    catalog.creation_date = catalog.revision_date = datetime(2026, 1, 1)  # what was not changed stays the same file
    write_mo(out, catalog)
    return out.getvalue()


def refresh(folder: Path, domain: str) -> list[str]:
    """Bring the .po and .mo of one language up to the sources; return the messages that have no translation."""
    catalog = read(folder, domain)
    catalog.fuzzy = False
    catalog.header_comment = f"# LeukoWeb in {catalog.locale.english_name}; see docs/translation.md."
    catalog.update(collected(domain), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    out = io.BytesIO()
    write_po(out, catalog, width=120, omit_header=False, sort_output=True)
    # The day of the last extraction would change the file each time.
    text = re.sub(rf'"({UNSTEADY}): .*\n'.encode(), b"", out.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{domain}.po").write_bytes(text)
    (folder / f"{domain}.mo").write_bytes(compiled(read(folder, domain)))
    return [str(message.id) for message in catalog if message.id and not all_strings(message.string)]


def all_strings(string: str | tuple[str, ...] | list[str] | None) -> bool:
    """Say whether a translation is there, in every plural form."""
    return all(string) if isinstance(string, tuple | list) else bool(string)


def main(languages: list[str]) -> None:
    """Refresh every language, and those named that are new."""
    django.setup()
    for folder in sorted({*folders(), *(LOCALE / name / "LC_MESSAGES" for name in languages)}):
        for domain in ("django", "djangojs"):
            missing = refresh(folder, domain)
            print(f"{folder.parent.name} {domain}: {len(missing)} without a translation")


if __name__ == "__main__":
    main(sys.argv[1:])
