"""Detector versions: register, the active one, and the loaded network of this worker process; it knows no slide."""

import json
import shutil
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import transaction

from detection import SHIPPED_CARD
from leukoweb.analysis.models import DetectorVersion
from leukoweb.audit.services import record


def register_detector(card_path: Path, *, by=None) -> DetectorVersion:
    """Register weights by their card; the same weights are registered once."""
    card = json.loads(Path(card_path).read_text())
    weights = Path(card_path).with_name(card["weights"])
    with transaction.atomic():
        detector, is_new = DetectorVersion.objects.get_or_create(
            sha256=card["sha256"],
            defaults={
                "name": card["name"],
                "version": card["version"],
                "weights_path": str(weights.resolve()),
                "card": card,
            },
        )
        if is_new:
            record("detector.register", actor=by, obj=detector, changes={"sha256": card["sha256"]})
    return detector


def adopt_detector(card_path: Path, *, by=None) -> DetectorVersion:
    """Load a detector once to prove its card, copy both files into this installation, and register the version."""
    from detection.detector import Detector

    card = json.loads(Path(card_path).read_text())
    weights = Path(card_path).with_name(card["weights"])
    Detector.load(weights, card_path, device="cpu", backend="torch")
    folder = settings.DATA_DIR / "detectors" / card["sha256"]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / weights.name)
    shutil.copyfile(card_path, folder / Path(card_path).name)
    return register_detector(folder / Path(card_path).name, by=by)


def activate_detector(detector, *, by, reason: str) -> None:
    """Make a version the one that new runs use; the reason is kept in the audit log."""
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


def active_detector() -> DetectorVersion:
    """The version that new runs use; the shipped one is registered and activated when there is none."""
    detector = DetectorVersion.objects.filter(is_active=True).first()
    if detector is None:
        detector = register_detector(SHIPPED_CARD)
        activate_detector(detector, by=None, reason="shipped with the product")
    return detector


@lru_cache(maxsize=2)
def _load(weights_path: str, card_path: str):
    from detection.detector import Detector

    return Detector.load(
        weights_path,
        card_path,
        device=settings.DEVICE,
        backend=settings.INFERENCE_BACKEND,
        cache_folder=settings.DATA_DIR / "detector-cache",
    )


def load_detector(version: DetectorVersion):
    """The network of a version, loaded once per process."""
    weights = Path(version.weights_path)
    return _load(str(weights), str(weights.with_suffix(".json")))


def computed_on(detector) -> dict:
    """What must be recorded of the machine side of a run."""
    return {
        "device": detector.device,
        "backend": detector.backend,
        "precision": detector.precision,
        "weights_sha256": detector.card["sha256"],
    }
