"""When two spellings of a number or a name are one: invisible and full-width characters, Unicode forms, apostrophes.

It compares texts; rows are left to its callers.
"""

import re
import unicodedata

# U+200C and U+200D join letters of Persian and Indic names; all other format characters (Cf) are invisible.
JOINERS = "\u200c\u200d"
APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u02bb\u00b4\u2032`"), "'")
HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")


def clean_number(text: str) -> str:
    """Return an accession or record number without invisible characters, its full-width signs as usual ones."""
    return _in_one_line(unicodedata.normalize("NFKC", _visible(text)))


def clean_name(text: str) -> str:
    """Return a name in its composed form (NFC) without invisible characters."""
    return _in_one_line(unicodedata.normalize("NFC", _visible(text, keep=JOINERS)))


def name_key(text: str) -> str:
    """Return what two spellings of one name have in common; names are searched and compared by it."""
    plain = unicodedata.normalize("NFKC", _visible(text)).translate(APOSTROPHES | HYPHENS)
    # Folding case can take a composed letter apart: it is composed again.
    return _in_one_line(unicodedata.normalize("NFKC", plain.casefold()).replace(",", " "))


def _visible(text: str, *, keep: str = "") -> str:
    return "".join(sign for sign in text if sign in keep or unicodedata.category(sign) != "Cf")


def _in_one_line(text: str) -> str:
    return re.sub(r"[^\S\n\r\x1c-\x1f\x85\u2028\u2029]+", " ", text).strip()
