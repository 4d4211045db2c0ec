"""What a detector said: detector versions, runs over slides, and cells; a row here is never edited by a person."""

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import cached_property

from detection import FAR_APART, SHIPPED_CARD
from detection.card import Card
from detection.cell_types import CODES
from leukoweb.accounts.models import Laboratory
from leukoweb.cases.models import OfCase, Slide, SlideImage


class DetectorVersion(models.Model):
    """Weights and their card, registered once; runs keep the version that made them."""

    name = models.CharField(max_length=100)
    version = models.CharField(max_length=40)
    sha256 = models.CharField(max_length=64, unique=True)
    weights_path = models.CharField(max_length=500)
    card = models.JSONField()
    is_active = models.BooleanField(default=False)
    registered_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=models.Q(is_active=True), name="one_active_detector"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def weights(self) -> Path:
        """Where the weights are: as registered, or with the installed package, which an upgrade may have moved."""
        registered = Path(self.weights_path)
        shipped = SHIPPED_CARD.parent / registered.name
        return registered if registered.is_file() or not shipped.is_file() else shipped

    def evidence(self, code: str) -> str:
        """How well this version is proven on a type: none, weak, fair or good."""
        return self.typed_card.type_card(code).evidence if code in CODES else "none"

    @cached_property
    def typed_card(self) -> Card:
        """The card, checked and typed once for all questions to this object."""
        return Card.of(self.card)


class SiteCalibration(models.Model):
    """A detector version fitted to one laboratory's stain from its labelled cells; runs there use the active one."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="+")
    detector = models.ForeignKey(DetectorVersion, on_delete=models.PROTECT, related_name="calibrations")
    sha256 = models.CharField(max_length=64, help_text="Of the fitted values, as they are recorded with every run.")
    fitted = models.JSONField(help_text="What `python -m detection calibrate` wrote: colours, thresholds, gain.")
    is_active = models.BooleanField(default=False)
    registered_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["laboratory", "detector"],
                condition=models.Q(is_active=True),
                name="one_active_calibration_per_laboratory",
            )
        ]

    def __str__(self) -> str:
        return f"{self.laboratory}, {self.fitted['cells']} cells"

    @property
    def shares(self) -> list:
        """Share of cells typed right before and after, each [value, low, high]."""
        return [self.fitted["typed_right"][when] for when in ("before", "after")]


class Run(models.Model):
    """One analysis of one slide by one detector version: QUEUED -> RUNNING -> DONE or FAILED -> QUEUED again."""

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    slide = models.ForeignKey(Slide, on_delete=models.PROTECT, related_name="runs")
    detector = models.ForeignKey(DetectorVersion, on_delete=models.PROTECT, null=True, related_name="runs")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    is_stat = models.BooleanField(default=False)
    is_shadow = models.BooleanField(default=False, help_text="Asked for comparison only: never counted in a report.")
    is_long = models.BooleanField(default=False, help_text="Estimated to take long: it waits in a queue of its own.")
    megapixels = models.FloatField(null=True, help_text="What is to be read, at the scale of the detector.")
    attempt = models.PositiveSmallIntegerField(default=0)
    kills = models.PositiveSmallIntegerField(default=0, help_text="Attempts that ended with a worker, not by it.")
    task_id = models.CharField(max_length=64, blank=True)
    queued_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(default=timezone.now, help_text="When the task was last enqueued.")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="The worker's last sign of life.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    images_total = models.PositiveIntegerField(default=1)
    images_done = models.PositiveIntegerField(default=0)
    tiles_done = models.PositiveIntegerField(default=0, help_text="Of the image at work.")
    tiles_total = models.PositiveIntegerField(default=0, help_text="Of the image at work.")
    error = models.TextField(blank=True)
    scale_choices = models.JSONField(
        null=True,
        blank=True,
        help_text="Set where the run waits for a person's scale: um per px that each source says, perhaps none.",
    )
    regions = models.JSONField(
        null=True, blank=True, help_text="What a reader drew on a whole slide: image id, xyxy px; empty: the monolayer."
    )
    read_of_slides = models.CharField(
        max_length=400, blank=True, help_text="How much of its whole slides was read, in sentences for the report."
    )
    computed_on = models.JSONField(default=dict, help_text="Device, backend, precision and weights hash of this run.")
    unlike = models.CharField(
        max_length=40, blank=True, help_text="In what the images are unlike those on which the detector was tested."
    )

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["state", "-is_stat", "queued_at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["slide"], condition=models.Q(is_shadow=False), name="one_counted_run_per_slide"
            )
        ]

    @property
    def asks_scale(self) -> bool:
        """Whether the run ended because a person must state the scale first."""
        return self.state == self.State.FAILED and self.scale_choices is not None

    @property
    def progress(self) -> float:
        """How far the run is, 0 to 1."""
        if self.state == self.State.DONE:
            return 1.0
        within_image = self.tiles_done / self.tiles_total if self.tiles_total else 0.0
        return min((self.images_done + within_image) / max(self.images_total, 1), 0.99)

    @property
    def seconds_left(self) -> int | None:
        """How long a running analysis will take yet at its pace so far; None while too little is done to tell."""
        done = self.progress
        if self.state != self.State.RUNNING or self.started_at is None or done < 0.05:
            return None
        return round((timezone.now() - self.started_at).total_seconds() * (1 - done) / done)


class ImageResult(models.Model):
    """What a run measured on one image besides its cells."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="image_results")
    image = models.ForeignKey(SlideImage, on_delete=models.PROTECT, related_name="results")
    um_per_px = models.FloatField()
    scale_method = models.CharField(max_length=20, help_text="uploader, file, red cells; before 1.3 also: assumed")
    red_cells_um_per_px = models.FloatField(null=True, help_text="What the red cells of this image alone measure.")
    uncovered_nuclei = models.JSONField(default=list, help_text="xyxy px of stained nuclei that no box covers.")
    unlike = models.JSONField(
        default=dict,
        help_text="How far stain, focus and scale are from tested images: above 1 unlike; none before 1.4.",
    )

    area_mm2 = models.FloatField(
        null=True, help_text="Of film that was read of a whole slide; empty: all of the image."
    )
    coverage = models.JSONField(
        null=True, blank=True, help_text="Of a whole slide: its map of blocks, and what was read (whole_slides.py)."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "image"], name="one_result_per_image_and_run")]

    @property
    def is_scale_doubtful(self) -> bool:
        """Whether the image's own red cells say another scale than that of its slide (C13)."""
        own = self.red_cells_um_per_px
        return own is not None and max(own, self.um_per_px) > FAR_APART * min(own, self.um_per_px)


class CellQuerySet(OfCase):
    case_path = "image__slide__case"

    def counted(self) -> QuerySet:
        """The cells that can enter a report: of counted runs over slides that are not set aside, added ones too."""
        return self.filter(run__is_shadow=False, run__slide__set_aside_at=None)


class Cell(models.Model):
    """A leukocyte that the detector found, or that a reader added (then `added_by` is set and there is no score)."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="cells")
    image = models.ForeignKey(SlideImage, on_delete=models.PROTECT, related_name="cells")
    detector_code = models.CharField(max_length=3, blank=True)
    score = models.FloatField(null=True)
    chances = models.JSONField(
        default=list, help_text="The three best types, best first, each [code, chance of being right]; none before 1.3."
    )
    x1 = models.FloatField()
    y1 = models.FloatField()
    x2 = models.FloatField()
    y2 = models.FloatField()
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    added_at = models.DateTimeField(auto_now_add=True)

    objects = CellQuerySet.as_manager()

    class Meta:
        ordering = ["id"]

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """The box in px of the original image."""
        return self.x1, self.y1, self.x2, self.y2


class FilmCount(models.Model):
    """One reading of a run's images by the detector of red cells and platelets: help beside the differential.

    QUEUED -> RUNNING -> DONE or FAILED. A run that reads the slide again has its own; nothing is overwritten.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="film_count")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    attempt = models.PositiveSmallIntegerField(default=0)
    asked_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, help_text="When the task was last enqueued.")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    detector = models.CharField(max_length=150, blank=True, help_text="Name and version of the card.")
    weights_sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["state", "asked_at"])]


class FilmImageQuerySet(OfCase):
    case_path = "image__slide__case"

    def counted(self) -> QuerySet:
        """The counts that are shown: of counted runs over slides that are not set aside."""
        return self.filter(count__run__is_shadow=False, count__run__slide__set_aside_at=None)


class FilmImage(models.Model):
    """Red cells and platelets that the detector found on one image; written once."""

    count = models.ForeignKey(FilmCount, on_delete=models.CASCADE, related_name="images")
    image = models.ForeignKey(SlideImage, on_delete=models.PROTECT, related_name="film_counts")
    um_per_px = models.FloatField()
    area_um2 = models.FloatField(help_text="Of the part that was read; of a very large image its middle.")
    red_cells = models.PositiveIntegerField(help_text="Without those that the left or the upper edge cuts.")
    platelets = models.PositiveIntegerField(help_text="As red_cells.")
    boxes = models.JSONField(help_text="Code to the boxes found, each xyxy px and score.")
    clumps = models.JSONField(default=list, help_text="Each: platelets in it, and the xyxy px around them.")

    objects = FilmImageQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["count", "image"], name="one_film_count_per_image")]
