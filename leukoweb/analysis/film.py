"""Count red cells and platelets of slides that were read: asked for, claimed, stored; help that delays no analysis.

Which laboratories want it, and what is shown of it, is left to the review room.
"""

import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop
from PIL import Image

from detection import FILM_CARD
from detection.card import Card
from detection.cell_types import FILM_CODES
from detection.images import TILE_PX
from leukoweb.analysis.models import FilmCount, FilmImage, ImageResult, Run
from leukoweb.analysis.services import BROKER_AWAY, impatient_broker
from leukoweb.analysis.slide_tiles import tile_path
from leukoweb.audit.services import record
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import StoreAway

if TYPE_CHECKING:  # the web process never loads a network
    from detection.inference.film import FilmDetector, FilmReading

Box = tuple[int, int, int, int]  # xyxy px
log = logging.getLogger(__name__)
GIVES_WAY = timedelta(minutes=10)  # so long a count waits while slides are to be read; then it takes its turn
LATELY = timedelta(days=7)  # older slides are not counted when a laboratory switches counting on
SENT_AGAIN_AFTER = timedelta(minutes=5)
LOST_AFTER = timedelta(minutes=20)  # nothing takes so long: its worker was killed
MOST_ATTEMPTS = 3
MOST_ASKED = 50  # in one sweep
MOST_WINDOW_PX = 4096  # of a very large image its middle is read
MOST_PX = 200_000_000  # of all images of a slide
MOST_BLOCKS = 10  # of a whole slide
NO_PICTURE = gettext_noop("The pictures of this slide are not there any more: its red cells cannot be counted.")
UNEXPECTED = gettext_noop("The count stopped with an unexpected error. The leukocytes are not concerned.")


def ask_counts(runs: QuerySet) -> int:
    """Ask for the counts of these runs that ended lately and have none; how many were asked for."""
    lately = runs.filter(
        state=Run.State.DONE, is_shadow=False, slide__set_aside_at=None, film_count=None,
        queued_at__gte=timezone.now() - LATELY,
    )  # fmt: skip
    new = [FilmCount(run_id=pk) for pk in lately.order_by("-pk").values_list("pk", flat=True)[:MOST_ASKED]]
    FilmCount.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)


def send_waiting() -> int:
    """Enqueue the counts that wait, unless slides are to be read; how many were sent. What was lost is asked again."""
    now, counts = timezone.now(), FilmCount.objects
    lost = counts.filter(state=FilmCount.State.RUNNING, started_at__lt=now - LOST_AFTER)
    lost.filter(attempt__gte=MOST_ATTEMPTS).update(state=FilmCount.State.FAILED, finished_at=now, error=UNEXPECTED)
    lost.update(state=FilmCount.State.QUEUED, sent_at=None)
    due = counts.filter(Q(sent_at=None) | Q(sent_at__lt=now - SENT_AGAIN_AFTER), state=FilmCount.State.QUEUED)
    if slides_wait():
        due = due.filter(asked_at__lt=now - GIVES_WAY)
    sent = 0
    with impatient_broker() as broker:
        for pk in due.order_by("asked_at").values_list("pk", flat=True)[:MOST_ASKED]:
            try:
                current_app.send_task("leukoweb.analysis.tasks.count_film", (pk,), priority=9, connection=broker)
            except BROKER_AWAY as error:
                log.warning("film count %s stays queued, the broker did not answer: %s", pk, type(error).__name__)
                break
            sent += counts.filter(pk=pk).update(sent_at=now)
    return sent


def slides_wait() -> bool:
    """Whether leukocytes are to be found somewhere, or are being found."""
    return Run.objects.filter(state__in=(Run.State.QUEUED, Run.State.RUNNING)).exists()


def count(count_id: int) -> None:
    """Count the red cells and platelets of one slide; a count that is not free, or gives way, is left alone."""
    free = FilmCount.objects.filter(pk=count_id, state=FilmCount.State.QUEUED)
    if slides_wait() and free.filter(asked_at__gte=timezone.now() - GIVES_WAY).update(sent_at=None):
        return
    now = timezone.now()
    if not free.update(state=FilmCount.State.RUNNING, attempt=F("attempt") + 1, started_at=now, error=""):
        return
    own = FilmCount.objects.select_related("run__slide__case").get(pk=count_id)
    try:
        detector = load_film_detector()
        found = [(result, readings) for result, readings in _read(own, detector) if readings]
    except FileNotFoundError:
        _end(own, state=FilmCount.State.FAILED, error=NO_PICTURE)
    except StoreAway:
        _end(own, state=FilmCount.State.QUEUED, attempt=F("attempt") - 1)  # the next sweep sends it again
    except Exception:
        log.exception("film count %s failed", own.pk)
        _end(own, state=FilmCount.State.FAILED, error=UNEXPECTED)
    else:
        _store(own, detector.card, found)


def load_film_detector() -> "FilmDetector":
    """Load the shipped detector of red cells and platelets, once per process."""
    from detection.inference.film import shipped_film_detector

    return shipped_film_detector(settings.DEVICE)


def _read(own: FilmCount, detector: "FilmDetector") -> Iterator[tuple[ImageResult, list["FilmReading"]]]:
    """Yield each image of the slide with what was found on its windows, until enough was read."""
    left_px = MOST_PX
    for result in own.run.image_results.select_related("image").order_by("image__position"):
        readings: list[FilmReading] = []
        for x1, y1, x2, y2 in windows_of(result):
            left_px -= (x2 - x1) * (y2 - y1)
            if left_px < 0 and readings:
                break
            pixels = pixels_of(result.image, (x1, y1, x2, y2))
            readings.append(detector.read(pixels, result.um_per_px, (x1, y1)))
        yield result, readings
        if left_px <= 0:
            return


def windows_of(result: ImageResult) -> list[Box]:
    """Return what is counted of an image: all of it, of a very large one its middle, of a whole slide some blocks.

    The blocks are the first that leukocytes were looked for in: the monolayer, or what a reader drew.
    """
    image = result.image
    if image.is_whole_slide:
        blocks = (result.coverage or {}).get("read", [])[:MOST_BLOCKS]
        return [(max(0, x1), max(0, y1), min(x2, image.width_px), min(y2, image.height_px))
                for x1, y1, x2, y2 in blocks]  # fmt: skip
    (left, right), (top, bottom) = _middle(image.width_px), _middle(image.height_px)
    return [(left, top, right, bottom)]


def pixels_of(image: SlideImage, box: Box) -> np.ndarray:
    """Return the pixels of a box of an image, shape (H, W, 3), uint8, from the viewer's finest tiles.

    Nothing is unpacked a second time. Raises FileNotFoundError where there are no tiles.
    """
    level = (max(image.width_px, image.height_px) - 1).bit_length()
    left, top, right, bottom = box
    picture = Image.new("RGB", (right - left, bottom - top))
    for column in range(left // TILE_PX, (right - 1) // TILE_PX + 1):
        for row in range(top // TILE_PX, (bottom - 1) // TILE_PX + 1):
            with Image.open(tile_path(image, level, column, row), formats=["JPEG"]) as tile:
                picture.paste(tile, (column * TILE_PX - left, row * TILE_PX - top))
    return np.asarray(picture)


def _middle(edge_px: int) -> tuple[int, int]:
    """Return where the part of an edge begins and ends that is read."""
    start = max(0, (edge_px - MOST_WINDOW_PX) // 2)
    return start, start + min(edge_px, MOST_WINDOW_PX)


def _store(own: FilmCount, card: Card, found: list[tuple[ImageResult, list["FilmReading"]]]) -> None:
    """Store everything of a count at once, if it is still ours."""
    images = [_counted(own, result, readings) for result, readings in found]
    with transaction.atomic():
        said = {"detector": f"{card.name} {card.version}".strip(), "weights_sha256": card.sha256}
        if not _end(own, state=FilmCount.State.DONE, **said):
            return
        FilmImage.objects.bulk_create(images)
        totals = {name: sum(getattr(image, name) for image in images) for name in ("red_cells", "platelets")}
        changes = {**totals, "detector": card.sha256}
        record("film.count", obj=own.run.slide, case=own.run.slide.case, changes=changes)


def _counted(own: FilmCount, result: ImageResult, readings: list["FilmReading"]) -> FilmImage:
    """Return the count of one image, of all its windows together."""
    elements = [each for reading in readings for each in reading.elements]
    return FilmImage(
        count=own, image=result.image, um_per_px=result.um_per_px,
        area_um2=sum(reading.area_um2 for reading in readings),
        red_cells=sum(reading.red_cells for reading in readings),
        platelets=sum(reading.platelets for reading in readings),
        boxes={
            code: [[*each.xyxy, round(each.score, 3)] for each in elements if each.code == code]
            for code in FILM_CODES
        },
        clumps=[[clump.platelets, *clump.xyxy] for reading in readings for clump in reading.clumps],
    )  # fmt: skip


def _end(own: FilmCount, **ended: object) -> bool:
    """End this attempt of a count; False when it is no longer ours."""
    ours = FilmCount.objects.filter(pk=own.pk, state=FilmCount.State.RUNNING, attempt=own.attempt)
    return ours.update(finished_at=timezone.now(), **ended) == 1


@lru_cache(maxsize=1)
def film_card() -> Card:
    """Return the card of the shipped detector of red cells and platelets."""
    return Card.read(FILM_CARD, FILM_CODES)
