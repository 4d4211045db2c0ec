"""The mark of a process that reads a slide: a lock that the system itself takes away when the process dies.

It tells a dead worker from a slow one at once; what follows for the run is decided in services.py.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from leukoweb.analysis.models import Run


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """Hold the mark of this attempt while the block runs."""
    place = _place(run)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("ab") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def is_left(run: Run) -> bool:
    """Tell whether the process of this attempt died; False where it lives, or where no mark says anything."""
    with suppress(OSError), _place(run).open("rb") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def remove_mark(run: Run) -> None:
    """Remove the mark of an attempt whose process died."""
    _place(run).unlink(missing_ok=True)


def _place(run: Run) -> Path:
    """The file of one claim: after a retry, attempt and message may be those that a hung process still holds."""
    claimed = f"{run.started_at:%Y%m%dT%H%M%S.%f}" if run.started_at else ""
    return settings.STORE_DIR / "locks" / f"run-{run.pk}-{run.attempt}-{run.task_id}-{claimed}"
