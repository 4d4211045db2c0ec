"""Every address of the product; each room lists its own."""

from django.urls import include, path

urlpatterns = [
    path("", include("leukoweb.accounts.urls")),
    path("", include("leukoweb.cases.urls")),
    path("", include("leukoweb.analysis.urls")),
    path("", include("leukoweb.review.urls")),
    path("", include("leukoweb.api.urls")),
    path("", include("leukoweb.audit.urls")),
    path("", include("leukoweb.ops.urls")),
]
