"""The guard that stands before every page: signed in, and the role allows it; objects are guarded by visible_to()."""

from functools import wraps

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied

READ = "read_cases"


def requires(action: str):
    """Let a view run only for people whose role allows `action`: anonymous -> sign-in, others -> 403.

    With any other action than READ the view says that it writes, also where GET only opens its form: in an emergency,
    which is for reading alone, that view does not open (see AccountGates).
    """

    def guard(view):
        @wraps(view)
        def guarded(request, *args, **kwargs):
            if not request.user.can(action):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.writes = action != READ
        return login_required(guarded)

    return guard
