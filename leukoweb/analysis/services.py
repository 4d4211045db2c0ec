"""The services of analysis: submit a slide, store what the detector said, fail, try again.

Every change of a run's state is one conditional UPDATE, so whoever comes second changes nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product, takewhile
from statistics import median
from typing import TYPE_CHECKING, NotRequired, TypedDict

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from detection import BLOCK_UM
from leukoweb.accounts.models import User
from leukoweb.analysis.at_work import is_left, remove_mark
from leukoweb.analysis.coverage import Coverage, read_sentence
from leukoweb.analysis.detectors import ComputedOn, detector_in_use
from leukoweb.analysis.models import Cell, DetectorVersion, ImageResult, Run
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, Slide, SlideImage
from leukoweb.cases.services import open_case
from leukoweb.refusals import Refused

if TYPE_CHECKING:  # the web process never loads a network
    from detection.inference.detector import FoundCell

log = logging.getLogger(__name__)
NEVER_SENT = datetime(1970, 1, 1, tzinfo=UTC)
MOST_KILLS = 10  # of workers while they read one slide; whoever stops them so often is to look
JUST_CLAIMED_S = 2  # between its claim and its mark a run looks as if it were left
PACE_OF_RUNS = 20  # newest ones, from which the pace is taken
GUESSED_UM_PER_PX = 0.25  # of a whole slide that does not say it
FIRST_PACE_S = 2.0  # for a megapixel, before any run ended: two cores without a card
BROKER_PATIENCE_S = 1  # the row is the truth, and the sweep sends what the broker did not take
BROKER_AWAY = (BrokerError, OSError, RedisError)
TOO_LONG = gettext_lazy("The analysis took longer than allowed. Try again when the worker is less busy.")
NO_ROOM = gettext_lazy(
    "The server has no room on its disk. Nothing is wrong with the images: the analysis starts by itself when there is "
    "room. Tell the administrator."
)
STORE_AWAY = gettext_lazy(
    "The image store does not answer. Nothing is wrong with the images: the analysis starts by itself when it is back. "
    "Tell the administrator."
)


class Measured(TypedDict):
    """What a run measures on one image besides its cells: fields of ImageResult."""

    um_per_px: float
    scale_method: str
    red_cells_um_per_px: NotRequired[float | None]
    uncovered_nuclei: NotRequired[list[list[float]]]
    unlike: NotRequired[dict[str, float]]
    coverage: NotRequired[Coverage | None]
    area_mm2: NotRequired[float | None]


ReadImage = tuple[SlideImage, Measured, "Sequence[FoundCell]"]


def submit_slide(
    case: Case, *, images: Sequence[SlideImage], label: str = "", by: User, attribution: str = ""
) -> Slide:
    """Register stored images as a slide and queue its analysis: uploading is asking for it.

    Before: each image lies in the store (cases.intake).
    After: Slide, SlideImages, Run(QUEUED), Event; a task is enqueued.
    """
    with transaction.atomic():
        slide = Slide.objects.create(case=case, label=label, uploaded_by=by, attribution=attribution)
        for position, image in enumerate(images):
            image.slide, image.position = slide, position
        SlideImage.objects.bulk_create(images)
        run = _new_run(slide, is_stat=case.priority == case.Priority.STAT)
        record("slide.submit", actor=by, obj=slide, case=case, changes={"images": [i.sha256 for i in images]})
        transaction.on_commit(lambda: enqueue_run(run))
    return slide


def _ask_shadow_run(slide: Slide, detector: DetectorVersion, *, by: User) -> Run | None:
    """Queue a run by another detector version, for comparison only; None when that version has read the slide."""
    with transaction.atomic():
        if Run.objects.filter(slide=slide, detector=detector).exclude(state=Run.State.FAILED).exists():
            return None
        counted = Run.objects.filter(slide=slide, is_shadow=False).first()
        run = _new_run(slide, detector=detector, is_shadow=True, regions=counted.regions if counted else None)
        record("run.shadow", actor=by, obj=run, case=slide.case, changes={"detector": detector.sha256})
    return run


def ask_shadow_runs(slides: Iterable[Slide], detectors: Iterable[DetectorVersion], *, by: User) -> int:
    """Queue the runs that a comparison of versions lacks, and enqueue them; return how many."""
    asked = [_ask_shadow_run(slide, detector, by=by) for slide, detector in product(slides, detectors)]
    runs = [run for run in asked if run is not None]
    transaction.on_commit(lambda: _enqueue(runs))
    return len(runs)


def _enqueue(runs: Sequence[Run]) -> None:
    """Enqueue a task for each run; a broker that does not answer once is not asked again before the next sweep."""
    answered = sum(1 for _ in takewhile(enqueue_run, runs))
    Run.objects.filter(pk__in=[run.pk for run in runs[answered:]]).update(sent_at=NEVER_SENT)


def reread_slide(
    slide: Slide,
    *,
    by: User,
    um_per_px: float | None = None,
    leave_labels: bool = False,
    regions: Sequence[Sequence[int]] | None = None,
) -> Run:
    """Have a slide read again by the active detector version; the former run is kept beside it, uncounted.

    `um_per_px` is a scale that a person states; None keeps what is known. `leave_labels` says that the labels which
    people gave are to stay with the former reading, uncounted. `regions`, each image id and xyxy px, are what is to be
    read of whole slides in place of their monolayer; none in the list go back to it, None keeps what was asked before.
    Before: the scale is plausible (cases.intake), the case neither signed nor rejected, the analysis has ended.
    After: Run(QUEUED), a task is enqueued.
    """
    with transaction.atomic():
        open_case(slide.case)
        former = Run.objects.select_for_update(no_key=True).get(slide=slide, is_shadow=False)
        if former.state in (Run.State.QUEUED, Run.State.RUNNING):
            raise Refused(
                gettext("The analysis of this slide is not finished. Try again when it is."), code="wrong_state"
            )
        labelled = count_labelled(former)
        if labelled and not leave_labels:
            raise Refused(
                gettext(
                    "Cells of this slide are labelled already (%(labelled)s), and a new analysis does not "
                    "carry them over. To go on, tick the box on the page, or send leave_labels by the API."
                )
                % {"labelled": labelled},
                "leave_labels",
                code="wrong_state",
            )
        if slide.images.filter(expired_at__isnull=False).exists():
            raise Refused(
                gettext("The images of this slide have expired by the laboratory's rule and cannot be read again."),
                code="wrong_state",
            )
        changes = {"former_run": former.pk} | ({"labels_left": labelled} if labelled else {})
        if um_per_px is not None:
            changes["um_per_px"] = [{image.pk: image.um_per_px for image in slide.images.all()}, um_per_px]
            slide.images.update(um_per_px=um_per_px, um_per_px_source="uploader")
        if regions is not None:
            changes["regions"] = [list(region) for region in regions]
        Run.objects.filter(pk=former.pk).update(is_shadow=True)
        run = _new_run(slide, is_stat=former.is_stat, regions=changes.get("regions", former.regions))
        Case.objects.filter(pk=slide.case_id).forget_flags()
        record("slide.reread", actor=by, obj=slide, case=slide.case, changes=changes)
        transaction.on_commit(lambda: enqueue_run(run))
    return run


def count_labelled(run: Run) -> int:
    """How many cells of a run a person has labelled or added."""
    touched = Q(decisions__isnull=False) | Q(added_by__isnull=False)
    return run.cells.filter(touched).distinct().count()


def impatient_broker() -> Connection:
    """Return a connection to the broker that waits a second for an answer: one that hangs holds no page and no sweep.

    Raises one of BROKER_AWAY when it is used and the broker does not answer.
    """
    return current_app.connection_for_write(transport_options={"socket_timeout": BROKER_PATIENCE_S})


def enqueue_run(run: Run) -> bool:
    """Enqueue the task of a run that waits; a broker that is away (False) is no failure, the next sweep tries again."""
    from leukoweb.analysis.tasks import run_detection

    try:
        # A connection of its own: a kept one may be stale, and the worker's patience is too long for a page.
        with impatient_broker() as broker:
            queue = settings.LONG_RUNS_QUEUE if run.is_long else settings.RUNS_QUEUE
            run_detection.apply_async((run.pk,), queue=queue, priority=0 if run.is_stat else 9, connection=broker)
    except BROKER_AWAY as error:
        log.warning("run %s stays queued, the broker did not answer: %s", run.pk, type(error).__name__)
        Run.objects.filter(pk=run.pk).update(sent_at=NEVER_SENT)
        return False
    return True


def claim_run(run_id: int, *, task_id: str, max_attempts: int) -> Run | None:
    """Take a run for one worker: QUEUED, or RUNNING of the same lost task, -> RUNNING; None when another has it.

    After the last attempt: FAILED with a reason. An attempt that was stopped from outside does not count as one.
    """
    free = Run.objects.filter(pk=run_id).filter(Q(state=Run.State.QUEUED) | Q(state=Run.State.RUNNING, task_id=task_id))
    last_straws = {
        f"The worker stopped {max_attempts} times while it read this slide. Check the images, then try again; if it "
        "happens again, tell the administrator.": Q(attempt__gte=F("kills") + max_attempts),
        f"The worker was stopped from outside {MOST_KILLS} times while it read this slide; nothing is known against "
        "the images. Tell the administrator, who looks at its memory, then try again.": Q(kills__gte=MOST_KILLS),
    }
    with transaction.atomic():
        for reason, is_over in last_straws.items():
            ended = {"state": Run.State.FAILED, "finished_at": timezone.now(), "error": reason}
            if free.filter(is_over).update(**ended):
                run = Run.objects.select_related("slide__case__laboratory").get(pk=run_id)
                record("run.failed", obj=run, case=run.slide.case, changes={"reason": reason})
                return None
        taken = free.update(
            state=Run.State.RUNNING,
            attempt=F("attempt") + 1,
            task_id=task_id,
            started_at=timezone.now(),
            seen_at=timezone.now(),
            finished_at=None,
            images_done=0,
            tiles_done=0,
            tiles_total=0,
            error="",
            scale_choices=None,
        )
        return Run.objects.select_related("slide__case__laboratory").get(pk=run_id) if taken == 1 else None


def note_progress(run: Run, *, images_done: int, tiles_done: int, tiles_total: int) -> bool:
    """Write how far the run is; False when it is no longer ours."""
    progress = {"images_done": images_done, "tiles_done": tiles_done, "tiles_total": tiles_total}
    return _ours(run).update(**progress, seen_at=timezone.now()) == 1


def note_alive(run: Run) -> None:
    """Write that the worker of this attempt lives."""
    _ours(run).update(seen_at=timezone.now())


def release_left_runs() -> int:
    """Queue again at once what was RUNNING in a worker that died as a whole: nothing is known against its images."""
    left = 0
    silent = timezone.now() - timedelta(seconds=JUST_CLAIMED_S)
    for run in Run.objects.filter(state=Run.State.RUNNING, seen_at__lt=silent):
        if is_left(run):
            left += _ours(run).update(state=Run.State.QUEUED, task_id="", sent_at=NEVER_SENT, kills=F("kills") + 1)
            remove_mark(run)
    return left


def note_lost_process(run_id: int, *, task_id: str, is_killed: bool) -> None:
    """Write what ended the process that read a run: its worker lives, and takes the run again by the same message.

    `is_killed`: by somebody from outside, who may be short of memory; else by its own fault.
    """
    for run in Run.objects.filter(pk=run_id, state=Run.State.RUNNING, task_id=task_id):
        remove_mark(run)
        if is_killed:
            _ours(run).update(kills=F("kills") + 1)


def fail_overdue_run(run_id: int, *, task_id: str) -> None:
    """End a run whose process was ended for working longer than the hard limit."""
    for run in Run.objects.select_related("slide__case").filter(pk=run_id, task_id=task_id):
        remove_mark(run)
        fail_run(run, TOO_LONG)


def release_lost_runs(*, silent_since: datetime) -> int:
    """Queue again what a worker left RUNNING without a sign of life since then; the claim counts the attempts."""
    lost = Run.objects.filter(state=Run.State.RUNNING, seen_at__lt=silent_since)
    # Its message is with the lost worker: the sweep that frees the run enqueues it too.
    return lost.update(state=Run.State.QUEUED, task_id="", sent_at=NEVER_SENT)


def enqueue_waiting_runs(*, sent_before: datetime) -> int:
    """Enqueue again the runs whose task was sent before that time and that still wait, STAT first; return how many."""
    now = timezone.now()
    waiting = Run.objects.filter(state=Run.State.QUEUED, sent_at__lte=sent_before).order_by("-is_stat", "queued_at")
    sent = 0
    for run in waiting[:500]:
        if not enqueue_run(run):
            break
        Run.objects.filter(pk=run.pk).update(sent_at=now)
        sent += 1
    return sent


def store_result(run: Run, *, detector: DetectorVersion, computed_on: ComputedOn, results: Sequence[ReadImage]) -> bool:
    """Store all cells of a run, or nothing: False when the attempt is no longer ours (fenced).

    After: DONE.
    """
    with transaction.atomic():
        # The case's row before the run's, as everybody who holds both: no deadlock with a person who works on the case.
        Case.objects.filter(pk=run.slide.case_id).forget_flags()
        done = _ours(run).update(
            state=Run.State.DONE,
            finished_at=timezone.now(),
            detector=detector,
            computed_on=computed_on,
            images_done=len(results),
            read_of_slides=" ".join(
                read_sentence(coverage, measured.get("area_mm2") or 0.0)
                for _, measured, _ in results
                if (coverage := measured.get("coverage"))
            )[:400],
            unlike=", ".join(unlike_in([measured.get("unlike", {}) for _, measured, _ in results])),
        )
        if done != 1:
            return False
        for image, measured, found in results:
            ImageResult.objects.create(run=run, image=image, **measured)
            Cell.objects.bulk_create(
                [
                    Cell(
                        run=run,
                        image=image,
                        detector_code=c.code,
                        score=c.score,
                        chances=[list(chance) for chance in c.chances],
                        **dict(zip(_BOX, c.xyxy)),
                    )
                    for c in found
                ],
                batch_size=500,
            )
        record(
            "run.done",
            obj=run,
            case=run.slide.case,
            changes={"cells": sum(len(found) for *_, found in results), "detector": detector.sha256},
        )
    return True


def unlike_in(images: Sequence[Mapping[str, float]]) -> list[str]:
    """Name what is unlike the images that a detector was proven on in the middle one of a slide's images."""
    names = dict.fromkeys(name for measures in images for name in measures)
    return [name for name in names if median(own[name] for own in images if name in own) > 1]


def fail_run(run: Run, reason: str, *, scale_choices: dict[str, float] | None = None) -> None:
    """End a run with a sentence that a technologist can act on, if it is still ours.

    `scale_choices` says that the run waits for a person's scale: what each source says, by its name, perhaps nothing.
    """
    with transaction.atomic():
        ended = {"state": Run.State.FAILED, "finished_at": timezone.now(), "error": reason}
        if _ours(run).update(**ended, scale_choices=scale_choices):
            record("run.failed", obj=run, case=run.slide.case, changes={"reason": reason})


def put_back(run: Run, why: str) -> None:
    """Queue a run again that the server stopped: RUNNING -> QUEUED, the attempt not counted; the sweep sends it."""
    waiting = _ours(run).update(
        state=Run.State.QUEUED, task_id="", attempt=F("attempt") - 1, sent_at=timezone.now(), error=why
    )
    if waiting:
        log.error("run %s waits: %s", run.pk, "the disk is full" if why == NO_ROOM else "the image store is away")


def retry_run(run: Run, *, by: User) -> bool:
    """Queue a failed run again: FAILED -> QUEUED with a fresh count of attempts; False when it had not failed."""
    with transaction.atomic():
        now = timezone.now()
        again = Run.objects.filter(pk=run.pk, state=Run.State.FAILED).update(
            state=Run.State.QUEUED, attempt=0, kills=0, task_id="", error="", queued_at=now, sent_at=now
        )
        if not again:
            return False
        record("run.retry", actor=by, obj=run, case=run.slide.case)
        transaction.on_commit(lambda: enqueue_run(run))
    return True


def stop_run(run: Run, *, by: User) -> bool:
    """End a run that waits or works: -> FAILED with who stopped it; False when it had ended."""
    reason = f"{by} stopped the analysis. Try again when it is wanted after all."
    with transaction.atomic():
        stopped = Run.objects.filter(pk=run.pk, state__in=(Run.State.QUEUED, Run.State.RUNNING)).update(
            state=Run.State.FAILED, task_id="", finished_at=timezone.now(), error=reason
        )
        if stopped:
            record("run.stop", actor=by, obj=run, case=run.slide.case)
    return stopped == 1


def runs_before(run: Run) -> int:
    """How many runs a worker will take before this one of its queue: all running, and the waiting with precedence."""
    runs = Run.objects.filter(is_long=run.is_long)
    waiting = runs.filter(state=Run.State.QUEUED).exclude(pk=run.pk)
    first = Q(is_stat=run.is_stat, queued_at__lt=run.queued_at)
    if not run.is_stat:
        first |= Q(is_stat=True)
    return waiting.filter(first).count() + runs.filter(state=Run.State.RUNNING).count()


def progress_sentence(run: Run) -> str:
    """Say how far an analysis is that has not ended, and how long it will take."""
    if run.state == Run.State.QUEUED:
        before = runs_before(run)
        place = gettext("next in line")
        if before:
            place = ngettext("%(count)s slide before it", "%(count)s slides before it", before) % {"count": before}
        said = gettext("queued among the long analyses, %(place)s.") if run.is_long else gettext("queued, %(place)s.")
        return said % {"place": place}
    left = run.seconds_left
    if left is None:
        return gettext("analysing.")
    time_left = f"{left} s" if left < 90 else f"{round(left / 60)} min"
    return gettext("analysing, %(percent)s%% done, about %(time_left)s left.") % {
        "percent": round(100 * run.progress),
        "time_left": time_left,
    }


def seconds_for(megapixels: float) -> float:
    """Estimate how long a worker reads so much, by the pace of the newest analyses that ended."""
    newest = Run.objects.filter(state=Run.State.DONE, megapixels__gt=0, started_at__isnull=False)[:PACE_OF_RUNS]
    rows = list(newest.values_list("megapixels", "started_at", "finished_at"))
    read = sum(area for area, *_ in rows)
    taken_s = sum((end - start).total_seconds() for _, start, end in rows)
    return megapixels * (taken_s / read if read else FIRST_PACE_S)


def _new_run(slide: Slide, **fields: object) -> Run:
    """Write a run that waits, in the queue that its estimated cost puts it into."""
    detector = detector_in_use()
    trained = detector.card["um_per_px"] if detector else None
    images = list(slide.images.all())
    megapixels = sum(_pixels_of(image, trained) for image in images) / 1e6
    is_long = seconds_for(megapixels) > settings.LONG_RUN_S
    return Run.objects.create(slide=slide, images_total=len(images), megapixels=megapixels, is_long=is_long, **fields)


def _pixels_of(image: SlideImage, trained_um_per_px: float | None) -> float:
    """Return how many pixels of an image are read, at the scale of the detector where both scales are known."""
    own, pixels = image.um_per_px, image.width_px * image.height_px
    if image.is_whole_slide:
        pixels = min(pixels, settings.SLIDE_BLOCKS * round(BLOCK_UM / (own or GUESSED_UM_PER_PX)) ** 2)
    return pixels * (own / trained_um_per_px if own and trained_um_per_px else 1) ** 2


_BOX = ("x1", "y1", "x2", "y2")


def _ours(run: Run) -> QuerySet:
    """The run's row while this attempt still holds it.

    The time of the claim is part of it: a retry counts attempts anew, and a message may come again.
    """
    return Run.objects.filter(
        pk=run.pk, state=Run.State.RUNNING, attempt=run.attempt, task_id=run.task_id, started_at=run.started_at
    )
