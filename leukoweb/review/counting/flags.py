"""What a differential asks somebody to look at (rule C7), each flag with the codes of the cells that caused it.

Pure: limits come with the differential's own rules.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from detection.cell_types import BLASTS, PROMYELOCYTES
from leukoweb.cases.cbc import SIGNS
from leukoweb.review.counting.ages import is_judged
from leukoweb.review.counting.differential import Differential, cells_to_separate, upper_bound_of_zero
from leukoweb.review.counting.flag_rules import COMPARISONS, ITEMS, NOTE, REVIEW, URGENT, FlagRule
from leukoweb.review.counting.words import cells, printed

WEIGHT = (URGENT, REVIEW, NOTE)
LATER_STAGES = ("MYB", "MMZ", "NGB")
UNCONFIRMED = "Suspected by the detector, not confirmed by a person."


@dataclass(frozen=True)
class Flag:
    """A sentence for the screen and one for paper, how urgent it is, and the codes whose cells caused it.

    `key` names flag and level: a higher level of blasts is a new flag that must be acknowledged anew. What the bench
    is to do stands in `bench` only (S13).
    """

    key: str
    title: str
    bench: str
    report: str
    urgency: str
    codes: tuple[str, ...]
    is_machine_only: bool = False

    @property
    def is_urgent(self) -> bool:
        """Whether the case goes to the top of the worklist and asks for an acknowledgement."""
        return self.urgency == URGENT

    def as_dict(self) -> dict[str, Any]:
        """Return the flag as a screen or a program needs it; `sentence` is the one of the screen."""
        return {
            "key": self.key,
            "title": self.title,
            "sentence": self.bench,
            "urgency": self.urgency,
            "codes": list(self.codes),
            "is_machine_only": self.is_machine_only,
        }


@dataclass(frozen=True)
class Sentence:
    """What a count can and cannot say: for the screen, where something is to be done, and for paper; "" is left out."""

    bench: str
    report: str


def flags_of(
    differential: Differential, *, confirmed: Mapping[str, int] | None = None, lya_meaning: str = ""
) -> list[Flag]:
    """Return the flags of a differential, the most urgent first; an empty list when nothing is remarkable.

    Parameters
    ----------
    differential : Differential
        An empty one has no flags.
    confirmed : mapping of str to int, optional
        Cells by label that a person decided on; None where every label is a person's.
    lya_meaning : str
        "abnormal" where the reader calls the atypical lymphocytes abnormal.

    Returns
    -------
    list of Flag
    """
    if differential.is_empty:
        return []
    found = [*_possible_apl(differential), *_maturation_gap(differential)]
    found += [_flag_of(rule, differential, value) for rule, value in _met(differential, lya_meaning)]
    found.sort(key=lambda flag: WEIGHT.index(flag.urgency))
    return [_marked(flag, differential, confirmed) for flag in found]


def flag_keys_of(differential: Differential, *, lya_meaning: str = "") -> frozenset[str]:
    """Return the keys of the flags of a differential without their sentences: for many counts of one case."""
    if differential.is_empty:
        return frozenset()
    by_weight = (*_possible_apl(differential), *_maturation_gap(differential))
    met = _met(differential, lya_meaning)
    return frozenset((*(flag.key for flag in by_weight), *(rule["key"] for rule, _ in met)))


def _met(d: Differential, lya_meaning: str) -> list[tuple[FlagRule, float]]:
    """Return the rows of the table that are met, with their figures: of each title the last of the gravest."""
    last: dict[str, tuple[FlagRule, float]] = {}
    for rule in d.rules.flag_rules:
        value = _figure_met(rule, d, lya_meaning)
        known = last.get(rule["title"])
        if value is not None and (
            known is None or WEIGHT.index(rule["severity"]) <= WEIGHT.index(known[0]["severity"])
        ):
            last[rule["title"]] = rule, value
    return list(last.values())


def _figure_met(rule: FlagRule, d: Differential, lya_meaning: str) -> float | None:
    """Return the figure that meets one row of the table, or None where it is not for this person or not met."""
    if rule["sex"] not in ("any", d.sex):
        return None
    if not is_judged(d.age, rule["age_from"], rule["age_under"]):
        return None
    value = _value_of(rule["item"], rule["unit"], d, _codes_of(rule["item"], d), lya_meaning)
    return value if value is not None and SIGNS[rule["comparison"]](value, rule["limit"]) else None


def _flag_of(rule: FlagRule, d: Differential, value: float) -> Flag:
    """Return the flag of a row of the table that is met by a figure."""
    codes = _codes_of(rule["item"], d)
    sentence = _sentence_of(rule, d, codes, value)
    if d.age is None and rule["age_from"] != "0d":
        sentence += " The age is not known: judged as an adult."
    bench, report = (f"{sentence} {more}".rstrip() for more in (rule["bench"].strip(), rule["report"].strip()))
    return Flag(rule["key"], rule["title"], bench, report, rule["severity"], _present(d, codes) or codes)


def figure_of(item: str, unit: str, d: Differential, lya_meaning: str) -> tuple[float | None, tuple[str, ...]]:
    """Return the figure of an `item` in a `unit`, None where there is none, and the types of its cells.

    Before: the differential is not empty.
    """
    codes = _codes_of(item, d)
    return _value_of(item, unit, d, codes, lya_meaning), _present(d, codes) or codes


def _codes_of(item: str, d: Differential) -> tuple[str, ...]:
    """Return the codes of a limit; bands are part of a left shift only where the laboratory looks at them."""
    codes = ITEMS[item][2]
    return ("NGB", *codes) if item == "left_shift" and d.rules.bands != "grouped" else codes


def _value_of(item: str, unit: str, d: Differential, codes: tuple[str, ...], lya_meaning: str) -> float | None:
    """Return the figure that a limit is compared with; None where there is none."""
    if item == "WBC":
        return d.corrected_wbc
    if item == "LYA_abnormal" and lya_meaning != "abnormal":
        return None
    if unit == "cells":
        return sum(d[code].count for code in codes)
    if unit == "per 100 WBC":
        return 100 * sum(d[code].count for code in codes) / d.total
    counted = sum(d[code].counted for code in codes)
    if unit == "%":
        return 100 * counted / d.total
    if d.corrected_wbc is None:
        return None
    in_wbc = sum(d[code].count for code in codes) if item == "KSC" else counted
    return in_wbc / d.total * d.corrected_wbc


def _sentence_of(rule: FlagRule, d: Differential, codes: tuple[str, ...], value: float) -> str:
    """Say what was found and which limit it meets."""
    one, many, _ = ITEMS[rule["item"]]
    limit = f"{COMPARISONS[rule['comparison']]} {rule['limit']:g}"
    if rule["item"] == "WBC":
        return f"WBC {printed(value, 2)} × 10⁹/L, {limit}."
    if rule["unit"] == "10*9/L":
        return f"{many.capitalize()} {printed(value, 2)} × 10⁹/L, {limit}."
    counted = sum(d[code].count if rule["unit"] != "%" else d[code].counted for code in codes)
    found = cells(counted, one, many)
    if rule["unit"] == "per 100 WBC":
        return f"{found}, {printed(value, 1)} per 100 leukocytes, {limit}."
    share = "" if rule["item"] in ("EBO", "KSC") else f", {_share(d, codes)} of leukocytes"
    if rule["unit"] == "%":
        return f"{found}{share}, {limit}%."
    return f"{found}{share}." if rule["limit"] <= 1 else f"{found}{share}, {limit}."


def _possible_apl(d: Differential) -> Iterator[Flag]:
    """Weigh bilobed promyelocytes, the share of promyelocytes against blasts, and complete maturation (C7)."""
    rules, promyelocytes, blasts = d.rules, d["promyelocytes"].count, d["blasts"].count
    bilobed, later = d["PMB"].count, sum(d[code].count for code in LATER_STAGES)
    is_bilobed = bilobed >= rules.apl_bilobed
    prevails = promyelocytes >= rules.apl_promyelocytes and 100 * promyelocytes >= rules.apl_share * (
        promyelocytes + blasts
    )
    matures = bool(d["MYB"].count and d["MMZ"].count) and later >= rules.apl_maturation * promyelocytes
    if not (is_bilobed or (prevails and not matures)):
        return
    found = cells(promyelocytes, "promyelocyte", "promyelocytes")
    found += f" ({bilobed} bilobed)" if bilobed else ""
    found += f" against {cells(blasts, 'blast', 'blasts')}"
    found += f", {cells(later, 'cell', 'cells')} of the later stages" if later else ", no later stage"
    yield Flag(
        "possible_apl", "Possible APL",
        f"{found}. Rule out acute promyelocytic leukaemia without delay.",
        f"{found}. Acute promyelocytic leukaemia is to be excluded.",
        URGENT, _present(d, PROMYELOCYTES + BLASTS),
    )  # fmt: skip


def _maturation_gap(d: Differential) -> Iterator[Flag]:
    """Promyelocytes without myelocytes and metamyelocytes."""
    if d["promyelocytes"].count and not d["MYB"].count and not d["MMZ"].count:
        sentence = "Promyelocytes without myelocytes and metamyelocytes."
        yield Flag("maturation_gap", "Maturation gap", f"{sentence} The pathologist must review.", sentence, REVIEW,
                   _present(d, PROMYELOCYTES))  # fmt: skip


def _marked(flag: Flag, d: Differential, confirmed: Mapping[str, int] | None) -> Flag:
    """Say so where no person has confirmed a cell of the flag."""
    if confirmed is None or not is_machine_only(flag.codes, d, confirmed):
        return flag
    return Flag(flag.key, flag.title, f"{flag.bench} {UNCONFIRMED}", f"{flag.report} {UNCONFIRMED}", flag.urgency,
                flag.codes, is_machine_only=True)  # fmt: skip


def is_machine_only(codes: tuple[str, ...], d: Differential, confirmed: Mapping[str, int]) -> bool:
    """Say whether no person has confirmed a cell of these types, or of any type where there is none of them."""
    if not codes:  # the analyser's figure
        return False
    if _present(d, codes):
        return not any(confirmed.get(code) for code in codes)
    return not any(confirmed.values())  # none of a type: what was labelled are the others


def sentences_of(differential: Differential) -> list[Sentence]:
    """Return, in plain sentences, what this count can and cannot say (C3).

    Parameters
    ----------
    differential : Differential

    Returns
    -------
    list of Sentence
        Why the count is limited, what cannot be excluded, and how many cells more would settle a call.
    """
    d, rules = differential, differential.rules
    if d.is_empty:
        return [
            Sentence(
                "No leukocytes detected: there is no differential. Upload a field with leukocytes or add the cells by "
                "hand.",
                "No leukocytes were found: there is no differential.",
            )
        ]
    found = []
    counted = cells(d.total, "leukocyte", "leukocytes")
    if d.is_limited:
        limited = f"Limited count: {counted}, fewer than {rules.minimum_count}."
        found.append(Sentence(f"{limited} Upload another field for a full differential.", limited))
    if d["blasts"].count == 0:
        bound = f"No blasts in {cells(d.total, 'cell', 'cells')} (95% upper limit "
        bound += f"{100 * upper_bound_of_zero(d.total):.2f}%)."
        found.append(Sentence(bound, bound))
    for rule in rules.flag_rules:
        if rule["unit"] == "%" and rule["severity"] != NOTE:
            found += _not_separated(rule, d)
    return found


def unfinished_sentence(unread: int, slides: int, *, is_empty: bool) -> Sentence | None:
    """Return what a count lacks while slides of the case are not analysed; None when all of them are."""
    if not slides:
        sentence = "No slide has been analysed: there is no differential."
        return Sentence(sentence, sentence) if is_empty else None
    if not unread:
        return None
    what = f"{unread} of {slides} slides {'is' if unread == 1 else 'are'} not analysed"
    sentence = f"{what}: there is no differential yet." if is_empty else f"{what}: the count is not complete."
    return Sentence(sentence, sentence)


def _not_separated(rule: FlagRule, d: Differential) -> Iterator[Sentence]:
    """Say where a share cannot be told from a limit, and how many cells more would settle it."""
    codes = _codes_of(rule["item"], d)
    counted = sum(d[code].counted for code in codes)
    if counted == 0 or not 0 < rule["limit"] < 100:
        return
    more = cells_to_separate(counted, d.total, rule["limit"] / 100)
    if more == 0:
        return
    share, limit = 100 * counted / d.total, f"{rule['limit']:g}% limit"
    name = f"{ITEMS[rule['item']][1]} ({_share(d, codes)})"
    side = "above" if share > rule["limit"] else "below"
    report = f"{name[0].upper()}{name[1:]} cannot be told from the {limit} by this count."
    if more is None or more > d.rules.practical_more_cells:
        yield Sentence(
            f"More than {d.rules.practical_more_cells:,} further cells would be needed to place {name} {side} the "
            f"{limit}: not practical.",
            report,
        )
    else:
        yield Sentence(f"About {more:,} more cells needed to place {name} {side} the {limit}.", report)


def _share(d: Differential, codes: tuple[str, ...]) -> str:
    """Return the share of some types as the table of the same report prints it (C11)."""
    return f"{printed(round(sum(d[code].percent or 0.0 for code in codes), 9), d.rules.decimals)}%"


def _present(differential: Differential, codes: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the codes that have a cell."""
    return tuple(code for code in codes if differential[code].count)
