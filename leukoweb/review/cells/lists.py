"""What slide page and workbench show of cells, as plain values for JSON; it decides nothing and writes nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from detection.card import TypeCard
from detection.cell_types import CELL_TYPES, NOT_A_CELL, UNIDENTIFIED
from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell, DetectorVersion, ImageResult, Run
from leukoweb.analysis.services import progress_sentence
from leukoweb.cases.models import Case, Slide, SlideImage
from leukoweb.review.cells.decisions import Evidence, current_cells, evidence_of
from leukoweb.review.counting.attention import (
    cells_to_change,
    in_order,
    is_settled,
    reasons_to_look,
    together,
)
from leukoweb.review.counting.differential import Row, clopper_pearson
from leukoweb.review.counting.flags import Flag, flag_keys_of
from leukoweb.review.counting.words import printed
from leukoweb.review.models import Decision
from leukoweb.review.services import CaseCount, count_case
from leukoweb.sentences import translated

# One key for each type; a reader may change them (user.preferences["cell_keys"]).
DEFAULT_KEYS = {
    "NGS": "s", "NGB": "b", "MMZ": "t", "MYB": "y", "PMO": "p", "PMB": "o", "MYO": "f", "MOB": "d",
    "LYT": "l", "LYA": "v", "MON": "m", "EOS": "e", "BAS": "k", "EBO": "r", "KSC": "g",
    UNIDENTIFIED: "q", NOT_A_CELL: "x",
}  # fmt: skip
TAKEN_KEYS = {
    "n": gettext_noop("next"),
    "j": gettext_noop("jump"),
    "u": gettext_noop("undo"),
    "z": gettext_noop("centre"),
    "a": gettext_noop("add a cell"),
    "c": gettext_noop("nuclei"),
    "w": gettext_noop("to the report"),
}


def types_for(user: User) -> list[dict]:
    """Every label that a reader can give, in the order of the pages: by maturation, with its colour and key."""
    keys = {**DEFAULT_KEYS, **user.preferences.get("cell_keys", {})}
    by_code = {
        t.code: {"code": t.code, "label": translated(t.label), "short": translated(t.short), "color": t.color}
        for t in CELL_TYPES
    }
    by_code[UNIDENTIFIED] = {
        "code": UNIDENTIFIED,
        "label": translated("Unidentified"),
        "short": translated("Unident."),
        "color": "#b45309",
    }
    by_code[NOT_A_CELL] = {
        "code": NOT_A_CELL,
        "label": translated("Not a cell"),
        "short": translated("No cell"),
        "color": "#57534e",
    }
    return [{**by_code[code], "key": keys[code]} for code in DEFAULT_KEYS]


def images_of(slides: Iterable[Slide]) -> list[dict]:
    """The images of slides with their scale and what the stain check left uncovered."""
    measured = {
        result.image_id: result for result in ImageResult.objects.filter(run__slide__in=slides, run__is_shadow=False)
    }
    shown = []
    for image in SlideImage.objects.filter(slide__in=slides).select_related("slide"):
        result = measured.get(image.pk)
        tile = reverse("image_tile", args=[image.pk, 0, 0, 0])
        shown.append(
            {
                "id": image.pk,
                "slide": image.slide.label or translated(image.slide),
                "slide_id": image.slide_id,
                "name": gettext("image %(number)s") % {"number": image.position + 1},
                "width": image.width_px,
                "height": image.height_px,
                "tiles": tile.removesuffix("0/0_0.jpg"),
                "um_per_px": result.um_per_px if result else image.um_per_px,
                "is_scale_assumed": bool(result and result.scale_method == "assumed"),
                "nuclei": result.uncovered_nuclei if result else [],
                **({"coverage": result.coverage} if result and result.coverage else {}),
            }
        )
    return shown


def read_cells(cells: QuerySet[Cell]) -> list[Any]:
    """Read labelled cells as rows with what a page shows: of twenty thousand, objects would take twice as long."""
    shown = ("pk", "image_id", "detector_code", "score", "chances", "x1", "y1", "x2", "y2", "added_by_id")
    return list(cells.values_list(*shown, "last_decision_id", "decided_code", "code", named=True))


def cells_for_json(cells: Sequence[Any], evidence: Evidence) -> list[dict]:
    """Rows of `read_cells` as the pages need them; `seen` is the last decision, sent back with the reader's own one."""
    deciders = {
        key: (by, at)
        for key, by, at in Decision.objects.filter(pk__in=[c.last_decision_id for c in cells if c.last_decision_id])
        .values_list("pk", "decided_by_id", "decided_at")
    }  # fmt: skip
    readers = User.objects.in_bulk({by for by, _ in deciders.values()})
    shown = []
    for cell in cells:
        by, at = deciders.get(cell.last_decision_id, (None, None))
        shown.append(
            {
                "id": cell.pk,
                "image": cell.image_id,
                "code": cell.code or NOT_A_CELL,
                "said": cell.detector_code,
                "score": None if cell.score is None else round(cell.score, 3),
                "chances": cell.chances,
                "box": [round(cell.x1, 1), round(cell.y1, 1), round(cell.x2, 1), round(cell.y2, 1)],
                "seen": cell.last_decision_id or 0,
                "decided": bool(cell.decided_code),
                "by": str(readers[by]) if by else "",
                "at": at.isoformat() if at else "",
                "added": cell.added_by_id is not None,
                "look": [translated(reason) for reason in reasons_to_look(cell, evidence)],
                "together": together(cell, evidence),
            }
        )
    return shown


def summary_of(case: Case, cells: Sequence[Any], evidence: Evidence, now: CaseCount) -> dict:
    """Counts and flags of a case, and the order of attention over rows of cells, for the side panel."""
    d, known = now.differential, {}

    def calls(counts: Mapping[str, int]) -> tuple:
        key = tuple(sorted((code, number) for code, number in counts.items() if number))
        if key not in known:
            other = d.with_counts(dict(key))
            rows = (*other.rows, *other.groups.values())
            flags = flag_keys_of(other, lya_meaning=now.lya_meaning)
            known[key] = flags, tuple(row.call for row in rows), other.is_limited
        return known[key]

    counts = Counter(cell.code for cell in cells if cell.code)
    undecided = Counter(cell.code for cell in cells if not cell.decided_code)
    least = cells_to_change(counts, undecided, calls)
    waiting = analysing(case)
    return {
        "total": d.total,
        "cells": len(cells),
        "undecided": sum(undecided.values()),
        "order": [cell.pk for cell in in_order(cells, evidence, least)],
        "least": least,
        "settled": is_settled(counts, undecided, calls),
        "rows": [_row(row, d.rules.decimals) for row in (*d.rows, d.unidentified)],
        "blasts": _row(d["blasts"], d.rules.decimals),
        "flags": [_told(flag) for flag in now.flags],
        "sentences": [translated(said.bench) for said in (*now.sentences, *now.warnings) if said.bench]
        if d.total or not waiting
        else [],
        "analysing": waiting,
        "is_limited": d.is_limited,
    }


def _told(flag: Flag) -> dict:
    """Return a flag as the pages show it, in the active language."""
    told = flag.as_dict()
    return told | {name: translated(told[name]) for name in ("title", "sentence")}


def analysing(case: Case) -> list[str]:
    """Say of each slide that the detector has not finished how far it is; [] when there is nothing to wait for."""
    runs = Run.objects.filter(slide__case=case, is_shadow=False, state__in=(Run.State.QUEUED, Run.State.RUNNING))
    return [f"{run.slide}: {progress_sentence(run)}" for run in runs.select_related("slide").order_by("slide")]


def _row(row: Row, decimals: int) -> dict:
    return {
        "code": row.key,
        "count": row.count,
        "percent": row.percent,
        "text": f"{translated(printed(row.per_100, 1))}/100"
        if row.per_100 is not None
        else f"{translated(printed(row.percent, decimals))}%",
        "low": row.low,
        "high": row.high,
        "per_100": row.per_100,
        "call": row.call,
        "call_words": translated(row.call),
        "certain": row.is_call_certain,
    }


def whole_case(case: Case) -> dict:
    """All that the workbench asks for at once."""
    evidence = evidence_of(case)
    cells = read_cells(current_cells(case))
    return {
        "images": images_of(case.slides.all()),
        "evidence": evidence_cards(case),
        "cells": cells_for_json(cells, evidence),
        "summary": summary_of(case, cells, evidence, count_case(case, cells=cells)),
    }


def after_change(case: Case, changed_keys: Iterable[int]) -> dict:
    """What an answer to a decision carries: the changed cells and the new summary, so that no page is loaded again."""
    evidence, cells = evidence_of(case), current_cells(case)
    labels = list(cells.values_list("pk", "score", "decided_code", "code", named=True))
    return {
        "changed": cells_for_json(read_cells(cells.filter(pk__in=list(changed_keys))), evidence),
        "summary": summary_of(case, labels, evidence, count_case(case, cells=labels)),
    }


def evidence_cards(case: Case) -> dict:
    """What the newest detector of a case is proven on, type by type, with exact intervals of what was typed right."""
    run = case.slides.filter(runs__is_shadow=False, runs__detector__isnull=False).order_by("-id").values_list(
        "runs__detector", flat=True
    )[:1]  # fmt: skip
    detector = DetectorVersion.objects.filter(pk__in=list(run)).first()
    return {} if detector is None else {own.code: _card(own, str(detector)) for own in detector.typed_card.types}


def _card(own: TypeCard, detector: str) -> dict:
    tests = []
    for name, figures in own.tests.items():
        test: dict[str, object] = {"name": name.replace("_", " "), "n": figures.n, "ap50": figures.ap50}
        for figure in ("precision", "recall"):
            if share := getattr(figures, figure):  # value, and its exact 95 % interval
                test[figure] = [round(100 * value) for value in share]
        right, _, shown = str(figures.facts.get("central_cell_typed_right", "")).partition("/")
        if right.isdigit() and shown.isdigit() and int(shown):
            low, high = clopper_pearson(int(right), int(shown))
            test |= {"right": int(right), "of": int(shown), "low": round(100 * low), "high": round(100 * high)}
        tests.append(test)
    return {"level": own.evidence, "n_train": own.n_train, "tests": tests, "detector": detector}
