"""Names this room for Django; it knows nothing else."""

from django.apps import AppConfig


class ReviewConfig(AppConfig):
    name = "leukoweb.review"
    label = "review"
