"""Reading pictures of any kind into arrays, and arrays into 8-bit PNG. The only module that uses
OpenCV and PIL."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin, UnidentifiedImageError

from meddistill.base.errors import InputError, in_one_line
from meddistill.base.files import atomic_path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm")
"""Endings of picture files, in lower case."""
MAX_PIXELS = 100_000_000
"""Largest picture that is decoded; a header that promises more is refused before decoding."""
_LOSSY = ("JPEG", "MPO", "WEBP")
_EXIF_ORIENTATION = 0x0112
_COLOUR_MODES = ("CMYK", "YCbCr", "LAB", "HSV", "RGBX")


def load_picture(path: Path) -> np.ndarray:
    """Pixels of a picture file: (H, W), or (H, W, 3) RGB, in the file's own depth; upright by its
    EXIF tag.

    Palettes and CMYK become RGB; what is transparent becomes black. Raises: InputError for a file
    that is missing, damaged, truncated, of several pages, or above `MAX_PIXELS`.
    """
    return load_with_file(path)[0]


def load_with_file(path: Path) -> tuple[np.ndarray, bytes]:
    """As `load_picture`, and the file's bytes."""
    content = _read(path)
    return _decoded(content, path.name, indices=False)[0], content


def load_labels(path: Path, colours: bool = False) -> tuple[np.ndarray, bool]:
    """As `load_picture`, but palette pictures give their indices; and whether the file format is
    lossy.

    A palette of greys gives the greys (black and white may be stored either way round); with
    `colours` any palette gives its colours.
    """
    return _decoded(_read(path), path.name, indices=not colours)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture file, upright by its EXIF tag, from its header alone. Raises:
    InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except Exception as error:  # PIL raises a dozen types on damaged files
        raise InputError(f"{path.name} cannot be read as an image") from error
    return (width, height) if turned else (height, width)


def page_count(path: Path) -> int:
    """How many pages a picture file has, from its headers alone. Raises: InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return int(getattr(image, "n_frames", 1))
    except Exception as error:  # PIL raises a dozen types on damaged files
        raise InputError(f"{path.name} cannot be read as an image") from error


def load_pages(path: Path) -> np.ndarray:
    """The pages (N, H, W[, 3]) of a TIFF file in its own depth. Raises: InputError for one that is
    damaged, whose pages differ in size, or above ten times `MAX_PIXELS` in all."""
    from tifffile import TiffFile  # slow to import, and rarely needed

    try:
        with TiffFile(path) as file:
            shapes = {page.shape for page in file.pages}
            if len(shapes) != 1:
                raise InputError(f"{path.name} has pages of {len(shapes)} sizes, expected one")
            if np.prod(next(iter(shapes)), dtype=float) * len(file.pages) > 10 * MAX_PIXELS:
                raise InputError(f"{path.name} is too large: {len(file.pages)} pages")
            return np.stack([page.asarray() for page in file.pages])
    except InputError:
        raise
    except Exception as error:  # tifffile raises a dozen types on damaged files
        raise InputError(f"{path.name} is damaged: {in_one_line(error)}") from error


def write_pages(path: Path, pages: np.ndarray) -> None:
    """Write grey pages (N, H, W) as a TIFF file, whole or not at all."""
    from tifffile import imwrite  # as above

    with atomic_path(path) as temporary:
        imwrite(temporary, pages, photometric="minisblack", compression="zlib", metadata=None)


def _read(path: Path) -> bytes:
    try:
        # Read at once: PIL then cannot keep a damaged file open, and OpenCV need not understand the
        # file's name.
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if not content:
        raise InputError(f"{path.name} is empty")
    return content


def decode_labels(content: bytes, name: str) -> np.ndarray:
    """As `load_labels`, of a picture that lies inside another file. Raises: InputError."""
    return _decoded(content, name, indices=True)[0]


def _decoded(content: bytes, name: str, indices: bool) -> tuple[np.ndarray, bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(content, name, indices)
    except InputError:
        raise
    except Exception as error:  # PIL raises a dozen types on damaged files
        detail = in_one_line(error)
        if "cannot identify" in detail:
            detail = "no image format that is known"
        raise InputError(f"{name} cannot be read as an image: {detail}") from error


def _decode(content: bytes, name: str, indices: bool) -> tuple[np.ndarray, bool]:
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _decode_tiff(content, name), False
        raise
    with image:
        _check_size(*image.size, name)
        lossy = image.format in _LOSSY
        pages = getattr(image, "n_frames", 1)
        if pages > 1 and image.format != "MPO":  # a phone's second picture is a preview
            raise InputError(f"{name} holds {pages} pages, expected one image")
        if image.mode in ("RGB", "RGBA") and image.tile and "16" in str(image.tile[0].args):
            return _decode_16bit_colour(content), lossy  # PIL would drop the lower byte
        image.load()
        return _to_array(ImageOps.exif_transpose(image), indices), lossy


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} is {width}x{height}, above {MAX_PIXELS:,} pixels")


def _decode_tiff(content: bytes, name: str) -> np.ndarray:
    """Kinds of TIFF that PIL does not know: 64-bit floats, colour floats."""
    from tifffile import TiffFile  # slow to import, and rarely needed

    with TiffFile(io.BytesIO(content)) as file:
        if len(file.pages) != 1:
            raise InputError(f"{name} holds {len(file.pages)} pages, expected one image")
        shape = file.pages[0].shape
        _check_size(shape[1], shape[0], name)
        pixels = np.asarray(file.pages[0].asarray())
    return _checked_shape(pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels)


def _decode_16bit_colour(content: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError("16-bit colour image is damaged")
    return _checked_shape(pixels[..., 2::-1])  # BGR[A] to RGB


def _to_array(image: Image.Image, indices: bool) -> np.ndarray:
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        colours = (
            image.convert("RGB") if image.mode == "P" and "transparency" not in image.info else None
        )
        grey = colours is not None and _is_grey(np.array(colours))
        if grey:
            image = image.convert("L")
        elif not indices:
            image = image.convert("RGBA")
    if image.mode in _COLOUR_MODES:
        image = image.convert("RGB")
    if image.mode in ("RGBA", "LA", "RGBa", "La"):
        image = _without_alpha(image)
    return _checked_shape(np.array(image))


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels[..., :1] == pixels).all())


def _checked_shape(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(f"pixels of shape {pixels.shape} are no image")
    if pixels.dtype.kind not in "buif":
        raise InputError(f"pixels are {pixels.dtype}, expected real numbers")
    return pixels


def _without_alpha(image: Image.Image) -> Image.Image:
    # Transparent pixels become black, the background of medical images.
    opaque = image.convert("RGBA")
    black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, opaque).convert("RGB")


def read_rgb(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) RGB of an 8-bit PNG or JPEG, grey repeated. Raises: InputError naming the
    file."""
    return np.asarray(cv2.cvtColor(_decode_8bit(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def read_as_stored(path: Path) -> np.ndarray:
    """As `read_rgb`, but uint8 (H, W) of a picture that is stored without colour."""
    pixels = _decode_8bit(path, cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 and pixels.dtype == np.uint8 else read_rgb(path)


def _decode_8bit(path: Path, how: int) -> np.ndarray:
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    pixels = cv2.imdecode(encoded, how) if encoded.size else None
    if pixels is None:
        raise InputError(f"{path} cannot be read as an image")
    return np.asarray(pixels)


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """A copy of uint8 RGB (H, W, 3) with small white letters on a dark strip at the top."""
    captioned = image.copy()
    captioned[:14] //= 3
    cv2.putText(
        captioned, text, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA
    )
    return captioned


def lettering(text: str, height_px: int) -> np.ndarray:
    """The text as ink, uint8 (`height_px`, w), 255 where a letter is: Latin letters, accents too;
    others are boxes."""
    font = ImageFont.load_default(size=0.75 * height_px)
    ink = Image.new("L", (int(font.getlength(text)) + 1, height_px))
    ImageDraw.Draw(ink).text((0, height_px / 2), text, fill=255, font=font, anchor="lm")
    return np.array(ink)


def resize(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w[, 3]) of any dtype of OpenCV to (H, W[, 3]): averaged when shrinking, bilinear when
    growing.

    For thumbnails and hashes; what a network sees goes through `data/frames.py`.
    """
    shrinks = size_hw[0] < image.shape[0]
    return np.asarray(
        cv2.resize(
            image, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
    )


def encode_png(image: np.ndarray) -> bytes:
    """PNG file of uint8 (H, W) or (H, W, 3) RGB, or of uint16 (H, W); equal pixels give equal
    bytes."""
    if image.dtype != np.uint8 and not (image.dtype == np.uint16 and image.ndim == 2):
        raise ValueError(f"expected uint8 or flat uint16 pixels, got {image.dtype} {image.shape}")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # OpenCV's own choice of filter and level: on MRI slices a third of the time of level 3, files 2
    # % larger.
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"pixels of shape {image.shape} cannot be written as PNG")
    return encoded.tobytes()


def encode_palette_png(labels: np.ndarray, palette: np.ndarray, names: str) -> bytes:
    """PNG file of uint8 labels (H, W) that are shown in the colours of `palette`, RGB uint8 (256,
    3); `names`, what the values from 1 mean, stand in its text `findings`."""
    image = Image.fromarray(labels, mode="L")
    image.putpalette(palette.astype(np.uint8).tobytes())
    note = PngImagePlugin.PngInfo()
    note.add_itxt("findings", names)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=note)
    return buffer.getvalue()


def write_palette_png(path: Path, labels: np.ndarray, palette: np.ndarray, names: str) -> None:
    """Write `encode_palette_png` of the labels, whole or not at all.

    Args:
        path: the file.
        labels: uint8 (H, W).
        palette: RGB uint8 (256, 3).
        names: what the values mean.
    """
    content = encode_palette_png(labels, palette, names)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def is_plain_png(content: bytes) -> bool:
    """Whether this is a PNG file as `encode_png` writes them: 8 bits, grey or RGB, not interlaced,
    pixels and no notes.

    A text or a time stamp beside the pixels may tell whose image it is: such a file is not plain.
    """
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append(content[at + 4 : at + 8])
        at += 12 + length
    header = content[24:29]  # depth, colour type, compression, filter, interlace
    kinds = chunks[:1] == [b"IHDR"] and chunks[-1:] == [b"IEND"] and set(chunks[1:-1]) == {b"IDAT"}
    return (
        at == len(content) and kinds and header in (bytes([8, 0, 0, 0, 0]), bytes([8, 2, 0, 0, 0]))
    )


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 (H, W) or (H, W, 3) RGB, or uint16 (H, W), as PNG, whole or not at all."""
    content = encode_png(image)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV keeps to this thread: with pictures of which each process has its own, waking others
    costs more than they do."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def connected_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) int, half-open px, and areas (N,) int, px, of the 8-connected components of a
    bool mask (H, W)."""
    pixels = mask.astype(np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)  # most of a mask is empty
    part = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    if not part.size:
        return np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.int32)
    found = cv2.connectedComponentsWithStats(part, connectivity=8, ltype=cv2.CV_32S)[2]
    found = found[1:]  # the first is what is not mask
    corner, size, areas = found[:, :2] + (x, y), found[:, 2:4], found[:, 4]
    return np.concatenate([corner, corner + size], axis=1), areas


def draw_boxes(image: np.ndarray, boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """A copy of uint8 RGB (H, W, 3) with yellow outlines of the boxes (N, 4)."""
    drawn = image.copy()
    for x1, y1, x2, y2 in np.rint(boxes_xyxy_px).astype(int):
        # Half-open: the last row and column that belong to the box are x2 - 1 and y2 - 1.
        cv2.rectangle(drawn, (int(x1), int(y1)), (int(x2) - 1, int(y2) - 1), (255, 221, 0), 1)
    return drawn


def encode_jpeg(image: np.ndarray, *, max_side: int, quality: int = 85) -> bytes:
    """JPEG file of uint8 (H, W) or (H, W, 3) RGB, shrunk so that its longest side is at most
    `max_side` px."""
    image = shrink(image, max_side)
    if image.ndim == 3:
        grey = (image[..., :1] == image).all()
        image = image[..., 0] if grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"pixels of shape {image.shape} cannot be written as JPEG")
    return encoded.tobytes()


def shrink(image: np.ndarray, max_side: int) -> np.ndarray:
    """The image with its longest side at most `max_side` px, by area averaging; never enlarged. Any
    dtype of OpenCV."""
    scale = max_side / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return resize(image, (height, width))
