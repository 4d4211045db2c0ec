"""Name this room for Django."""

from django.apps import AppConfig


class ReviewConfig(AppConfig):
    name = "leukoweb.review"
    label = "review"
