"""Count red cells and platelets of slides that were read: asked for, claimed, stored; help that delays no analysis.

Which laboratories want it, and what is shown of it, is left to the review room.
"""

import logging
from collections.abc import Iterable
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
from kombu.exceptions import OperationalError
from PIL import Image
from redis.exceptions import RedisError

from detection import FILM_CARD
from detection.card import Card
from detection.cell_types import FILM_CODES
from detection.images import TILE_PX
from leukoweb.analysis.models import FilmCount, FilmImage, Run
from leukoweb.audit.services import record
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import tiles_folder

if TYPE_CHECKING:  # the web process never loads a network
    from detection.inference.film import FilmDetector, FilmReading

log = logging.getLogger(__name__)
GIVES_WAY = timedelta(minutes=10)  # so long a count waits while slides are to be read; then it takes its turn
LATELY = timedelta(days=7)  # older slides are not counted when a laboratory switches counting on
SENT_AGAIN_AFTER = timedelta(minutes=5)
LOST_AFTER = timedelta(minutes=20)  # nothing takes so long: its worker was killed
MOST_ATTEMPTS = 3
MOST_ASKED = 50  # in one sweep
MOST_WINDOW_PX = 4096  # of a very large image its middle is read
MOST_PX = 200_000_000  # of all images of a slide
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
    for pk in due.order_by("asked_at").values_list("pk", flat=True)[:MOST_ASKED]:
        try:
            current_app.send_task("leukoweb.analysis.tasks.count_film", (pk,), priority=9)
        except (OperationalError, OSError, RedisError) as error:
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
        found = list(_read(own, detector))
    except FileNotFoundError:
        _end(own, state=FilmCount.State.FAILED, error=NO_PICTURE)
    except Exception:
        log.exception("film count %s failed", own.pk)
        _end(own, state=FilmCount.State.FAILED, error=UNEXPECTED)
    else:
        _store(own, detector.card, found)


def load_film_detector() -> "FilmDetector":
    """Load the shipped detector of red cells and platelets, once per process."""
    from detection.inference.film import shipped_film_detector

    return shipped_film_detector(settings.DEVICE)


def _read(own: FilmCount, detector: "FilmDetector") -> Iterable[tuple[SlideImage, float, "FilmReading"]]:
    """Yield each image of the slide with its scale and what was found, until enough was read."""
    left_px = MOST_PX
    for result in own.run.image_results.select_related("image").order_by("image__position"):
        if left_px <= 0:
            return
        pixels, left, top = middle_of(result.image)
        left_px -= pixels.shape[0] * pixels.shape[1]
        yield result.image, result.um_per_px, detector.read(pixels, result.um_per_px, (left, top))


def middle_of(image: SlideImage) -> tuple[np.ndarray, int, int]:
    """Return the pixels of an image, of a very large one those of its middle, and where they begin.

    They are read from the viewer's finest tiles, which our own worker wrote: nothing is unpacked a second time.
    Raises FileNotFoundError where there are none.
    """
    level = (max(image.width_px, image.height_px) - 1).bit_length()
    folder = tiles_folder(image.sha256, image.pk) / "pyramid" / str(level)
    (left, right), (top, bottom) = _middle(image.width_px), _middle(image.height_px)
    pixels = np.empty((bottom - top, right - left, 3), np.uint8)
    for column in range(left // TILE_PX, -(-right // TILE_PX)):
        for row in range(top // TILE_PX, -(-bottom // TILE_PX)):
            with Image.open(folder / f"{column}_{row}.jpg", formats=["JPEG"]) as tile:
                part = np.asarray(tile.convert("RGB"))
            y, x = row * TILE_PX - top, column * TILE_PX - left
            pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
    return pixels, left, top


def _middle(edge_px: int) -> tuple[int, int]:
    """Return where the part of an edge begins and ends that is read: whole tiles."""
    if edge_px <= MOST_WINDOW_PX:
        return 0, edge_px
    start = (edge_px - MOST_WINDOW_PX) // 2 // TILE_PX * TILE_PX
    return start, start + MOST_WINDOW_PX


def _store(own: FilmCount, card: Card, found: list[tuple[SlideImage, float, "FilmReading"]]) -> None:
    """Store everything of a count at once, if it is still ours."""
    with transaction.atomic():
        said = {"detector": f"{card.name} {card.version}".strip(), "weights_sha256": card.sha256}
        if not _end(own, state=FilmCount.State.DONE, **said):
            return
        FilmImage.objects.bulk_create(
            FilmImage(
                count=own, image=image, um_per_px=um_per_px, area_um2=reading.area_um2, red_cells=reading.red_cells,
                platelets=reading.platelets,
                boxes={
                    code: [[*each.xyxy, round(each.score, 3)] for each in reading.elements if each.code == code]
                    for code in FILM_CODES
                },
                clumps=[[clump.platelets, *clump.xyxy] for clump in reading.clumps],
            )
            for image, um_per_px, reading in found
        )  # fmt: skip
        totals = {name: sum(getattr(reading, name) for *_, reading in found) for name in ("red_cells", "platelets")}
        changes = {**totals, "detector": card.sha256}
        record("film.count", obj=own.run.slide, case=own.run.slide.case, changes=changes)


def _end(own: FilmCount, **ended: object) -> bool:
    """End this attempt of a count; False when it is no longer ours."""
    ours = FilmCount.objects.filter(pk=own.pk, state=FilmCount.State.RUNNING, attempt=own.attempt)
    return ours.update(finished_at=timezone.now(), **ended) == 1


@lru_cache(maxsize=1)
def film_card() -> Card:
    """Return the card of the shipped detector of red cells and platelets."""
    return Card.read(FILM_CARD, FILM_CODES)
