"""The detector on real and drawn fields: what it finds, that tiling changes nothing, what it refuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detection import SHIPPED
from detection.cell_types import CODES
from detection.inference.detector import Detector, DetectorRefused, Tiles
from detection.inference.networks import exact_convolutions, has_fast_bfloat16, keep_exact, load_module
from detection.inference.precision import export_folder
from detection.inference.tiling import merge_over_seams, tile_grid, tile_starts

pytestmark = pytest.mark.slow

BLAST_RICH, NEARLY_EMPTY = "AML_08_7f98e65b.jpg", "AML_23_cb9b48c5.jpg"
FIELD_UM_PER_PX = 0.21


@pytest.fixture
def detector(shipped_detector):
    return shipped_detector


@pytest.fixture(scope="session")
def torch_detector():
    return Detector.load(*SHIPPED, device="cpu", backend="torch")


@pytest.fixture(scope="session")
def field(real_images):
    """A part of a blast-rich field, of several tiles, with its scale."""
    if real_images:
        return np.asarray(Image.open(real_images / "apl_aml/fields" / BLAST_RICH))[:1400, :1400], FIELD_UM_PER_PX
    from detection.phantom import draw_field

    leukocytes = {"MYO": 14, "NGS": 11, "LYT": 10, "MON": 7}
    return draw_field(1400, 1400, um_per_px=FIELD_UM_PER_PX, seed=8, leukocytes=leukocytes).image, FIELD_UM_PER_PX


@pytest.fixture(scope="session")
def field_cells(shipped_detector, field):
    """The cells of the field, found once, and the steps of progress that were told."""
    steps = []
    cells = shipped_detector.find_cells(*field, on_progress=lambda done, total: steps.append((done, total)))
    return cells, steps


def overlaps(first, second):
    """Intersection over union of every cell with every other, shape (n, m)."""
    a, b = (np.array([cell.xyxy for cell in cells]).reshape(-1, 4) for cells in (first, second))
    common = (np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def test_a_blast_rich_field_gives_many_cells_and_none_twice(field_cells, field):
    image, _ = field
    cells, steps = field_cells
    assert len(cells) >= 20
    assert (overlaps(cells, cells) - np.eye(len(cells))).max() <= 0.5
    assert [cell.score for cell in cells] == sorted((cell.score for cell in cells), reverse=True)
    height_px, width_px = image.shape[:2]
    for cell in cells:
        x1, y1, x2, y2 = cell.xyxy
        assert 0 <= x1 < x2 <= width_px
        assert 0 <= y1 < y2 <= height_px
        assert cell.code in CODES
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_a_field_with_hardly_a_leukocyte_stays_hardly_one(detector, real_images):
    if real_images:
        image = np.asarray(Image.open(real_images / "apl_aml/fields" / NEARLY_EMPTY))[:1000, :1000]
    else:
        from detection.phantom import draw_field

        image = draw_field(1000, 1000, um_per_px=FIELD_UM_PER_PX, seed=1, leukocytes={}).image
    assert len(detector.find_cells(image, FIELD_UM_PER_PX)) <= 3


def test_the_size_of_the_tiles_changes_hardly_a_cell(detector, field, field_cells):
    small, (large, _) = detector.find_cells(*field, tile_px=640), field_cells
    assert abs(len(small) - len(large)) <= max(1, 0.03 * len(large))
    # Cells well above their threshold are the same cells.
    firm = [cell for cell in small if cell.score > 0.5]
    assert (overlaps(firm, large).max(1) > 0.5).mean() >= 0.97


def test_torch_and_openvino_find_the_same_cells(detector, torch_detector, field):
    image, um_per_px = field
    part = image[:500, :500]
    assert (detector.backend, torch_detector.backend) == ("openvino", "torch")
    ours, theirs = (one.find_cells(part, um_per_px) for one in (detector, torch_detector))
    assert len(ours) == len(theirs) > 0
    for cell, other in zip(ours, theirs):
        assert cell.code == other.code
        np.testing.assert_allclose((cell.score, *cell.xyxy), (other.score, *other.xyxy), atol=0.3, rtol=0.01)


def test_torch_takes_over_where_the_export_cannot_be_kept_or_read(tmp_path, detector):
    (tmp_path / "a file").touch()
    assert Detector.load(*SHIPPED, device="cpu", cache_folder=tmp_path / "a file").backend == "torch"
    export = export_folder(tmp_path, detector.card) / "network.xml"
    export.parent.mkdir(parents=True)
    export.write_text("half an ex")
    broken = Detector.load(*SHIPPED, device="cpu", cache_folder=tmp_path)
    assert (broken.backend, broken.precision) == ("torch", "f32")


def test_bfloat16_spares_the_first_and_the_last_convolutions(detector):
    network = detector.network
    assert len(exact_convolutions(load_module(SHIPPED[0]))) == 7  # the stem, and boxes and scores of three scales
    for precision, fewest in (("f32", 76), ("bf16", 7)):
        compiled = network.core.compile_model(network.model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        facts = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops()]
        precisions = [one["runtimePrecision"].value for one in facts if one["layerType"].value == "Convolution"]
        assert len(precisions) == 76
        assert precisions.count("f32") == fewest or (precision == "bf16" and not has_fast_bfloat16())


def test_a_convolution_that_the_export_lacks_is_named(tmp_path):
    (tmp_path / "network.xml").write_text("<net><layers/></net>")
    with pytest.raises(ValueError, match=r"no convolution model\.0\.conv"):
        keep_exact(tmp_path / "network.xml", {"model.0.conv"})


def test_colours_reach_the_network_in_the_order_red_green_blue(torch_detector):
    """A pure red picture, against the forward pass of the network itself on a tensor made by hand."""
    torch = torch_detector.network.torch
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    by_hand = torch.zeros(1, 3, 64, 64)
    by_hand[:, 0] = 1.0
    with torch.inference_mode():
        expected = torch_detector.network.module(by_hand)[0].numpy()
        blue = torch_detector.network.module(by_hand.flip(1))[0].numpy()
    seen = torch_detector.network(red[None])
    np.testing.assert_allclose(seen, expected, atol=1e-3)
    assert abs(seen - blue).max() > 0.01


def test_a_pure_red_picture_and_tiny_pictures_give_no_cells(detector):
    red = np.zeros((300, 300, 3), np.uint8)
    red[..., 0] = 255
    assert detector.find_cells(red, 0.115) == []
    for shape in ((1, 1, 3), (33, 700, 3), (40, 40, 3)):
        assert detector.find_cells(np.full(shape, 230, np.uint8), 0.115) == []


def test_bad_scales_and_arrays_are_refused_in_words(detector):
    white = np.full((64, 64, 3), 255, np.uint8)
    for um_per_px in (0, -1, 0.001, 5, float("nan")):
        with pytest.raises(ValueError, match="um per px"):
            detector.find_cells(white, um_per_px)
    with pytest.raises(ValueError, match="uint8"):
        detector.find_cells(white.astype(float), 0.1)
    with pytest.raises(ValueError, match="uint8"):
        detector.find_cells(white[..., 0], 0.1)


def test_thresholds_of_the_caller_replace_those_of_the_detector(detector, field):
    image, um_per_px = field
    part = image[:500, :500]
    found = detector.find_cells(part, um_per_px)
    strict = detector.with_thresholds(np.full(15, np.median([cell.score for cell in found])))
    assert 0 < len(strict.find_cells(part, um_per_px)) < len(found)
    assert len(strict.find_cells(part, um_per_px, thresholds=detector.thresholds)) == len(found)
    assert detector.find_cells(part, um_per_px, thresholds=np.ones(15)) == []


def test_changed_weights_other_classes_and_lost_files_are_refused(tmp_path):
    weights, card_path = SHIPPED
    card = json.loads(card_path.read_text())

    def refused(**changes):
        (tmp_path / "card.json").write_text(json.dumps(card | changes))
        with pytest.raises(DetectorRefused) as caught:
            Detector.load(weights, tmp_path / "card.json", device="cpu")
        return str(caught.value)

    assert "SHA-256" in refused(sha256="0" * 64)
    swapped = [dict(entry) for entry in card["classes"]]
    swapped[9], swapped[10] = swapped[10], swapped[9]  # MYB and MYO
    assert "15 types in their order" in refused(classes=swapped)
    assert "lacks um_per_px" in _without(card, "um_per_px", weights, tmp_path)
    with pytest.raises(DetectorRefused, match="cannot be read"):
        Detector.load(tmp_path / "absent.pt", card_path)


def _without(card, name, weights, folder):
    (folder / "card.json").write_text(json.dumps({key: value for key, value in card.items() if key != name}))
    with pytest.raises(DetectorRefused) as caught:
        Detector.load(weights, folder / "card.json")
    return str(caught.value)


NO_NETWORK = """
import socket, sys
def forbidden(*args, **kwargs):
    print("a socket was opened", file=sys.stderr)
    raise SystemExit(9)
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = forbidden
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = forbidden
import numpy as np
from detection import SHIPPED
from detection.inference.detector import Detector
for backend in ("torch", "openvino"):
    detector = Detector.load(*SHIPPED, device="cpu", backend=backend, cache_folder=sys.argv[1])
    assert detector.find_cells(np.full((200, 200, 3), 240, np.uint8), 0.115) == []
    assert (detector.backend, detector.precision, detector.device) == (backend, "f32", "cpu")
print("done")
"""


def test_loading_and_finding_never_open_a_socket_or_write_at_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.getcwd()}
    result = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(tmp_path)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.stdout.endswith("done\n"), result.stderr[-2000:]
    assert "socket" not in result.stderr
    assert not any(home.iterdir())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(2, 900), st.data())
def test_every_pixel_of_an_edge_is_in_a_tile_and_neighbours_share_the_overlap(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + tile >= length
    for first, second in zip(starts, starts[1:]):
        assert first < second
        assert first + tile - second >= overlap
    if length > tile:
        assert starts[-1] + tile == length


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.floats(0.05, 0.6), st.sampled_from([128, 320, 640]))
def test_every_pixel_of_an_image_is_in_a_tile_of_the_right_scale(width_px, height_px, um_per_px, tile_px):
    image = np.zeros((height_px, width_px, 3), np.uint8)
    tiles = Tiles(image, um_per_px, 0.115, tile_px)
    seen = np.zeros((height_px, width_px), bool)
    for x, y in tiles.corners:
        seen[y : y + tiles.source_px, x : x + tiles.source_px] = True
    assert seen.all()
    assert tiles.pixels(len(tiles) - 1).shape == (tiles.tile_px, tiles.tile_px, 3)
    assert tiles.tile_px % 64 == 0
    assert tiles.tile_px <= tile_px
    assert abs(tiles.zoom * 0.115 / um_per_px - 1) < 0.05


@settings(max_examples=100, deadline=None)
@given(st.integers(300, 3000), st.integers(300, 3000), st.floats(0, 1), st.floats(0, 1), st.floats(6, 25))
def test_a_cell_on_a_seam_is_counted_once(width_px, height_px, at_x, at_y, diameter_um):
    """A perfect detector: each tile reports the cell as far as it sees it."""
    tiles = Tiles(np.zeros((height_px, width_px, 3), np.uint8), 0.21, 0.115, 640)
    side = diameter_um / 0.21
    cell = np.array([at_x * (width_px - side), at_y * (height_px - side)])
    cell = np.concatenate([cell, cell + side])
    found = []
    for number, (x, y) in enumerate(tiles.corners):
        seen = (cell - [x, y, x, y]).clip(0, tiles.source_px).astype(np.float32)
        if (seen[2:] - seen[:2]).min() > 5:
            found.append(tiles.in_image(number, seen[None] * tiles.zoom, np.array([0.9]), np.array([0])))
    xyxy, scores, classes, cut = (np.concatenate(parts) for parts in zip(*found))
    [kept] = merge_over_seams(xyxy, scores, cut)
    np.testing.assert_allclose(xyxy[kept], cell, atol=0.51)


def test_merging_prefers_whole_cells_and_ignores_types():
    boxes = np.array([[0, 0, 60, 100], [0, 0, 100, 100], [4, 4, 104, 104], [300, 0, 400, 100]], float)
    scores, cut = np.array([0.99, 0.5, 0.8, 0.3]), np.array([True, False, False, False])
    assert merge_over_seams(boxes, scores, cut).tolist() == [2, 3]
    assert merge_over_seams(boxes[:0], scores[:0], cut[:0]).tolist() == []


def test_merging_agrees_with_torchvision_on_random_boxes_and_is_fast():
    import time

    import torch
    from torchvision.ops import nms

    random = np.random.default_rng(5)
    corner = random.uniform(0, 6000, (20_000, 2))
    boxes = np.concatenate([corner, corner + random.uniform(30, 90, (20_000, 2))], 1)
    scores = random.permutation(20_000) / 20_000
    start = time.process_time()
    kept = merge_over_seams(boxes, scores, np.zeros(20_000, bool))
    assert time.process_time() - start < 1.5
    assert kept.tolist() == nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5).tolist()


def test_tiles_of_an_image_lie_row_by_row():
    assert tile_grid(10, 4, 6, 2) == [(0, 0), (4, 0)]
    assert tile_grid(6, 10, 6, 2) == [(0, 0), (0, 4)]


def test_all_cores_are_used_although_ultralytics_leaves_one_idle(torch_detector):
    cores = len(os.sched_getaffinity(0))
    assert torch_detector.network.torch.get_num_threads() == min(
        cores, int(os.environ.get("DETECTION_THREADS") or cores)
    )
