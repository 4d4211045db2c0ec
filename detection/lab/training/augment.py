"""Changes that a training view may meet in another laboratory: stain, light, focus, compression.

Everything works on RGB arrays with a seeded generator; boxes never change here.
"""

import cv2
import numpy as np

from detection.inference.stain_transfer import background_rgb

MILD, STRONG = 0.35, 1.0


def change_stain(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Re-stain a view: scale and mix its optical densities and give the glass another tint.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view.
    rng : numpy.random.Generator
        Random generator.
    strength : float, 0 to 1
        0 leaves the view alone; 1 covers cream CellaVision, violet LMU and bluish BCCD stains.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        The same cells under another stain.

    Notes
    -----
    Beer-Lambert: density = -log(image / glass). One factor a channel and a small mixing matrix move hue and strength of
    nucleus, cytoplasm and red cells together, as another stain, camera and lamp would. BCCD's blue channel hardly
    darkens at all under a nucleus, which is why the blue factor reaches down to 0.
    """
    glass = background_rgb(image)
    levels = np.arange(256, dtype=np.float32)
    density = np.stack(
        [-np.log(np.clip((levels + 1) / (glass[c] + 1), 0.008, 1.6)) for c in range(3)], axis=1
    )  # (256, 3)
    od = np.stack([density[:, c][image[..., c]] for c in range(3)], axis=-1)  # (H, W, 3)
    low, high = np.array([-0.75, -0.55, -1.6]), np.array([0.35, 0.45, 0.45])
    factor = np.exp(rng.uniform(low, high) * strength) * np.exp(rng.uniform(-0.35, 0.3) * strength)
    mix = np.eye(3) + rng.uniform(-0.14, 0.14, (3, 3)) * strength * (1 - np.eye(3))
    od = cv2.transform(od, (mix * factor[:, None]).astype(np.float32))
    target = glass + (random_glass(rng) - glass) * strength * rng.uniform(0, 1)
    out = np.exp(-np.clip(od, -0.5, 5)) * (target.astype(np.float32) + 1) - 1
    return np.clip(out, 0, 255).astype(np.uint8)


def random_glass(rng: np.random.Generator) -> np.ndarray:
    """Draw the colour of empty glass: near white, grey, cream, greenish or pinkish."""
    return np.clip(rng.uniform(185, 253) + rng.uniform(-1, 1, 3) * np.array([16, 14, 34]), 120, 255)


def jitter_hsv(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Shift hue up to 12 degrees, saturation up to 60 % and value up to 30 % at strength 1."""
    hue, saturation, value = rng.uniform(-1, 1, 3) * strength * np.array([6, 0.6, 0.3])
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    levels = np.arange(256)
    tables = (
        (levels + hue) % 180,
        np.clip(levels * (1 + saturation), 0, 255),
        np.clip(levels * (1 + value), 0, 255),
    )
    for c, table in enumerate(tables):
        hsv[..., c] = cv2.LUT(hsv[..., c], table.astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def soften(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lose detail as a weaker objective does: go down to 1/2.3 of the size and back, or blur by up to 1.8 px."""
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        f = rng.uniform(1.3, 2.3)
        small = cv2.resize(image, (int(width / f), int(height / f)), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8))


def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Store as JPEG of quality 35 to 95 and read it back."""
    quality = int(rng.uniform(35, 95))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # a JPEG keeps less of blue and red than of green
    stored = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)


def change_colours(
    image: np.ndarray, rng: np.random.Generator, *, strong: float = 0.45, stain: bool = True
) -> np.ndarray:
    """Apply the changes of stain and colour that a view meets in another laboratory.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8
        RGB view.
    rng : numpy.random.Generator
        Random generator: the same state gives the same picture.
    strong : float, 0 to 1
        Share of views that are re-stained at full strength; the others change mildly.
    stain : bool
        False leaves the stain alone: another laboratory's was transferred to the view already.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        The changed view.
    """
    strength = STRONG if rng.random() < strong else MILD
    if stain and (strength == STRONG or rng.random() < 0.6):
        image = change_stain(image, rng, strength)
    if rng.random() < 0.6:
        image = jitter_hsv(image, rng, strength if stain else MILD)
    return image


def change_optics(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply the changes of focus, noise and compression that a picture meets, shape and type as in `change_colours`."""
    if rng.random() < 0.25:
        image = soften(image, rng)
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 8), image.shape[:2]).astype(np.int16)
        image = np.clip(image.astype(np.int16) + noise[..., None], 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        image = compress(image, rng)
    return image
