"""
From a picture to what a model reads: the one implementation, for training, calibration, the gate and run.py alike.

Bundles carry a copy of this file: it needs numpy, and Pillow for pictures, and nothing of edgekd. `how` is the
preprocessing of a signature as plain values.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
MODES = {1: "L", 3: "RGB"}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # others may run programs of the system


def read(source: Any, how: Mapping[str, Any], channels: int) -> tuple[Pixels, str]:
    """
    A picture file, its bytes, a PIL image or an array uint8 [H, W] or [H, W, C], as uint8 [H, W, C]: upright, in gray
    or RGB, in the size that the model takes. And the size that it had.

    Raises ValueError where it is no picture that Pillow can read.
    """
    plain = _array(source, channels) if hasattr(source, "__array__") and not hasattr(source, "getbands") else None
    if plain is None:
        plain = _decoded(source, channels)
    return fitted(plain, how), f"{plain.shape[0]} x {plain.shape[1]}"


def _decoded(source: Any, channels: int) -> Pixels:
    from PIL import Image, ImageOps

    try:
        if hasattr(source, "getbands"):
            return np.asarray(_plain(source, channels))
        if not isinstance(source, (bytes, Path)):
            raise ValueError(f"{type(source).__name__}: a file, its bytes, an array or a PIL image is needed")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as picture:
            turned = "exif" in picture.info or picture.format == "TIFF"
            return np.asarray(_plain(ImageOps.exif_transpose(picture) if turned else picture, channels))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture that can be read: {error}") from error


def _array(source: Any, channels: int) -> Pixels:
    """An array or tensor as it is, [C, H, W] turned to [H, W, C]."""
    array = np.asarray(source)
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim == 3 and array.shape[0] == channels != array.shape[2]:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != channels:
        raise ValueError(f"{array.dtype} {list(array.shape)}; uint8 [H, W, {channels}] is needed")
    return array


def fitted(pixels: Pixels, how: Mapping[str, Any]) -> Pixels:
    """
    uint8 [H, W] or [H, W, C], resized and cropped as the preprocessing says.

    Resizing is Pillow's, antialiased: `resize` is height and width, or one number for the shorter side. `crop` is
    taken from the centre.
    """
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    size = output_size(how)
    if (resize := how.get("resize")) is not None:
        height, width = pixels.shape[:2]
        if isinstance(resize, int):
            share = resize / min(height, width)
            resize = (max(resize, round(height * share)), max(resize, round(width * share)))
        pixels = _resized(pixels, resize, how.get("interpolation", "bilinear"))
    if (crop := how.get("crop")) is not None:
        height, width = pixels.shape[:2]
        if height < crop[0] or width < crop[1]:
            raise ValueError(f"a picture of {height} x {width} is smaller than the crop of {crop[0]} x {crop[1]}")
        top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
        pixels = pixels[top : top + crop[0], left : left + crop[1]]
    if size is not None and pixels.shape[:2] != size:
        raise ValueError(f"a picture of {pixels.shape[0]} x {pixels.shape[1]}, and {size[0]} x {size[1]} is read")
    return pixels


def output_size(how: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of what the model reads; None where the preprocessing leaves the size as it is."""
    size = how.get("crop") or (how.get("resize") if not isinstance(how.get("resize"), int) else None)
    return (size[0], size[1]) if size else None


def normalised(images: Pixels, how: Mapping[str, Any]) -> NDArray[np.float32]:
    """uint8 [N, H, W, C] to (pixels / 255 - mean) / std, float32 [N, H, W, C]."""
    scaled = images.astype(np.float32) / 255 - np.asarray(how["mean"], np.float32)
    return np.asarray(scaled / np.asarray(how["std"], np.float32))


def _plain(picture: Any, channels: int) -> Any:
    """Gray or RGB of any mode: 16 bits are scaled to 8, what is transparent stands on white."""
    if picture.mode == MODES[channels] and "transparency" not in picture.info:
        return picture
    from PIL import Image

    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture, np.float64) / 257).round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"mode {picture.mode}: numbers without a range; save it with 8 or 16 bits")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(MODES[channels])


def _resized(pixels: Pixels, size: tuple[int, int], interpolation: str) -> Pixels:
    from PIL import Image

    how = Image.Resampling[interpolation.upper()]
    planes = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    made = np.asarray(Image.fromarray(np.ascontiguousarray(planes)).resize((size[1], size[0]), how))
    return made[:, :, None] if made.ndim == 2 else made
