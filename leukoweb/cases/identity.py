"""When two spellings of a number or a name are one: invisible and full-width characters, Unicode forms, apostrophes.

It compares texts; rows are left to its callers.
"""

import re
import unicodedata

# U+200C and U+200D join letters of Persian and Indic names; all other format characters (Cf) are invisible.
JOINERS = "\u200c\u200d"
# Besides those of the category Cf: fillers, selectors of variants and the like (Default_Ignorable of Unicode), and the
# blank letter of Braille. Selectors choose forms of Japanese names: names keep them, keys do not.
SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\uffa0\ufff0-\ufff8"
UNSEEN = re.compile(f"[{FILLERS}{SELECTORS}]")
UNSEEN_IN_NAMES = re.compile(f"[{FILLERS}]")
APOSTROPHES = dict.fromkeys(
    map(ord, "\u2018\u2019\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02be\u02bf\u02ca\u02cb\u00b4`"), "'"
) | dict.fromkeys(map(ord, "\u055a\u05f3\u1fbd\u1ffd\ua78c"), "'")
# Letters that Unicode does not take apart into a letter and a mark.
PLAIN_LETTERS = str.maketrans(
    {"đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ł": "l", "ø": "o", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th"}
)
HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212"), "-")


def clean_number(text: str) -> str:
    """Return an accession or record number without invisible characters, with usual signs and hyphens."""
    plain = unicodedata.normalize("NFKC", UNSEEN.sub("", _visible(text)))
    return _in_one_line(plain.translate(HYPHENS))


def clean_name(text: str) -> str:
    """Return a name in its composed form (NFC) without invisible characters."""
    return _in_one_line(unicodedata.normalize("NFC", UNSEEN_IN_NAMES.sub("", _visible(text, keep=JOINERS))))


def name_key(text: str) -> str:
    """Return what two spellings of one name have in common; names are compared by it."""
    plain = UNSEEN.sub("", _visible(text)).translate(APOSTROPHES)  # some of these NFKC takes apart
    plain = unicodedata.normalize("NFKC", plain).translate(APOSTROPHES | HYPHENS)
    # Folding case can take a composed letter apart: it is composed again; the Turkish capital I with a dot is an i.
    folded = unicodedata.normalize("NFKC", plain.casefold()).replace("i\u0307", "i")
    return _in_one_line(folded.replace(",", " "))


def is_same_name(one: str, other: str) -> bool:
    """Tell whether two texts are one name: in two spellings, or "Jane Doe" beside "Doe, Jane"."""
    first, second = name_key(one), name_key(other)
    is_turned = ("," in one) != ("," in other) and sorted(first.split()) == sorted(second.split())
    return first == second or is_turned


def search_key(text: str) -> str:
    """Return a name as it is searched: without the marks that a keyboard may lack ("nguyen" finds "Nguyễn")."""
    apart = unicodedata.normalize("NFD", name_key(text))
    plain = "".join(sign for sign in apart if not "\u0300" <= sign <= "\u036f")
    return unicodedata.normalize("NFC", plain).translate(PLAIN_LETTERS)


def _visible(text: str, *, keep: str = "") -> str:
    return "".join(sign for sign in text if sign in keep or unicodedata.category(sign) != "Cf")


def _in_one_line(text: str) -> str:
    return re.sub(r"[^\S\n\r\x1c-\x1f\x85\u2028\u2029]+", " ", text).strip()
