"""The worker's tasks: run a detector over a slide, and the sweep that rings again; the only bridge to detection/.

The torch parts are imported inside the function, so the web process that sends the task stays small.
"""

import logging
import shutil
import tempfile
import time
from datetime import timedelta

import numpy as np
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.utils import timezone

from detection.images import ImageRefused, unpack_image
from leukoweb.analysis import services
from leukoweb.analysis.detectors import active_detector, computed_on, load_detector
from leukoweb.analysis.models import Run
from leukoweb.cases.store import derived_folder, original_path

log = logging.getLogger(__name__)


@shared_task(bind=True)
def run_detection(self, run_id: int) -> None:
    """Find the cells of one slide.

    1. claim the row: not ours, return
    2. unpack each image in a limited child process
    3. detect outside any transaction, writing progress
    4. store everything at once behind the fence
    """
    run = services.claim_run(run_id, task_id=self.request.id, max_attempts=settings.RUN_MAX_ATTEMPTS)
    if run is None:
        return
    try:
        detector_version = run.detector or active_detector()
        detector = load_detector(detector_version)
        results = [_read_image(run, image, detector, n) for n, image in enumerate(run.slide.images.all())]
        services.store_result(run, detector=detector_version, computed_on=computed_on(detector), results=results)
    except ImageRefused as refused:
        services.fail_run(run, f"An image of this slide could not be read: {refused}")
    except SoftTimeLimitExceeded:
        services.fail_run(run, "The analysis took longer than allowed. Try again when the worker is less busy.")
    except Exception as error:
        log.exception("run %s failed", run.pk)
        services.fail_run(
            run,
            f"The detector stopped with an unexpected error ({type(error).__name__}). Try again; "
            "if it happens again, tell the administrator.",
        )


@shared_task
def sweep() -> None:
    """Ring again for runs that were queued or lost a while ago; the claim makes duplicates harmless."""
    now = timezone.now()
    lost = Run.objects.filter(state=Run.State.RUNNING, seen_at__lt=now - timedelta(seconds=settings.RUN_SILENT_LIMIT_S))
    lost.update(state=Run.State.QUEUED, task_id="", sent_at=now - timedelta(seconds=2 * settings.SWEEP_AFTER_S))
    waiting = Run.objects.filter(
        state=Run.State.QUEUED, sent_at__lt=now - timedelta(seconds=settings.SWEEP_AFTER_S)
    ).order_by("-is_stat", "queued_at")
    for run in waiting[:500]:
        Run.objects.filter(pk=run.pk).update(sent_at=now)
        services.ring_worker(run)


def _read_image(run, image, detector, images_done):
    """Return (image, ImageResult fields, cells) of one image."""
    from detection.scale import um_per_px_from_red_cells
    from detection.stain import find_nuclei, uncovered_nuclei

    folder = derived_folder(image.sha256)
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as scratch:
        unpack_image(original_path(image.sha256), scratch)
        if not (folder / "pyramid").exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(f"{scratch}/pyramid", folder / "pyramid")
        pixels = np.load(f"{scratch}/pixels.npy", mmap_mode="r")
        um_per_px, method = image.um_per_px, image.um_per_px_source
        if um_per_px is None:
            um_per_px, method = um_per_px_from_red_cells(pixels), "red cells"
        if um_per_px is None:
            um_per_px, method = detector.card["um_per_px"], "assumed"

        last_note = 0.0

        def on_progress(done, total):
            nonlocal last_note
            if time.monotonic() - last_note > 0.5 or done == total:
                last_note = time.monotonic()
                services.note_progress(run, images_done=images_done, tiles_done=done, tiles_total=total)

        cells = detector.find_cells(pixels, um_per_px, on_progress=on_progress)
        nuclei = find_nuclei(pixels, um_per_px)
        missed = uncovered_nuclei(nuclei, np.array([cell.xyxy for cell in cells], dtype=float).reshape(-1, 4))
    measured = {
        "um_per_px": um_per_px,
        "scale_method": method,
        "uncovered_nuclei": np.round(missed, 1).tolist(),
    }
    return image, measured, cells
