"""Remove the pixels of old cases by the laboratory's rule; rows, reports and hashes are always kept."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from leukoweb.cases.retention import expire_image, expired_images
from leukoweb.cases.store import removal_locked


class Command(BaseCommand):
    help = "Remove images of cases older than LEUKOWEB_RETENTION_DAYS that are under no legal hold. Run it daily."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many would go")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        if not settings.RETENTION_DAYS:
            raise CommandError("Images are kept for ever: set LEUKOWEB_RETENTION_DAYS to let them expire.")
        images = expired_images(timezone.now() - timedelta(days=settings.RETENTION_DAYS))
        if dry_run:
            self.stdout.write(f"{images.count()} images would be removed.")
            return
        with removal_locked():
            self.stdout.write(f"{sum(expire_image(image) for image in images.iterator())} images were removed.")
