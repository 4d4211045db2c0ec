"""The LOINC codes of the cell types and groups, as one table with its sources.

Notes
-----
Source: https://loinc.org, the manual differential items of the blood count panels. Two public code lists mislabel
26505-8 (segmented neutrophils) and 26508-2 (bands); 780-7 is deprecated and never sent. The text of panel 24318-8 makes
a cell type "conditional": with a non-zero count it must be in the message. Zero blasts are sent too. PMB has no code of
its own: it is reported with the promyelocytes and a text. EBO is per 100 WBC and has no absolute code here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from leukoweb.review.counting.parts import CodesPart


@dataclass(frozen=True)
class Loinc:
    """The codes of one item: `percent` (per 100 WBC for EBO and KSC) and `absolute` (10*3/uL); "" where none exists."""

    percent: str
    absolute: str


LOINC = {
    "BAS": Loinc("30180-4", "26444-0"),
    "EBO": Loinc("19048-8", ""),
    "EOS": Loinc("26450-7", "26449-9"),
    "KSC": Loinc("34992-8", "34993-6"),
    "LYT": Loinc("26478-8", "26474-7"),
    "MMZ": Loinc("28541-1", "30433-7"),
    "MOB": Loinc("34923-3", "35029-8"),
    "MON": Loinc("26485-3", "26484-6"),
    "MYB": Loinc("26498-6", "30446-9"),
    "MYO": Loinc("30445-1", "30444-4"),
    "NGB": Loinc("26508-2", "26507-4"),
    "NGS": Loinc("26505-8", "30451-9"),
    "PMB": Loinc("", ""),
    "PMO": Loinc("26524-9", "26523-1"),
    "UNI": Loinc("44095-8", ""),
    "neutrophils": Loinc("26511-6", "26499-4"),
    "blasts": Loinc("26446-5", "30376-8"),
    "promyelocytes": Loinc("26524-9", "26523-1"),
}
LYA_MEANINGS = {"variant": Loinc("13046-8", "26477-0"), "abnormal": Loinc("30413-9", "30412-1")}


def loinc_of(key: str, *, lya_meaning: str = "") -> Loinc:
    """Return the codes of a cell type, of UNI or of a group.

    Parameters
    ----------
    key : str
        One of the 15 codes, "UNI", or a group: "neutrophils", "blasts", "promyelocytes".
    lya_meaning : str
        "variant" or "abnormal", as the signer said; without it LYA has no code, because the two are different findings.

    Returns
    -------
    Loinc
        Empty strings where no code exists.

    Raises
    ------
    KeyError
        When `key` is no type or group.
    """
    if key == "LYA":
        return LYA_MEANINGS.get(lya_meaning, Loinc("", ""))
    return LOINC[key]


def codes_of(keys: Iterable[str], *, lya_meaning: str = "") -> dict[str, CodesPart]:
    """Return the codes of types and groups as a report keeps them."""
    found = {key: loinc_of(key, lya_meaning=lya_meaning) for key in keys}
    return {key: {"percent": code.percent, "absolute": code.absolute} for key, code in found.items()}
