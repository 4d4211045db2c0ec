"""The blood count of an analyser: its parameters, their units, the values that analysers write, and contradictions.

Pure functions of texts and numbers (C14). Who sent a count, and what becomes of one that is refused, is left to others.

Notes
-----
No limit of health stands here, only what cannot be. Refused are a share over 100 %, more haemoglobin than the blood
weighs (145 g/dL for 145 g/L), white cells that no blood holds (wbc.py), all or one kind of them, and what no analyser
reports (MOST: 250,000 x 10*9/L platelets, which are 250,000/uL). Said, and kept, is what does not
follow from its own definition: red cell indices (MCV = HCT / RBC, MCH = HGB / RBC, MCHC = HGB / HCT), an absolute
count beside its share of the WBC, shares that add up to more than all leukocytes, cells that fill more than the blood.
The codes are those that analysers send in the public messages of DIGI-UW/OpenELIS-Global-2 and
openelisglobal-plugins (MPL-2.0); ALIASES are the second names of Sysmex there, LOINC the codes of Mindray (BC-5000 and
BC-5150, HL7 Communication Protocol V1.0, "OBX-3 parameter type code"; the BC-5380 sends the same).

References
----------
The most that an analyser reports: Beckman Coulter, COULTER LH 750, specification sheet, "operating range", which is
wider than its linearity (SciCrunch/RRID-Instruments, SCR_019628.pdf): RBC 0 to 20 x 10*6/uL, Hgb 0 to 99.9 g/dL, Plt 0
to 5000 x 10*3/uL. Red cells are counted from 36 to 360 fL (bioscience.com.pk, "Parameters measured by hematology
analyzers", table 808.1): no mean is larger.
Haemoglobin in mmol/L: IQTIG, specification 2016, field ANAEMIE (iqtig.org/downloads/spezifikation/2016): "Hb/4 ...
g/100 ml * 0,6206 = mmol/L"; "widely used" by PMC3934467, table 1. A sender that means the whole molecule (0.155) cannot
be told from it by its unit; what the report prints is the value as sent.
"""

import math
import operator
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

from django.utils.translation import gettext, gettext_noop

from leukoweb.cases.wbc import GIGA_PER_L, MOST_GIGA_PER_L, refusal_of
from leukoweb.cases.wbc import unit_of as count_unit_of
from leukoweb.refusals import Refused

SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
INDEX_TOLERANCE = 0.1  # rounding of three printed values stays far below; another specimen's values do not
MOST_MASS_G_PER_L = 1000  # a litre of blood or of red cells weighs little more, and most of it is water
MOST = {"RBC": 20.0, "PLT": 5000.0, "MCV": 360.0}  # in the first unit of each; see the references
SHARES_TOLERANCE = 1.0  # of the sum of five shares, each rounded to whole percent or to a tenth
COUNT_TOLERANCE = 0.15  # 10*9/L: an absolute count and its share are rounded, to a tenth and to whole percent
LEUKOCYTES = ("NEU", "LYM", "MXD", "MON", "EOS", "BAS")  # MXD stands for the last three; IG are neutrophils
NOT_MEASURED, OVER_RANGE = "not measured", "over the range of the analyser"
LESS, MORE = "less than this", "more than this"
# Haemoglobin by amount of substance is that of its monomer (Hb/4): 1 g/dL is 0.6206 mmol/L.
G_PER_MMOL = 10 / 0.6206
# What a unit of each kind is in the first one; the first is what values are compared in.
UNITS: dict[str, dict[str, float]] = {
    "count": GIGA_PER_L,
    "red": {"10*12/L": 1.0, "10*6/uL": 1.0, "/uL": 1e-6},
    "mass": {"g/L": 1.0, "g/dL": 10.0, "mmol/L": G_PER_MMOL},
    "part": {"%": 1.0, "L/L": 100.0},
    "share": {"%": 1.0},
    "volume": {"fL": 1.0},
    "weight": {"pg": 1.0, "fmol": G_PER_MMOL},
    "width": {"%": 1.0},
    "per_100": {"/100{WBCs}": 1.0},
}
_SPELLINGS = {
    "red": {"1012/l": "10*12/L", "10e12/l": "10*12/L", "t/l": "10*12/L", "/pl": "10*12/L", "106/ul": "10*6/uL",
            "10e6/ul": "10*6/uL", "m/ul": "10*6/uL", "mio/ul": "10*6/uL", "106/mm3": "10*6/uL", "m/mm3": "10*6/uL",
            "/ul": "/uL"},
    "mass": {"g/l": "g/L", "g/dl": "g/dL", "mmol/l": "mmol/L"},
    "part": {"%": "%", "l/l": "L/L"},
    "share": {"%": "%"},
    "volume": {"fl": "fL", "um3": "fL", "u3": "fL"},
    "weight": {"pg": "pg", "fmol": "fmol"},
    "width": {"%": "%"},
    "per_100": {"/100wbc": "/100{WBCs}", "/100wbcs": "/100{WBCs}", "per100wbc": "/100{WBCs}", "%": "/100{WBCs}"},
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One value of a blood count; `kind` is a key of UNITS."""

    key: str
    name: str
    kind: str


_CELLS = {
    "NEU": gettext_noop("Neutrophils"),
    "LYM": gettext_noop("Lymphocytes"),
    "MXD": gettext_noop("Mixed cells"),
    "MON": gettext_noop("Monocytes"),
    "EOS": gettext_noop("Eosinophils"),
    "BAS": gettext_noop("Basophils"),
    "IG": gettext_noop("Immature granulocytes"),
}
PARAMETERS = {
    parameter.key: parameter
    for parameter in (
        Parameter("WBC", gettext_noop("White blood cells"), "count"),
        Parameter("RBC", gettext_noop("Red blood cells"), "red"),
        Parameter("HGB", gettext_noop("Haemoglobin"), "mass"),
        Parameter("HCT", gettext_noop("Haematocrit"), "part"),
        Parameter("MCV", gettext_noop("Mean cell volume"), "volume"),
        Parameter("MCH", gettext_noop("Mean cell haemoglobin"), "weight"),
        Parameter("MCHC", gettext_noop("Mean cell haemoglobin concentration"), "mass"),
        Parameter("RDW", gettext_noop("Red cell distribution width"), "width"),
        Parameter("PLT", gettext_noop("Platelets"), "count"),
        Parameter("MPV", gettext_noop("Mean platelet volume"), "volume"),
        Parameter("NRBC", gettext_noop("Nucleated red cells"), "per_100"),
        *(Parameter(f"{code}%", name, "share") for code, name in _CELLS.items()),
        *(Parameter(f"{code}#", f"{name}, absolute", "count") for code, name in _CELLS.items()),
    )
}
ALIASES = {
    f"{name}{sign}": f"{code}{sign}"
    for name, code in (("NEUT", "NEU"), ("LYMPH", "LYM"), ("MONO", "MON"), ("EO", "EOS"), ("BASO", "BAS"))
    for sign in "%#"
} | {"RDW-CV": "RDW"}

LOINC = {
    "6690-2": "WBC", "789-8": "RBC", "718-7": "HGB", "4544-3": "HCT", "787-2": "MCV", "785-6": "MCH", "786-4": "MCHC",
    "788-0": "RDW", "777-3": "PLT", "32623-1": "MPV", "770-8": "NEU%", "751-8": "NEU#", "736-9": "LYM%",
    "731-0": "LYM#", "5905-5": "MON%", "742-7": "MON#", "713-8": "EOS%", "711-2": "EOS#", "706-2": "BAS%",
    "704-7": "BAS#",
}  # fmt: skip


class CbcValuePart(TypedDict):
    """One value of a blood count as JSON values: `CbcValue`, in a report with the name of its parameter."""

    key: str
    name: NotRequired[str]
    value: float | None
    unit: str
    amount: float | None
    sent: str
    range: str
    call: str
    note: str


@dataclass(frozen=True)
class CbcValue:
    """One value as it is kept: `value` in `unit`, and `amount` in the first unit of its kind; None without a number."""

    key: str
    value: float | None
    unit: str
    amount: float | None
    sent: str
    range: str = ""
    call: str = ""
    note: str = ""

    def as_dict(self) -> CbcValuePart:
        """Return JSON values."""
        return cast(CbcValuePart, {**vars(self)})


def known_code(code: str) -> str:
    """Return the parameter that a usual code of an analyser means; "" where it means none."""
    upper = code.strip().upper()
    return upper if upper in PARAMETERS else ALIASES.get(upper, "")


def unit_of(text: str, parameter: Parameter) -> str:
    """Return the unit of a parameter that a spelling means; "" where it means none of them."""
    if parameter.kind == "count":
        found = count_unit_of(text)
        return found if found in GIGA_PER_L else ""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("μ", "u").replace("×", "")
    plain = "".join(sign for sign in plain if not sign.isspace() and sign not in "^*.·,{}[]")
    known = _SPELLINGS[parameter.kind]
    return known.get(plain) or known.get(plain.removeprefix("x"), "")


def value_of(
    key: str, sent: str, unit: str, *, limits: str = "", call: str = "", is_doubtful: bool = False
) -> CbcValue:
    """Read one value as an analyser writes it.

    Parameters
    ----------
    key : str
        One of PARAMETERS.
    sent, unit : str
        As sent. Dashes mean that the analyser measured nothing, pluses that the value lies over its range; an asterisk
        beside a number marks it as doubtful. None of these becomes a number.
    limits, call : str
        Reference range and call of the analyser, kept as sent.
    is_doubtful : bool
        Whether the analyser marks the value otherwise than by an asterisk.

    Raises
    ------
    Refused
        With the field "value" where it is no number or cannot be, "unit" where that is missing or of something else.
    """
    parameter, text = PARAMETERS[key], sent.strip()
    common = {"key": key, "sent": text, "range": limits, "call": call}
    if not text or set(text) <= set("-*. "):
        return CbcValue(value=None, unit="", amount=None, note=NOT_MEASURED, **common)
    if set(text) <= set("+> ") and len(text) > 1:
        return CbcValue(value=None, unit="", amount=None, note=OVER_RANGE, **common)
    number, note = text.strip("* "), "doubtful" if is_doubtful or "*" in text else ""
    if number[:1] in "<>":
        number, note = number[1:].strip(), LESS if number[0] == "<" else MORE
    if not re.fullmatch(r"[+-]?(?:\d{1,9}(?:[.,]\d{1,6})?|\.\d{1,6})", number):
        raise Refused(
            gettext("%(name)s: “%(text)s” is no value of an analyser.") % {"name": parameter.name, "text": text[:40]},
            "value",
        )
    is_whole_number = unit_of(unit, parameter) == "/uL"  # a count of cells: a point is no decimal point
    if re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}{'[.,]' if is_whole_number else ','}\d{{3}}", number):
        raise Refused(
            gettext("%(name)s: “%(text)s” can be read as thousands or as a fraction: write it without that sign.")
            % {"name": parameter.name, "text": text[:40]},
            "value",
        )
    value = float(number.replace(",", "."))
    if not unit.strip():
        raise Refused(gettext("%(name)s: the unit is missing, and none is assumed.") % {"name": parameter.name}, "unit")
    known = unit_of(unit, parameter)
    if not known:
        units = ", ".join(UNITS[parameter.kind])
        raise Refused(
            gettext("%(name)s: “%(unit)s” is no unit of it; use one of %(units)s.")
            % {"name": parameter.name, "unit": unit[:40], "units": units},
            "unit",
        )
    if sentence := _impossible(parameter, value, known):
        raise Refused(sentence, "value")
    amount = value * UNITS[parameter.kind][known]
    return CbcValue(value=value, unit=known, amount=round(amount, 6), note=note, **common)


def _impossible(parameter: Parameter, value: float, unit: str) -> str:
    if value < 0 or not math.isfinite(value):
        return f"{parameter.name}: a value below 0 cannot be."
    amount = value * UNITS[parameter.kind][unit]
    if parameter.key == "WBC" and value and (sentence := refusal_of(value, unit)):
        return sentence
    if amount > MOST.get(parameter.key, MOST_GIGA_PER_L if parameter.kind == "count" else math.inf):
        return f"{parameter.name}: {value:g} {unit} is more than an analyser reports: check the unit."
    if parameter.kind in ("share", "part", "width") and amount > 100:
        return f"{parameter.name}: {value:g} {unit} is more than the whole."
    if parameter.kind == "mass" and amount > MOST_MASS_G_PER_L:
        return f"{parameter.name}: {value:g} {unit} is more than the blood weighs: check value and unit."
    return ""


def meets(amount: float | None, note: str, sign: str, limit: float) -> bool:
    """Say whether a value meets a limit; `sign` is one of < <= > >=.

    A bound ("<10", ">900") meets a limit on its own side only, and there also one that it equals; a value over the
    analyser's range is above every limit.
    """
    if note == OVER_RANGE:
        return sign[0] == ">"
    if amount is None or note == (MORE if sign[0] == "<" else LESS):
        return False
    return SIGNS[f"{sign[0]}=" if note in (LESS, MORE) else sign](amount, limit)


def contradictions_of(values: dict[str, float | None]) -> list[str]:
    """Return where values contradict each other by their own definition, in sentences.

    Parameters
    ----------
    values : dict
        Key to amount, in the first unit of each kind: WBC, PLT and absolute counts 10*9/L, RBC 10*12/L, HGB and MCHC
        g/L, HCT and shares %, MCV and MPV fL, MCH pg.
    """
    return [*_indices(values), *_volumes(values), *_shares(values), *_absolute_counts(values)]


def _indices(values: dict[str, float | None]) -> Iterator[str]:
    rbc, hgb, hct = (values.get(key) for key in ("RBC", "HGB", "HCT"))
    expected = {
        "MCV": hct * 10 / rbc if hct and rbc else None,
        "MCH": hgb / rbc if hgb and rbc else None,
        "MCHC": hgb / hct * 100 if hgb and hct else None,
    }
    for key, right in expected.items():
        found = values.get(key)
        if right and found and abs(found / right - 1) > INDEX_TOLERANCE:
            yield f"{PARAMETERS[key].name} {found:g} does not follow from the other red cell values ({right:.1f})."
        elif right and not found and key == "MCHC" and right > MOST_MASS_G_PER_L:
            yield f"Haemoglobin {hgb:g} g/L is more than a haematocrit of {hct:g} % can hold: check the unit."


def _volumes(values: dict[str, float | None]) -> Iterator[str]:
    """Say where red cells of that number and size would fill more than the blood: 10*12/L x fL is 1/1000 of it."""
    number, volume = values.get("RBC"), values.get("MCV")
    if number and volume and number * volume > 1000:
        name = PARAMETERS["RBC"].name
        yield f"{name} {number:g} of {volume:g} fL would fill more than the blood: check the units."


def _shares(values: dict[str, float | None]) -> Iterator[str]:
    shares = {code: values.get(f"{code}%") or 0.0 for code in LEUKOCYTES}
    mixed = max(shares.pop("MXD"), shares["MON"] + shares["EOS"] + shares["BAS"])
    total = shares["NEU"] + shares["LYM"] + mixed
    if total > 100 + SHARES_TOLERANCE:
        yield f"The shares of the leukocytes add up to {total:g} %."


def _absolute_counts(values: dict[str, float | None]) -> Iterator[str]:
    wbc = values.get("WBC")
    for code, name in _CELLS.items():
        share, found = values.get(f"{code}%"), values.get(f"{code}#")
        if not wbc or share is None or found is None:
            continue
        right = share / 100 * wbc
        if abs(found - right) > max(COUNT_TOLERANCE, INDEX_TOLERANCE * right):
            yield f"{name}, absolute {found:g} does not follow from {share:g} % of the white blood cells ({right:.2f})."
