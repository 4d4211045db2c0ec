"""Admin pages of detector versions: their cards and which one is active.

Weights come in by `manage.py register_detector` only: a weights file can run code, so no page takes one.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from detection.card import Card, TypeCard
from detection.cell_types import BY_CODE
from leukoweb.accounts.access import requires
from leukoweb.analysis.detectors import activate_detector, switch_calibration
from leukoweb.analysis.models import DetectorVersion, SiteCalibration
from leukoweb.answers import refusal_shown
from leukoweb.audit.models import Event


@requires("manage_detectors")
@require_GET
def detector_list(request: HttpRequest) -> HttpResponse:
    """All versions, the active one first; one that came with an upgrade of the product is listed, not used."""
    detectors = DetectorVersion.objects.order_by("-is_active", "-id")
    return render(request, "analysis/detector_list.html", {"detectors": detectors})


@requires("manage_detectors")
@require_GET
def detector_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One version with its card: what it was trained on, how well it is proven, where it is weak."""
    detector = get_object_or_404(DetectorVersion, pk=pk)
    card = detector.typed_card
    return render(
        request,
        "analysis/detector_detail.html",
        {
            "detector": detector,
            "tests": card.tests(),
            "means": _means(card),
            "recipe": _recipe(card),
            "was_active": Event.objects.filter(action="detector.activate", object_id=pk).exists(),
            "rows": _rows(card),
            "facts": [(name.replace("_", " "), card.facts[name]) for name in _FACTS if card.facts.get(name)],
            "curves": _curves(card),
            "reliability": _reliability(card),
            "calibrations": detector.calibrations.select_related("laboratory"),
            "others": DetectorVersion.objects.exclude(pk=pk),
        },
    )


@requires("manage_detectors")
@require_POST
def detector_activate(request: HttpRequest, pk: int) -> HttpResponse:
    """Use a version for new runs; going back to an older one is the same act."""
    detector = get_object_or_404(DetectorVersion, pk=pk)
    with refusal_shown(request):
        activate_detector(detector, by=request.user, reason=request.POST.get("reason", ""))
        messages.success(
            request,
            gettext("New slides are read by %(detector)s from now on. Finished runs keep their version.")
            % {"detector": detector},
        )
    return redirect("detector_detail", pk=pk)


@requires("manage_detectors")
@require_POST
def calibration_switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Use a laboratory's calibration for its new runs, or no longer."""
    site = get_object_or_404(SiteCalibration.objects.select_related("laboratory", "detector"), pk=pk)
    with refusal_shown(request):
        switch_calibration(site, is_active=not site.is_active, by=request.user, reason=request.POST.get("reason", ""))
        said = (
            gettext("New slides of %(laboratory)s are no longer read with this calibration.")
            if site.is_active
            else gettext("New slides of %(laboratory)s are read with this calibration.")
        )
        messages.success(
            request,
            said % {"laboratory": site.laboratory},
        )
    return redirect("detector_detail", pk=site.detector_id)


_FACTS = ("architecture", "input_px", "um_per_px", "default_score_threshold", "temperature", "evidence_rule", "licence")


def _means(card: Card) -> list[dict]:
    """The means over the types, in the order of its tests; empty for a card without them."""
    means = [card.facts.get("macro", {}).get(test, {}).get("macro_n10") for test in card.tests()]
    return means if all(means) else []


def _recipe(card: Card) -> list[tuple]:
    """Name and value of what the training was told; colours by the names of their folders alone."""
    recipe = card.facts.get("training", {}).get("recipe", {})
    return [
        (name, ", ".join(Path(one).name for one in value) if isinstance(value, list) else value)
        for name, value in recipe.items()
    ]


def _rows(card: Card) -> list[dict]:
    """One row a type: the card's entry and its figures in the order of its tests."""
    return [
        {"type": BY_CODE[own.code], "card": own, "figures": [_facts_of(own, test) for test in card.tests()]}
        for own in card.types
    ]


def _facts_of(own: TypeCard, test: str) -> dict | None:
    return dict(own.tests[test].facts) if test in own.tests else None


def _curves(card: Card) -> list[dict]:
    """Precision over recall of each type, a line a test, as points of an SVG 100 wide and high."""
    curves = card.facts.get("curves", {})
    numbers = {test: number for number, test in enumerate(curves, 1)}
    return [
        {
            "type": BY_CODE[own.code],
            "lines": [
                {"test": test, "number": numbers[test], "points": _svg(drawn["precision_over_recall"][own.code])}
                for test, drawn in curves.items()
                if own.code in drawn["precision_over_recall"]
            ],
        }
        for own in card.types
        if any(own.code in drawn["precision_over_recall"] for drawn in curves.values())
    ]


def _reliability(card: Card) -> list[dict]:
    """Share of right calls over the score, a line a test."""
    return [
        {"test": test, "number": number, "points": _svg(own["reliability"])}
        for number, (test, own) in enumerate(card.facts.get("curves", {}).items(), 1)
    ]


def _svg(points: Iterable[Sequence[float]]) -> str:
    return " ".join(f"{100 * x:.1f},{100 - 100 * y:.1f}" for x, y, *_ in points)
