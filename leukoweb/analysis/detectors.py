"""Detector versions and their fit to laboratories: register, activate, and the loaded network of this worker process.

Slides are left to services.py.
"""

import hashlib
import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext

from detection import SHIPPED_CARD
from detection.card import Card
from detection.cell_types import CODES
from detection.inference.retyping import from_site
from leukoweb.accounts.models import Laboratory, User
from leukoweb.analysis.models import DetectorVersion, Run, SiteCalibration
from leukoweb.audit.services import record
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason

if TYPE_CHECKING:  # the web process never loads a network
    from detection.inference.detector import Detector


class Fit(TypedDict):
    """Which fit to the laboratory was in force, and of how many cells it was made."""

    sha256: str
    cells: int


class ComputedOn(TypedDict, total=False):
    """What is recorded of the machine side of a run; empty before it ran."""

    calibration: Fit
    device: str
    backend: str
    precision: str
    weights_sha256: str


def register_detector(card_path: Path, *, by: User | None = None) -> DetectorVersion:
    """Register weights by their card; the same weights are registered once.

    A card that says more than the registered one replaces it; one that says something else is left alone.
    """
    card = Card.read(card_path)
    weights = Path(card_path).with_name(card.facts["weights"])
    with transaction.atomic():
        detector, is_new = DetectorVersion.objects.get_or_create(
            sha256=card.sha256,
            defaults={
                "name": card.name,
                "version": card.version,
                "weights_path": str(weights.resolve()),
                "card": card.facts,
            },
        )
        if is_new:
            record("detector.register", actor=by, obj=detector, changes={"sha256": card.sha256})
        elif card.facts != detector.card and card.facts | detector.card == card.facts:
            added = sorted(card.facts.keys() - detector.card.keys())
            detector.card = card.facts
            detector.save(update_fields=["card"])
            record("detector.card", actor=by, obj=detector, changes={"sha256": card.sha256, "added": added})
    return detector


def adopt_detector(card_path: Path, *, by: User | None = None) -> DetectorVersion:
    """Load a detector once to prove its card, copy both files into this installation, and register the version."""
    from detection.inference.detector import Detector
    from detection.inference.precision import int8_form

    card = Card.read(card_path)
    weights = Path(card_path).with_name(card.facts["weights"])
    Detector.load(weights, card_path, device="cpu", backend="torch")
    known = DetectorVersion.objects.filter(sha256=card.sha256).first()
    if known and known.card != card.facts:
        raise ValueError(f"These weights are registered with another card, as {known}. Release them as a new version.")
    folder = settings.DATA_DIR / "detectors" / card.sha256
    folder.mkdir(parents=True, exist_ok=True)
    form = int8_form(weights)
    for path in (weights, Path(card_path), form, form.with_suffix(".bin")):
        if path.is_file():  # the int8 form is not made of every version
            shutil.copyfile(path, folder / path.name)
    return register_detector(folder / Path(card_path).name, by=by)


def activate_detector(detector: DetectorVersion, *, by: User | None, reason: str) -> None:
    """Make a version the one that new runs use; the reason is kept in the audit log."""
    reason = checked_reason(reason, gettext("Nothing was changed: enter a reason."))
    with transaction.atomic():
        before = DetectorVersion.objects.filter(is_active=True).first()
        DetectorVersion.objects.filter(is_active=True).update(is_active=False)
        DetectorVersion.objects.filter(pk=detector.pk).update(is_active=True)
        record(
            "detector.activate",
            actor=by,
            obj=detector,
            changes={"active": [before.sha256 if before else None, detector.sha256], "reason": reason},
        )


def detector_in_use() -> DetectorVersion | None:
    """Return the version that new runs use; None before the first run of a new installation."""
    return DetectorVersion.objects.filter(is_active=True).first()


def active_detector() -> DetectorVersion:
    """Return the version that a new run uses; the shipped one is registered, and activated when there is none.

    It may write: the worker and the steps that prepare an installation call it, never a page that is only read.
    """
    shipped = register_detector(SHIPPED_CARD)
    if (detector := detector_in_use()) is None:
        activate_detector(shipped, by=None, reason="shipped with the product")
        detector = detector_in_use() or shipped
    return detector


@lru_cache(maxsize=2)
def _load(weights_path: str, card: str) -> "Detector":
    from detection.inference.detector import Detector

    return Detector.load(
        weights_path,
        json.loads(card),
        device=settings.DEVICE,
        backend=settings.INFERENCE_BACKEND,
        cache_folder=settings.DATA_DIR / "detector-cache",
    )


def load_detector(version: DetectorVersion) -> "Detector":
    """The network of a version with the card that was registered, loaded once per process."""
    return _load(str(version.weights), json.dumps(version.card))


def register_calibration(site_path: Path, laboratory: Laboratory, *, by: User | None = None) -> SiteCalibration:
    """Take in what `python -m detection calibrate` fitted for a laboratory; nothing uses it until it is activated."""
    try:
        fitted = json.loads(Path(site_path).read_text())
        missing = {"weights_sha256", "colour", "thresholds", "cells", "typed_right"} - fitted.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise Refused(f"{site_path} is no file of `python -m detection calibrate`.") from error
    if missing or set(fitted["thresholds"]) != set(CODES):
        raise Refused(f"{site_path} is no file of `python -m detection calibrate`.")
    try:
        from_site(fitted.get("typing"))
    except ValueError as error:
        raise Refused(f"{site_path} is no file of `python -m detection calibrate`: {error}") from error
    detector = DetectorVersion.objects.filter(sha256=fitted["weights_sha256"]).first()
    if detector is None:
        raise Refused("No registered detector has these weights: register the version first.")
    sha256 = hashlib.sha256(json.dumps(fitted, sort_keys=True).encode()).hexdigest()
    with transaction.atomic():
        site = SiteCalibration.objects.create(laboratory=laboratory, detector=detector, sha256=sha256, fitted=fitted)
        changes = {"laboratory": laboratory.name, "detector": detector.sha256, "sha256": sha256}
        record("calibration.register", actor=by, obj=site, changes=changes)
    return site


def switch_calibration(site: SiteCalibration, *, is_active: bool, by: User | None, reason: str) -> None:
    """Use a calibration for new runs of its laboratory in place of any other, or no longer; the reason is audited."""
    reason = checked_reason(reason, gettext("Nothing was changed: enter a reason."))
    with transaction.atomic():
        rivals = SiteCalibration.objects.filter(laboratory=site.laboratory, detector=site.detector, is_active=True)
        before = [rival.sha256 for rival in rivals]
        rivals.update(is_active=False)
        SiteCalibration.objects.filter(pk=site.pk).update(is_active=is_active)
        changes = {"active": [before, [site.sha256] if is_active else []], "reason": reason}
        record("calibration.switch", actor=by, obj=site, changes=changes | {"laboratory": site.laboratory.name})


def load_for(version: DetectorVersion, laboratory: Laboratory) -> tuple["Detector", SiteCalibration | None]:
    """The detector as it reads the slides of a laboratory: the version itself, or fitted by the active calibration."""
    detector = load_detector(version)
    site = SiteCalibration.objects.filter(laboratory=laboratory, detector=version, is_active=True).first()
    return (detector.calibrated(site.fitted), site) if site else (detector, None)


def is_outdated(run: Run, laboratory: Laboratory) -> bool:
    """Whether a finished run was made by another version, or another fit, than new runs of the laboratory are."""
    if run.detector is None or run.state != run.State.DONE:
        return False
    version = detector_in_use()
    site = SiteCalibration.objects.filter(laboratory=laboratory, detector=version, is_active=True).first()
    fit = run.computed_on.get("calibration", {}).get("sha256")
    return run.detector != version or fit != (site.sha256 if site else None)


def computed_on(detector: "Detector", site: SiteCalibration | None = None) -> ComputedOn:
    """What must be recorded of the machine side of a run."""
    found: ComputedOn = {
        "device": detector.device,
        "backend": detector.backend,
        "precision": detector.precision,
        "weights_sha256": detector.card.sha256,
    }
    if site:
        found["calibration"] = {"sha256": site.sha256, "cells": site.fitted["cells"]}
    return found
