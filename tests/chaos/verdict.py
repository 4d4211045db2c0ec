"""What an installation is held to after the last fault: nothing confirmed is lost, nothing is twice, seals hold."""

import io
from collections import Counter

from django.core.management import CommandError, call_command
from django.db.models import Count

from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case, Slide, SlideImage
from leukoweb.delivery.models import Message
from leukoweb.review.models import Report
from tests.services import wait_until

QUIET_S = 600


def settle(lab):
    """Wait until no analysis is open, and try once again what failed and is innocent, as it says; how many."""
    rest = Run.objects.filter(state__in=("queued", "running"))
    wait_until(lambda: not rest.exists(), timeout_s=QUIET_S, what="the end of all analyses", every_s=0.5)
    failed = Run.objects.filter(state="failed", is_shadow=False).exclude(slide__in=lab.poison)
    again = list(failed.values_list("slide", flat=True))
    for slide in again:
        lab.api("POST", f"slides/{slide}/retry/", want={200, 202, 204, 409})
    wait_until(lambda: not rest.exists(), timeout_s=QUIET_S, what="the end of what was tried again", every_s=0.5)
    return len(again)


def lost(lab):
    """Sentences about what was confirmed to somebody and is not there."""
    for slide, sha256 in lab.stored.items():
        run = Run.objects.filter(slide=slide, is_shadow=False).first()
        if not SlideImage.objects.filter(slide=slide, sha256=sha256).exists() or run is None:
            yield f"slide {slide} has no image or no analysis"
        elif run.state != ("failed" if slide in lab.poison else "done") or (run.state == "failed" and not run.error):
            yield f"the analysis of slide {slide} is {run.state}: {run.error}"
        elif run.state == "done" and not ImageResult.objects.filter(run=run).exists():
            yield f"the analysis of slide {slide} has no result"
    known = set(Case.objects.values_list("accession_number", flat=True))
    yield from (f"order {number} made no case" for number in lab.ordered if number not in known)
    for case in lab.signed:
        if not Report.objects.filter(case=case, state="signed").exists():
            yield f"case {case} was signed and has no report"


def twice(lab):
    """Sentences about what is there more than once."""
    for row in SlideImage.objects.values("slide__case", "sha256").annotate(n=Count("pk")).filter(n__gt=1):
        yield f"picture {row['sha256']} is {row['n']} times in case {row['slide__case']}"
    boxes = Cell.objects.filter(added_by=None).values("run", "image", "x1", "y1", "x2", "y2").annotate(n=Count("pk"))
    yield from (f"a cell of run {row['run']} is there {row['n']} times" for row in boxes.filter(n__gt=1))
    ends = Counter(Event.objects.filter(action="run.done").values_list("object_id", flat=True))
    yield from (f"run {run} was stored {n} times" for run, n in ends.items() if n > 1)
    done = set(map(str, Run.objects.filter(state="done").values_list("pk", flat=True)))
    yield from (f"run {run} is done without its event" for run in done ^ set(ends))
    for row in Message.objects.filter(state="applied").values("control_id").annotate(n=Count("pk")).filter(n__gt=1):
        yield f"order {row['control_id']} was applied {row['n']} times"
    slides = Counter(Slide.objects.filter(pk__in=lab.stored).values_list("case", flat=True))
    yield from (f"case {case} has {n} slides of one upload" for case, n in slides.items() if n > 1)
    for row in Report.objects.filter(state="signed").values("case").annotate(n=Count("pk")).filter(n__gt=1):
        yield f"case {row['case']} was signed {row['n']} times"


def checked(*command):
    """Run a check of the product; its last line, and whether it was content."""
    said = io.StringIO()
    try:
        call_command(*command, stdout=said)
    except CommandError as error:
        return False, " / ".join([*said.getvalue().splitlines()[-8:], str(error)])
    return True, (said.getvalue().strip().splitlines() or ["nothing to verify"])[-1]
