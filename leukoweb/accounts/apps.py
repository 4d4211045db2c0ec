"""Names this room for Django; it knows nothing else."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "leukoweb.accounts"
    label = "accounts"
