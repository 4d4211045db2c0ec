"""Which letters the PDF can draw with the fonts of this machine, asked of fontconfig.

A letter without a font comes out as an empty box and raises no error, so it must be looked for before.
"""

import shutil
import subprocess
from functools import lru_cache

LATIN_ENDS = 0x250  # every font of the report has these
SCRIPTS = {
    "Arabic": "ا", "Chinese": "中", "Devanagari": "अ", "Hangul": "한", "Hebrew": "א", "Japanese": "あ", "Thai": "ก",
}  # fmt: skip
TIMEOUT_S = 5


def undrawable(text: str) -> list[str]:
    """Return the letters of a text that no font here can draw, sorted; empty where fontconfig cannot be asked."""
    return sorted(letter for letter in set(text) if ord(letter) >= LATIN_ENDS and not _has_font(letter))


def missing_scripts() -> list[str]:
    """Return the names of the scripts for which this machine has no font."""
    return [name for name, letter in SCRIPTS.items() if not _has_font(letter)]


def can_be_asked() -> bool:
    """Say whether fontconfig's `fc-list` is installed."""
    return shutil.which("fc-list") is not None


@lru_cache(maxsize=4096)
def _has_font(letter: str) -> bool:
    """Say whether some font has a letter; fonts are looked for once in the life of a process."""
    program = shutil.which("fc-list")
    if program is None or not letter.isprintable():
        return True
    try:
        found = subprocess.run(
            [program, f":charset={ord(letter):x}", "family"], capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return found.returncode != 0 or bool(found.stdout.strip())
