"""Which letters the PDF can draw with the fonts of this machine, asked of fontconfig.

A letter without a font comes out as an empty box and raises no error, so it must be looked for before.
"""

import shutil
import subprocess
import unicodedata
from bisect import bisect
from functools import lru_cache

LATIN_ENDS = 0x250  # every font of the report has these
SCRIPTS = {
    "Arabic": "ا", "Chinese": "中", "Devanagari": "अ", "Hangul": "한", "Hebrew": "א", "Japanese": "あ", "Thai": "ก",
}  # fmt: skip
TIMEOUT_S = 5
MOST = 0x110000  # beyond the last letter
UNSEEN = {"Cc", "Cf", "Zl", "Zp", "Zs"}  # letters without a form; private and new ones have one


def undrawable(text: str) -> list[str]:
    """Return the letters of a text that no font here can draw, sorted; empty where fontconfig cannot be asked."""
    return sorted(letter for letter in set(text) if ord(letter) >= LATIN_ENDS and not _has_font(letter))


def missing_scripts() -> list[str]:
    """Return the names of the scripts for which this machine has no font."""
    return [name for name, letter in SCRIPTS.items() if not _has_font(letter)]


def can_be_asked() -> bool:
    """Say whether fontconfig's `fc-list` is installed."""
    return shutil.which("fc-list") is not None


def _has_font(letter: str) -> bool:
    """Say whether some font has a letter, or nobody can say."""
    spans = _spans()
    place = bisect(spans, (ord(letter), MOST)) - 1
    is_seen = unicodedata.category(letter) not in UNSEEN
    return not spans or not is_seen or (place >= 0 and ord(letter) <= spans[place][1])


@lru_cache(maxsize=1)
def _spans() -> list[tuple[int, int]]:
    """Return first and last letter of all that the fonts have, joined and sorted; looked for once in a process."""
    program = shutil.which("fc-list")
    try:
        found = subprocess.run(
            [program or "", "--format=%{charset} "], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    joined: list[tuple[int, int]] = []
    for first, last in sorted({_span(part) for part in found.stdout.split()}):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _span(part: str) -> tuple[int, int]:
    first, _, last = part.partition("-")
    return int(first, 16), int(last or first, 16)
