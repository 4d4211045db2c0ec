"""The atlas page: everybody of a laboratory looks at it, admins fill it."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from detection.cell_types import CELL_TYPES
from leukoweb.accounts.access import requires
from leukoweb.accounts.models import User
from leukoweb.refusals import Refused
from leukoweb.review.models import AtlasPicture
from leukoweb.review.studies.atlas import add_picture, delete_picture


@login_required
@require_http_methods(["GET", "POST"])
def atlas_list(request: HttpRequest) -> HttpResponse:
    """The laboratory's pictures by type; POST by an admin adds one."""
    if request.method == "POST":
        return _add(request)
    pictures: dict[str, list[AtlasPicture]] = {}
    for picture in _pictures(request.user).defer("jpeg"):
        pictures.setdefault(picture.code, []).append(picture)
    rows = [(cell_type, pictures.get(cell_type.code, [])) for cell_type in CELL_TYPES]
    rows.sort(key=lambda row: not row[1])
    return render(request, "review/atlas_list.html", {"rows": rows, "types": CELL_TYPES})


@login_required
@require_GET
def atlas_picture(request: HttpRequest, pk: int) -> HttpResponse:
    """Send one picture."""
    picture = get_object_or_404(_pictures(request.user), pk=pk)
    etag = f'"{picture.pk}"'  # a picture never changes
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache", "ETag": etag}
    answer = HttpResponse(bytes(picture.jpeg), content_type="image/jpeg", headers=headers)
    return get_conditional_response(request, etag=etag, response=answer)


@requires("manage_policies")
@require_POST
def atlas_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a picture out."""
    delete_picture(get_object_or_404(_pictures(request.user), pk=pk), by=request.user)
    messages.success(request, gettext("Picture removed from the atlas."))
    return redirect("atlas_list")


def _add(request: HttpRequest) -> HttpResponse:
    if not request.user.can("manage_policies"):
        raise PermissionDenied
    asked = request.POST
    try:
        added = add_picture(
            request.FILES.get("picture"),
            code=asked.get("code", ""),
            caption=asked.get("caption", ""),
            source=asked.get("source", ""),
            by=request.user,
        )
    except Refused as refusal:
        messages.error(request, gettext("Nothing was added: %(refusal)s") % {"refusal": refusal})
    else:
        messages.success(request, gettext("A picture of %(code)s was added.") % {"code": added.code})
    return redirect("atlas_list")


def _pictures(user: User) -> QuerySet[AtlasPicture]:
    return AtlasPicture.objects.filter(laboratory_id=user.laboratory_id)
