"""Typing fitted to a laboratory: what it gains, and what it may never do to blasts and to types it was not shown."""

import json

import numpy as np
import pytest

from detection.card import Card
from detection.cell_types import BLASTS, BY_CODE, CODES, PROMYELOCYTES
from detection.inference.detector import Detector
from detection.inference.retyping import GRAVE, from_site, retype, to_site
from detection.lab.data.datasets import View
from detection.lab.measuring.evaluation import Found
from detection.lab.measuring.typing_fit import fit_to_views, fit_typing, is_better, retyped

SHOWN = ("NGS", "LYT", "MON", "MYO")


def index(code):
    return BY_CODE[code].index


def scores_of(code, *, second=None, best=0.5, rest=0.02):
    """Scores of a cell that is called `code`."""
    scores = np.full(len(CODES), rest)
    scores[index(code)] = best
    if second:
        scores[index(second)] = best * 0.7
    return scores


def laboratory(each, seed=0):
    """Cells of four types of a stain under which lymphocytes are called monocytes, and monocytes neutrophils."""
    rng = np.random.default_rng(seed)
    called = {"NGS": "NGS", "LYT": "MON", "MON": "NGS", "MYO": "MYO"}
    types = np.repeat([index(code) for code in SHOWN], each)
    scores = np.array(
        [scores_of(called[CODES[k]], second=CODES[k] if called[CODES[k]] != CODES[k] else None) for k in types]
    )
    return np.clip(scores * np.exp(rng.normal(0, 0.2, scores.shape)), 0.001, 0.95), types


def test_a_few_labelled_cells_teach_what_a_stain_turns_types_into():
    fit = fit_typing(*laboratory(12))
    scores, types = laboratory(50, seed=1)
    before, after = ((retype(scores, own).argmax(1) == types).mean() for own in (None, fit))
    assert before < 0.6
    assert after > 0.95


def test_no_blast_or_promyelocyte_score_is_lowered_and_no_cell_falls_below_its_threshold():
    """Trained on cells that are called blasts and are none."""
    types = np.repeat([index("NGS"), index("LYT")], 40)
    called = np.array([scores_of("MYO" if k % 2 else "NGS", second="LYT") for k in range(80)])
    scores = np.random.default_rng(1).uniform(0.001, 0.9, (500, len(CODES)))
    changed = retype(scores, fit_typing(called, types))
    assert (changed[:, GRAVE] >= scores[:, GRAVE] - 1e-9).all()
    assert (changed.max(1) >= scores.max(1) - 1e-9).all()
    assert {CODES[k] for k in GRAVE} == {*BLASTS, *PROMYELOCYTES}


def test_types_that_the_laboratory_did_not_show_keep_their_scores_and_their_cells():
    fit = fit_typing(*laboratory(30))
    hidden = [k for k, code in enumerate(CODES) if code not in SHOWN]
    scores, _ = laboratory(30, seed=2)
    assert np.allclose(retype(scores, fit)[:, hidden], scores[:, hidden])
    basophils = np.array([scores_of("BAS", second="NGS")] * 5)
    assert np.array_equal(retype(basophils, fit), basophils)


def test_a_type_with_two_cells_counts_as_not_shown_and_one_type_alone_gives_no_fit():
    scores, types = laboratory(30)
    few = np.r_[0:30, 30:32]
    assert fit_typing(scores[few], types[few]) is None
    some = np.r_[0:32, 60:90]
    assert [CODES[k] for k in np.flatnonzero(fit_typing(scores[some], types[some]).labelled)] == ["MON", "NGS"]


def test_a_fit_is_refused_that_types_no_more_cells_right_or_loses_a_blast():
    types = np.array([index(code) for code in ("MYO", "NGS", "NGS", "LYT")])
    before = np.array([index(code) for code in ("MYO", "NGS", "NGB", "EBO")])
    better = np.array([index(code) for code in ("MYO", "NGS", "NGS", "EBO")])
    loses = np.array([index(code) for code in ("LYT", "NGS", "NGS", "LYT")])
    assert is_better(types, before, better)
    assert not is_better(types, before, before)
    assert not is_better(types, before, loses)


def test_a_fit_survives_its_file_and_fewer_than_thirty_cells_give_none():
    fit = fit_typing(*laboratory(12))
    again = from_site(json.loads(json.dumps(to_site(fit))))
    scores, types = laboratory(10, seed=3)
    assert np.allclose(retype(scores, again), retype(scores, fit), atol=1e-3)
    assert from_site(None) is None
    box = (10.0, 10.0, 30.0, 30.0)
    views = [View("", "lab", 40, 40, ((CODES[k], box),)) for k in types]
    found = [Found(np.array([box]), own.argmax(keepdims=True), own.max(keepdims=True), own[None]) for own in scores]
    assert fit_to_views(views[:29], found[:29]) is None
    fitted = fit_to_views(views, found)
    assert sum(CODES[retyped(own, fitted).types[0]] == view.cells[0][0] for own, view in zip(found, views)) > 35


class FindsOne:
    """A network that finds one cell at the same place, with given scores."""

    backend = precision = device = "drawn"
    batch_tiles = 1

    def __init__(self, scores):
        self.scores = scores

    def __call__(self, tiles):
        output = np.zeros((len(tiles), 4 + len(CODES), 1), np.float32)
        output[:, :4, 0] = (48, 48, 40, 40)
        output[:, 4:, 0] = self.scores
        return output


def test_a_calibrated_detector_types_anew_and_says_the_three_best_types_with_their_chances():
    detector = Detector(Card.draft(0.3, {"sha256": "s", "temperature": 1.0}), FindsOne(scores_of("MON", second="LYT")))
    pixels = np.full((96, 96, 3), (250, 232, 205), np.uint8)
    pixels[30:66, 30:66] = (80, 50, 140)
    (cell,) = detector.find_cells(pixels, 0.3)
    assert (cell.code, len(cell.scores)) == ("MON", 15)
    assert cell.chances[:2] == (("MON", pytest.approx(0.5)), ("LYT", pytest.approx(0.35)))
    assert len(cell.chances) == 3
    site = {"weights_sha256": "s", "colour": None, "thresholds": dict.fromkeys(CODES, 0.25)}
    fitted = detector.calibrated(site | {"typing": to_site(fit_typing(*laboratory(12)))})
    (again,) = fitted.find_cells(pixels, 0.3)
    assert again.code == "LYT"
    assert again.score >= cell.score
    assert again.xyxy == cell.xyxy
    (same,) = detector.calibrated(site).find_cells(pixels, 0.3)
    assert same == cell
