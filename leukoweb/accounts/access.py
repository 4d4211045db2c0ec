"""The guard that stands before every page: signed in, and the role allows it; objects are guarded by visible_to()."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

View = Callable[..., HttpResponse]
READ = "read_cases"


def requires(action: str) -> Callable[[View], View]:
    """Let a view run only for people whose role allows `action`: anonymous -> sign-in, others -> 403.

    With any other action than READ the view says that it writes, also where GET only opens its form: in an emergency,
    which is for reading alone, that view does not open (see AccountGates).
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.can(action):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.writes = action != READ  # type: ignore[attr-defined]
        return login_required(guarded)

    return guard
