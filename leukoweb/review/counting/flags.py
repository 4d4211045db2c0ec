"""What a differential asks somebody to look at (rule C7), each flag with the codes of the cells that caused it.

Pure: limits come with the differential's own rules; nothing here knows cells, readers or how a flag is shown.
"""

from dataclasses import dataclass

from detection.cell_types import BLASTS, PROMYELOCYTES
from leukoweb.review.counting.differential import Differential, cells_to_separate, upper_bound_of_zero

URGENT, REVIEW, NOTE = "urgent", "review", "note"
LEFT_SHIFT = ("NGB", "MMZ", "MYB", "PMO")


@dataclass(frozen=True)
class Flag:
    """A sentence for the reader, how urgent it is, and the codes whose cells caused it.

    `key` names flag and level: a higher level of blasts is a new flag that must be acknowledged anew.
    """

    key: str
    title: str
    sentence: str
    urgency: str
    codes: tuple[str, ...]

    @property
    def is_urgent(self) -> bool:
        """Whether the case goes to the top of the worklist and asks for an acknowledgement."""
        return self.urgency == URGENT


def flags_of(differential: Differential) -> list[Flag]:
    """Return the flags of a differential, the most urgent first; an empty list when nothing is remarkable.

    Parameters
    ----------
    differential : Differential
        With at least no cells: an empty one has no flags.

    Returns
    -------
    list of Flag
    """
    if differential.is_empty:
        return []
    d, rules, flags = differential, differential.rules, []
    blasts, promyelocytes = d["blasts"], d["promyelocytes"]
    blast_codes = _present(d, BLASTS)

    if d["PMB"].count or (d["PMO"].count and blasts.count):
        flags.append(
            Flag("possible_apl", "Possible APL",
                 f"{_cells(promyelocytes.count, 'promyelocyte')}"
                 + (f", {d['PMB'].count} of them bilobed" if d["PMB"].count else "")
                 + (f", with {_cells(blasts.count, 'blast')}" if blasts.count else "")
                 + ": acute promyelocytic leukaemia must be ruled out without delay.",
                 URGENT, _present(d, PROMYELOCYTES + BLASTS))
        )  # fmt: skip
    if blasts.count:
        share = 100 * blasts.counted / d.total
        level, words = "", "the pathologist must review."
        if share >= rules.blasts_second_limit:
            level, words = "_second_limit", f"at or above {rules.blasts_second_limit:g} %."
        elif share >= rules.blasts_first_limit:
            level, words = "_first_limit", f"at or above {rules.blasts_first_limit:g} %."
        flags.append(
            Flag(f"blasts{level}", "Blasts", f"{_cells(blasts.count, 'blast')}, {_percent(share)} of cells: {words}",
                 URGENT, blast_codes)
        )  # fmt: skip
    if promyelocytes.count:
        flags.append(
            Flag("promyelocytes", "Promyelocytes",
                 f"{_cells(promyelocytes.count, 'promyelocyte')}: the pathologist must review.",
                 REVIEW, _present(d, PROMYELOCYTES))
        )  # fmt: skip
        if not d["MYB"].count and not d["MMZ"].count:
            flags.append(
                Flag("maturation_gap", "Maturation gap", "Promyelocytes without myelocytes and metamyelocytes.",
                     REVIEW, _present(d, PROMYELOCYTES))
            )  # fmt: skip
    if 100 * d["LYA"].counted / d.total > rules.lya_limit:
        flags.append(
            Flag("atypical_lymphocytes", "Atypical lymphocytes",
                 f"{_percent(100 * d['LYA'].counted / d.total)} atypical lymphocytes, above {rules.lya_limit:g} %.",
                 REVIEW, ("LYA",))
        )  # fmt: skip
    shifted = 100 * sum(d[code].counted for code in LEFT_SHIFT) / d.total
    if shifted > rules.left_shift_limit:
        flags.append(
            Flag("left_shift", "Left shift",
                 f"{_percent(shifted)} bands and immature neutrophils, above {rules.left_shift_limit:g} %.",
                 NOTE, _present(d, LEFT_SHIFT))
        )  # fmt: skip
    if (d["EBO"].per_100 or 0) >= rules.nrbc_limit:
        flags.append(
            Flag("erythroblasts", "Erythroblasts",
                 f"{d['EBO'].per_100:.1f} erythroblasts per 100 WBC, at or above {rules.nrbc_limit:g}.",
                 NOTE, ("EBO",))
        )  # fmt: skip
    return flags


def limits_of_the_count(differential: Differential) -> list[str]:
    """Return, in plain sentences, what this count can and cannot say (C3).

    Parameters
    ----------
    differential : Differential

    Returns
    -------
    list of str
        Why the count is limited, what cannot be excluded, and how many cells more would settle a call.
    """
    d, rules, sentences = differential, differential.rules, []
    if d.is_empty:
        return [
            "No leukocyte was found: there is no differential. Upload a field with leukocytes or add the cells by hand."
        ]
    if d.is_limited:
        sentences.append(
            f"Limited count: {_cells(d.total, 'leukocyte')}, fewer than {rules.minimum_count}. Too few were found "
            "for a reliable differential."
        )
    if d["blasts"].count == 0:
        sentences.append(
            f"Blasts under {100 * upper_bound_of_zero(d.total):.2f} % cannot be excluded: none among "
            f"{_cells(d.total, 'leukocyte')}."
        )
    for name, counted, limit in (
        ("blasts", d["blasts"].counted, rules.blasts_first_limit),
        ("blasts", d["blasts"].counted, rules.blasts_second_limit),
        ("atypical lymphocytes", d["LYA"].counted, rules.lya_limit),
    ):
        if sentence := _count_more(name, counted, d.total, limit):
            sentences.append(sentence)
    return sentences


def _count_more(name, counted, total, limit):
    """Say how many cells more would separate a share from a limit; "" where nothing is to be settled."""
    if counted == 0:
        return ""
    more, share = cells_to_separate(counted, total, limit / 100), _percent(100 * counted / total)
    if more == 0:
        return ""
    if more is None:
        return f"{name.capitalize()}: {share} cannot be separated from {limit:g} % by counting more cells."
    return f"Count {more:,} more to separate {share} {name} from {limit:g} %."


def _present(differential, codes):
    """Return those of the codes that have a cell."""
    return tuple(code for code in codes if differential[code].count)


def _cells(count, name):
    return f"{count:,} {name}" + ("" if count == 1 else "s")


def _percent(value):
    return f"{value:.1f} %"
