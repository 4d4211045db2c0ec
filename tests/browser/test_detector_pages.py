"""The page of a detector in a browser: its curves are drawn, and a fit is switched on with the keyboard alone."""

import pytest

from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import SiteCalibration


@pytest.fixture
def site(laboratory):
    gain = {"before": [0.61, 0.51, 0.71], "after": [0.7, 0.6, 0.79]}
    fitted = {"cells": 98, "colour": None, "thresholds": {}, "typed_right": gain}
    detector = active_detector()
    return SiteCalibration.objects.create(laboratory=laboratory, detector=detector, sha256="a" * 64, fitted=fitted)


def test_an_administrator_reads_the_curves_and_switches_a_fit_by_keyboard(browse_as, admin, site):
    page = browse_as(admin, f"/manage/detectors/{site.detector_id}/")
    curves = page.locator(".curves figure")
    assert curves.count() >= 14
    assert curves.first.locator("polyline").first.bounding_box()["width"] > 50
    page.get_by_label("Why the calibration for").focus()
    page.keyboard.type("measured on 98 cells")
    page.keyboard.press("Enter")
    page.get_by_text("are read with this calibration").wait_for()
    assert SiteCalibration.objects.get().is_active
    assert page.get_by_role("button", name="Stop using it").is_visible()
