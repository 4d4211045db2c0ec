"""The Django application of this room; it holds nothing but its name."""

from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    """Orders and blood counts in, results out."""

    name = "leukoweb.delivery"
    label = "delivery"
