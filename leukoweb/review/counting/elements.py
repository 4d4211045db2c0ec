"""What the detector's red cells and platelets add up to: per field, per 1,000 red cells, and an estimate; pure.

The intervals are those of counting alone: what the detector misses or takes for a platelet is on its card.

References
----------
Garwood 1936, Biometrika 28:437 (exact interval of a Poisson count). Of two Poisson counts the share of the first in
both is binomial, so that the exact interval of this share gives that of their ratio: Przyborowski and Wilenski 1940,
Biometrika 31:313.
"""

from dataclasses import dataclass

from scipy.special import gammaincinv

from leukoweb.review.counting.differential import CONFIDENCE, clopper_pearson
from leukoweb.review.counting.film import LEAST_FIELD_MM2
from leukoweb.review.counting.policies import Rules


@dataclass(frozen=True)
class Elements:
    """Red cells and platelets of a case: counts, the film that was read, and how many images; `least_mm2` of one."""

    red_cells: int
    platelets: int
    area_mm2: float
    images: int
    least_mm2: float

    @property
    def tells_density(self) -> bool:
        """Whether the images are fields: pictures cut around single cells say nothing of how densely cells lie."""
        return self.images > 0 and self.least_mm2 >= LEAST_FIELD_MM2


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Measured":
        """Return the figure in another unit."""
        return Measured(self.value * factor, self.low * factor, self.high * factor)


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of what a Poisson count expects."""
    tail = (1 - confidence) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low, float(gammaincinv(count + 1, 1 - tail))


def per_field(elements: Elements, field_mm2: float) -> Measured | None:
    """Return the platelets per field of this area; None where the images tell no density."""
    if not elements.tells_density:
        return None
    low, high = poisson_interval(elements.platelets)
    return Measured(elements.platelets, low, high).times(field_mm2 / elements.area_mm2)


def per_thousand(elements: Elements) -> Measured | None:
    """Return the platelets per 1,000 red cells; None without a red cell."""
    if not elements.red_cells:
        return None
    low, high = clopper_pearson(elements.platelets, elements.platelets + elements.red_cells)
    return Measured(elements.platelets / elements.red_cells, low / (1 - low), high / (1 - high)).times(1000)


def estimate(elements: Elements, rules: Rules) -> Measured | None:
    """Return the platelets in 10^9/L by the laboratory's factor; None without a validated one or without fields."""
    if rules.platelet_factor is None:
        return None
    field = per_field(elements, rules.platelet_field_mm2)
    return field.times(rules.platelet_factor) if field else None


def difference(film: Measured, analyser: float, tolerance: float) -> str:
    """Say whether film and analyser differ by more than `tolerance` % of the analyser's value.

    Returns
    -------
    str
        "" where they do not; "surely" where the whole interval of the film does, "perhaps" where only its value does.
    """
    low, high = analyser * (1 - tolerance / 100), analyser * (1 + tolerance / 100)
    if low <= film.value <= high:
        return ""
    return "surely" if film.high < low or film.low > high else "perhaps"
