"""The worker's tasks: run a detector over a slide, and the sweep that enqueues again; the only bridge to detection/.

The torch parts are imported inside the function, so the web process that sends the task stays small.
"""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from kombu.exceptions import ChannelError

from detection.images import TILE_PX, ImageFacts, ImageRefused, Limits, NoRoom, unpack_image
from leukoweb.analysis import film, services
from leukoweb.analysis.at_work import at_work
from leukoweb.analysis.coverage import Coverage, area_of
from leukoweb.analysis.detectors import ComputedOn, active_detector, computed_on, load_for
from leukoweb.analysis.models import DetectorVersion, Run
from leukoweb.analysis.slide_tiles import prune_tiles
from leukoweb.analysis.whole_slides import WholeSlide
from leukoweb.cases.copies import local_original, prune_copies, tiles_folder, unpacked_slide
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import StoreAway, derived_folder, has_room_for, keep_derived
from leukoweb.cases.tus import sweep_incoming
from leukoweb.places import DISK_FULL_ERRORS
from leukoweb.refusals import Refused

if TYPE_CHECKING:  # loaded in the task, never by the web process
    from detection.inference.detector import Detector
    from detection.inference.reading import FieldReading
    from detection.inference.scale import SlideScale

DATABASE_AWAY = (OperationalError, InterfaceError)  # it does not answer; what it refuses to store is a fault of ours
log = logging.getLogger(__name__)
NOTE_EVERY_S = 0.5
DATABASE_PATIENCE_S = 60
UNPACK_LIMIT_S = 300  # by the clock, of one image: beside other work 200 megapixels have taken 90 s
OVERVIEW_BYTES = 1 << 27  # of a whole slide, with its viewer tiles
KEPT_BYTES = 2 << 30  # of unpacked pixels of one run; what does not fit is unpacked again when it is read
UNREADABLE = (
    "The picture could not be read as a stained smear: it shows structure, but no cell that the detector knows. Check "
    "that it is a coloured picture of a stained smear in focus and that its scale is right, then upload it again."
)


class ScaleAsked(Exception):
    """A person must state the scale: `choices` holds what each source says."""

    def __init__(self, sentence: str, choices: dict[str, float]) -> None:
        super().__init__(sentence)
        self.choices = choices


class NotOurs(Exception):
    """Another attempt has the run: what we found is worth nothing."""


@shared_task(bind=True, Request="leukoweb.analysis.lost:RunRequest")
def run_detection(self: Task, run_id: int) -> None:
    """Find the cells of one slide.

    1. claim the row: not ours, return
    2. unpack each image in a limited child process, and decide the one scale of the slide
    3. detect outside any transaction, writing progress
    4. store everything at once behind the fence
    """
    run = services.claim_run(run_id, task_id=self.request.id, max_attempts=settings.RUN_MAX_ATTEMPTS)
    if run is None:
        return
    try:
        with at_work(run), _signs_of_life(run):
            version = run.detector or active_detector()
            detector, site = load_for(version, run.slide.case.laboratory)
            results = _read_slide(run, detector)
            _store(run, detector=version, computed_on=computed_on(detector, site), results=results)
    except NotOurs:
        log.warning("run %s was taken over, attempt %s ends", run.pk, run.attempt)
    except DATABASE_AWAY:
        # The row stays RUNNING and silent; the sweep queues it again when the database is back.
        log.exception("run %s lost the database", run.pk)
        connection.close()
    except NoRoom:
        services.put_back(run, services.NO_ROOM)
    except StoreAway:
        services.put_back(run, services.STORE_AWAY)
    except (ImageRefused, Refused) as refused:
        services.fail_run(run, f"An image of this slide could not be read: {refused}")
    except ScaleAsked as asked:
        services.fail_run(run, str(asked), scale_choices=asked.choices)
    except SoftTimeLimitExceeded:
        services.fail_run(run, services.TOO_LONG)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRORS:
            services.put_back(run, services.NO_ROOM)
            return
        log.exception("run %s failed", run.pk)
        services.fail_run(
            run,
            f"The detector stopped with an unexpected error ({type(error).__name__}). Try again; "
            "if it happens again, tell the administrator.",
        )


@shared_task
def count_film(count_id: int) -> None:
    """Count the red cells and platelets of a slide that was read; harmless when it runs twice."""
    film.count(count_id)


@shared_task
def sweep(patience_s: int | None = None) -> None:
    """Queue lost runs again and enqueue those that wait; the claim makes duplicates harmless.

    `patience_s` is how long a task may wait unread; a worker that starts has none.
    """
    now = timezone.now()
    services.release_left_runs()
    services.release_lost_runs(silent_since=now - timedelta(seconds=settings.RUN_SILENT_LIMIT_S))
    patience = timedelta(seconds=settings.SWEEP_AFTER_S if patience_s is None else patience_s)
    try:
        # Where every waiting run still has its message the queue is only long: another message would make it longer.
        if _messages_waiting() < Run.objects.filter(state=Run.State.QUEUED).count():
            services.enqueue_waiting_runs(sent_before=now - patience)
    except services.BROKER_AWAY as error:  # the rest needs none, and the next sweep tries again
        log.warning("the sweep enqueued no run, the broker did not answer: %s", type(error).__name__)
    sweep_incoming()
    prune_tiles()
    prune_copies()
    _remove_stale_folders(older_than=now - timedelta(seconds=1.1 * settings.RUN_HARD_LIMIT_S))


def _messages_waiting() -> int:
    """How many messages of runs wait in the broker."""
    waiting = 0
    with services.impatient_broker() as broker:
        for queue in (settings.RUNS_QUEUE, settings.LONG_RUNS_QUEUE):
            with suppress(ChannelError):  # Redis has no empty queue
                waiting += broker.default_channel.queue_declare(queue, passive=True).message_count
    return waiting


def _remove_stale_folders(*, older_than: datetime) -> None:
    """Remove the scratch folders of workers that were killed."""
    for folder in settings.FILE_UPLOAD_TEMP_DIR.glob("run-*"):
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < older_than.timestamp():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signs_of_life(run: Run) -> Iterator[None]:
    """Write in regular intervals that this process lives, so that only a dead worker falls silent."""
    over = threading.Event()

    def live() -> None:
        while not over.wait(settings.RUN_SILENT_LIMIT_S / 6):
            try:
                services.note_alive(run)
            except DATABASE_AWAY as error:
                log.warning("run %s could not say that it lives: %s", run.pk, type(error).__name__)
            connection.close()

    thread = threading.Thread(target=live, name=f"run-{run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _store(run: Run, *, detector: DetectorVersion, computed_on: ComputedOn, results: list[services.ReadImage]) -> None:
    """Store the result, waiting for a database that restarts; the fence makes a second try harmless."""
    deadline = time.monotonic() + DATABASE_PATIENCE_S
    while True:
        try:
            if not services.store_result(run, detector=detector, computed_on=computed_on, results=results):
                raise NotOurs
            return
        except DATABASE_AWAY:
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            connection.close()
            time.sleep(1)


def _progress_of(run: Run, images_done: int) -> Callable[[int, int], None]:
    """Return the function that a detector calls after each batch of tiles."""
    last_note = 0.0

    def note(done: int, total: int) -> None:
        nonlocal last_note
        if time.monotonic() - last_note < NOTE_EVERY_S and done != total:
            return
        last_note = time.monotonic()
        try:
            ours = services.note_progress(run, images_done=images_done, tiles_done=done, tiles_total=total)
        except DATABASE_AWAY as error:
            if connection.in_atomic_block:
                raise
            log.warning("run %s could not note its progress: %s", run.pk, type(error).__name__)
            connection.close()
            return
        if not ours:
            raise NotOurs

    return note


class _Unpacked:
    """Pixels of a run's images in one scratch folder, which goes when the run ends."""

    def __init__(self, run: Run) -> None:
        self.run = run
        settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
        self.folder = tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="run-")
        self.bytes = 0

    def pixels(self, image: SlideImage) -> np.ndarray:
        """Return the memory-mapped pixels of an image, unpacked by a limited child process on first use.

        Of a whole slide they are those of its overview.
        """
        place = Path(self.folder.name) / str(image.pk)
        if not (place / "pixels.npy").exists():
            limits = Limits(
                max_bytes=settings.MAX_IMAGE_BYTES, max_slide_bytes=settings.MAX_SLIDE_BYTES, wall_s=UNPACK_LIMIT_S
            )
            if image.is_whole_slide:
                limits = replace(limits, cpu_s=UNPACK_LIMIT_S)
            facts = unpack_image(local_original(image.sha256), place, limits=limits)
            _keep_files(place / "slide", unpacked_slide(image.sha256))
            kept = tiles_folder(image.sha256, image.pk) / "pyramid"
            if not (self.run.is_shadow and kept.exists()):  # a comparison changes no picture
                _note_size(image, facts)
                _keep_pyramid(place / "pyramid", image)
            self.bytes += (place / "pixels.npy").stat().st_size
        return np.load(place / "pixels.npy", mmap_mode="r")

    def forget(self, image: SlideImage) -> None:
        """Remove the pixels of an image."""
        place = Path(self.folder.name) / str(image.pk)
        self.bytes -= (place / "pixels.npy").stat().st_size
        shutil.rmtree(place, ignore_errors=True)


def _read_slide(run: Run, detector: "Detector") -> list[services.ReadImage]:
    """Return what each image shows, all read at the one scale of the slide."""
    from detection.inference.reading import read_field
    from detection.inference.scale import ScaleUnknown, decide_scale, um_per_px_from_red_cells

    images = list(run.slide.images.all())
    results: list[services.ReadImage] = []
    is_unreadable = False
    if not has_room_for(max(map(_bytes_unpacked, images))):
        raise NoRoom
    unpacked = _Unpacked(run)
    with unpacked.folder, ExitStack() as opened:
        whole = {
            image.pk: opened.enter_context(WholeSlide(image, unpacked.pixels(image)))
            for image in images
            if image.is_whole_slide
        }
        own = _scales_of_red_cells(run, images, whole, unpacked)
        try:
            scale = decide_scale(_said(images, "uploader"), _said(images, "file"), list(own.values()))
            for number, image in enumerate(images):
                note, coverage = _progress_of(run, number), None
                if image.pk in whole:
                    drawn = [region[1:] for region in run.regions or [] if region[0] == image.pk]
                    reading, coverage = whole[image.pk].read(detector, scale.um_per_px, drawn, note)
                    keep_derived(tiles_folder(image.sha256, image.pk) / "crops")
                else:
                    pixels = unpacked.pixels(image)
                    if image.pk not in own:
                        own[image.pk] = um_per_px_from_red_cells(pixels)
                    reading = read_field(pixels, detector, scale.um_per_px, on_progress=note)
                    del pixels
                results.append((image, _measured(reading, scale, own.get(image.pk), coverage), reading.cells))
                is_unreadable = is_unreadable or reading.is_unreadable
                unpacked.forget(image)
        except ScaleUnknown as unknown:
            raise ScaleAsked(str(unknown), unknown.choices) from unknown
    if is_unreadable and not any(cells for *_, cells in results):
        raise ScaleAsked(UNREADABLE, {})
    return results


def _scales_of_red_cells(
    run: Run, images: list[SlideImage], whole: dict[int, WholeSlide], unpacked: _Unpacked
) -> dict[int, float | None]:
    """Return the um per px that each image's red cells show; empty where a person stated the scale of all.

    It ends where the unpacked pixels pass KEPT_BYTES: large images have red cells enough, and the others are measured
    when they are read.
    """
    from detection.inference.scale import um_per_px_from_red_cells

    own: dict[int, float | None] = {}
    if all(image.um_per_px_source == "uploader" for image in images):
        return own
    for image in images:
        if image.pk in whole:
            own[image.pk] = whole[image.pk].um_per_px_from_red_cells(_progress_of(run, 0))
            continue
        own[image.pk] = um_per_px_from_red_cells(unpacked.pixels(image))
        if unpacked.bytes > KEPT_BYTES:
            unpacked.forget(image)
            break
    return own


def _measured(
    reading: "FieldReading", scale: "SlideScale", red_cells_um_per_px: float | None, coverage: Coverage | None
) -> services.Measured:
    return {
        "um_per_px": scale.um_per_px,
        "scale_method": scale.method,
        "red_cells_um_per_px": red_cells_um_per_px,
        "uncovered_nuclei": np.round(reading.uncovered, 1).tolist(),
        "unlike": dict(reading.unlike),
        "coverage": coverage,
        "area_mm2": area_of(coverage, scale.um_per_px) if coverage else None,
    }


def _bytes_unpacked(image: SlideImage) -> int:
    """Return about how much room an image takes on the disk while it is read."""
    if image.is_whole_slide:
        return OVERVIEW_BYTES + (2 * image.size_bytes if image.ending == "zip" else 0)
    return 3 * image.width_px * image.height_px


def _keep_files(made: Path, place: Path) -> None:
    """Move the files of an archive to their place, where viewer tiles are made from them."""
    if made.is_dir() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another run of the same bytes was faster
            made.rename(place)
        keep_derived(place)


def _said(images: Iterable[SlideImage], source: str) -> list[float]:
    """The scales that the images carry from a source."""
    return [image.um_per_px for image in images if image.um_per_px_source == source]


def _note_size(image: SlideImage, facts: ImageFacts) -> None:
    """Correct the size of a picture that was taken in before pictures were turned upright."""
    if (image.width_px, image.height_px) != (facts.width_px, facts.height_px):
        image.width_px, image.height_px = facts.width_px, facts.height_px
        image.save(update_fields=["width_px", "height_px"])


def _keep_pyramid(made: Path, image: SlideImage) -> None:
    """Move viewer tiles to their place in one step; those of another reading of the file go, with its cell pictures.

    Where another slide has the same bytes and was read on the tiles that are there, they stay for its boxes, and this
    image gets a folder of its own.
    """
    folder = tiles_folder(image.sha256, image.pk)
    place = folder / "pyramid"
    if place.exists() and not _shows_the_same(made, place):
        others = SlideImage.objects.filter(sha256=image.sha256, results__isnull=False).exclude(pk=image.pk)
        if folder == derived_folder(image.sha256) and others.exists():
            place = folder / f"image-{image.pk}" / "pyramid"
        else:
            with (
                tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="run-") as gone,
                suppress(OSError),
            ):
                place.rename(Path(gone) / "pyramid")
                shutil.rmtree(folder / "crops", ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # the place is taken by the same tiles
        made.rename(place)
    keep_derived(place)


def _shows_the_same(made: Path, kept: Path) -> bool:
    """Tell whether two pyramids have the same levels and, where one tile shows the whole picture, the same one."""
    levels = sorted(int(level.name) for level in made.iterdir())
    if levels != sorted(int(level.name) for level in kept.iterdir()):
        return False
    overview = f"{min(levels[-1], (TILE_PX - 1).bit_length())}/0_0.jpg"
    return (kept / overview).is_file() and (made / overview).read_bytes() == (kept / overview).read_bytes()
