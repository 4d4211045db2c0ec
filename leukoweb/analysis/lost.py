"""What the worker's main process writes down when the process that read a slide was lost.

Web processes never load it.
"""

import logging
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from django.db import InterfaceError, OperationalError, connection

from leukoweb.analysis import services

log = logging.getLogger(__name__)


class RunRequest(Request):
    """A run that a process of this worker reads: this side stays and writes down how the process was lost."""

    def on_failure(self, exc_info: ExceptionInfo, *args: Any, **kwargs: Any) -> None:
        """Tell a process that was killed from outside from one that died of what it read."""
        lost = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it with its traceback
        if isinstance(lost, WorkerLostError):
            self._write(services.note_lost_process, is_killed="SIGKILL" in str(lost) or "SIGTERM" in str(lost))
        super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """End a run that exceeded the hard limit: no other worker shall spend as long on it."""
        if not soft:
            self._write(services.fail_overdue_run)
        super().on_timeout(soft, timeout)

    def _write(self, note: Callable[..., None], **how: bool) -> None:
        try:
            note(self.args[0], task_id=self.id, **how)
        except (OperationalError, InterfaceError) as error:
            log.warning("run %s could not note what ended it: %s", self.args[0], type(error).__name__)
        finally:
            connection.close()  # the next process is forked from this one
