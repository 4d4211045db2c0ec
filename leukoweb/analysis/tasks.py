"""The worker's tasks: run a detector over a slide, and the sweep that rings again; the only bridge to detection/.

The torch parts are imported inside the function, so the web process that sends the task stays small.
"""

import logging
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
from celery import current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from kombu.exceptions import ChannelError

from detection.images import ImageRefused, Limits, unpack_image
from leukoweb.analysis import services
from leukoweb.analysis.detectors import active_detector, computed_on, load_for
from leukoweb.analysis.models import Run
from leukoweb.cases.store import derived_folder, original_path
from leukoweb.cases.tus import sweep_incoming

log = logging.getLogger(__name__)
NOTE_EVERY_S = 0.5
DATABASE_PATIENCE_S = 60


class NotOurs(Exception):
    """Another attempt has the run: what we found is worth nothing."""


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
        with _signs_of_life(run):
            version = run.detector or active_detector()
            detector, site = load_for(version, run.slide.case.laboratory)
            results = [_read_image(run, image, detector, n) for n, image in enumerate(run.slide.images.all())]
            _store(run, detector=version, computed_on=computed_on(detector, site), results=results)
    except NotOurs:
        log.warning("run %s was taken over, attempt %s ends", run.pk, run.attempt)
    except DatabaseError:
        # The row stays RUNNING and silent; the sweep queues it again when the database is back.
        log.exception("run %s lost the database", run.pk)
        connection.close()
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
def sweep(patience_s: int | None = None) -> None:
    """Queue lost runs again and ring for those that wait; the claim makes duplicates harmless.

    `patience_s` is how long a bell may go unheard; a worker that starts has none.
    """
    now = timezone.now()
    services.release_lost_runs(silent_since=now - timedelta(seconds=settings.RUN_SILENT_LIMIT_S))
    patience = timedelta(seconds=settings.SWEEP_AFTER_S if patience_s is None else patience_s)
    # Where every waiting run still has its bell the queue is only long: ringing again would make it longer.
    if _bells() < Run.objects.filter(state=Run.State.QUEUED).count():
        services.ring_for_waiting_runs(sent_before=now - patience)
    sweep_incoming()
    _remove_leavings(older_than=now - timedelta(seconds=1.1 * settings.RUN_HARD_LIMIT_S))


def _bells() -> int:
    """How many messages wait in the broker."""
    with current_app.connection_for_read() as broker:
        try:
            return broker.default_channel.queue_declare(current_app.conf.task_default_queue, passive=True).message_count
        except ChannelError:  # Redis has no empty queue
            return 0


def _remove_leavings(*, older_than) -> None:
    """Remove the scratch folders of workers that were killed."""
    for folder in settings.FILE_UPLOAD_TEMP_DIR.glob("run-*"):
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < older_than.timestamp():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signs_of_life(run):
    """Write in regular intervals that this process lives, so that only a dead worker falls silent."""
    over = threading.Event()

    def live():
        while not over.wait(settings.RUN_SILENT_LIMIT_S / 6):
            try:
                services.note_alive(run)
            except DatabaseError as error:
                log.warning("run %s could not say that it lives: %s", run.pk, type(error).__name__)
            connection.close()

    thread = threading.Thread(target=live, name=f"run-{run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _store(run, **result) -> None:
    """Store the result, waiting for a database that restarts; the fence makes a second try harmless."""
    deadline = time.monotonic() + DATABASE_PATIENCE_S
    while True:
        try:
            if not services.store_result(run, **result):
                raise NotOurs
            return
        except DatabaseError:
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            connection.close()
            time.sleep(1)


def _progress_of(run, images_done):
    """Return the function that a detector calls after each batch of tiles."""
    last_note = 0.0

    def note(done, total):
        nonlocal last_note
        if time.monotonic() - last_note < NOTE_EVERY_S and done != total:
            return
        last_note = time.monotonic()
        try:
            ours = services.note_progress(run, images_done=images_done, tiles_done=done, tiles_total=total)
        except DatabaseError as error:
            if connection.in_atomic_block:
                raise
            log.warning("run %s could not note its progress: %s", run.pk, type(error).__name__)
            connection.close()
            return
        if not ours:
            raise NotOurs

    return note


def _read_image(run, image, detector, images_done):
    """Return (image, ImageResult fields, cells) of one image."""
    from detection.inference.detector import UM_PER_PX_RANGE
    from detection.inference.reading import read_field
    from detection.inference.scale import um_per_px_from_red_cells

    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="run-") as scratch:
        unpack_image(original_path(image.sha256), scratch, limits=Limits(max_bytes=settings.MAX_IMAGE_BYTES))
        _keep_pyramid(Path(scratch) / "pyramid", derived_folder(image.sha256))
        pixels = np.load(f"{scratch}/pixels.npy", mmap_mode="r")
        um_per_px, method = image.um_per_px, image.um_per_px_source
        if um_per_px is None:
            um_per_px, method = um_per_px_from_red_cells(pixels), "red cells"
        if um_per_px is None:
            um_per_px, method = detector.card["um_per_px"], "assumed"
        if not UM_PER_PX_RANGE[0] <= um_per_px <= UM_PER_PX_RANGE[1]:
            raise ImageRefused(
                f"its scale of {um_per_px:.3g} um per px cannot be right. Upload it again and enter the scale."
            )
        reading = read_field(pixels, detector, um_per_px, on_progress=_progress_of(run, images_done))
        del pixels
    uncovered = np.round(reading.uncovered, 1).tolist()
    return image, {"um_per_px": um_per_px, "scale_method": method, "uncovered_nuclei": uncovered}, reading.cells


def _keep_pyramid(made: Path, folder: Path) -> None:
    """Move viewer tiles to their place in one step; who comes second finds them there."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # the place is taken by the same tiles
        made.rename(folder / "pyramid")
