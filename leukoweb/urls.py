"""Every address of the product; each room lists its own."""

from django.urls import include, path

# The error pages of every address: JSON for programs, a page for people.
handler400 = "leukoweb.answers.bad_request"
handler403 = "leukoweb.answers.permission_denied"
handler404 = "leukoweb.answers.not_found"
handler500 = "leukoweb.answers.server_error"

urlpatterns = [
    path("", include("leukoweb.accounts.urls")),
    path("", include("leukoweb.cases.urls")),
    path("", include("leukoweb.analysis.urls")),
    path("", include("leukoweb.review.urls")),
    path("", include("leukoweb.delivery.urls")),
    path("", include("leukoweb.api.urls")),
    path("", include("leukoweb.audit.urls")),
    path("", include("leukoweb.ops.urls")),
]
