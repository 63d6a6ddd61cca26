"""Reading pictures of any kind into arrays, and arrays into 8-bit PNG. The only module that uses PIL."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin, UnidentifiedImageError

from meddistill.base.errors import FileError, InputError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.formats.picture_limits import check_size, checked_shape
from meddistill.data.formats.tiff import decode_tiff
from meddistill.data.pixels import decode, encode, shrink

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm")
"""Endings of picture files, in lower case."""
_LOSSY = ("JPEG", "MPO", "WEBP")
_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_COLOUR_MODES = ("CMYK", "YCbCr", "LAB", "HSV", "RGBX")


def load_picture(path: Path) -> np.ndarray:
    """Pixels of a picture file: (H, W), or (H, W, 3) RGB, in the file's own depth; upright by its
    EXIF tag.

    Palettes and CMYK become RGB; what is transparent becomes black. Raises: InputError for a file
    that is missing, damaged, truncated, of several pages, or too large (`picture_limits`).
    """
    return load_with_file(path)[0]


def load_with_file(path: Path) -> tuple[np.ndarray, bytes]:
    """As `load_picture`, and the file's bytes."""
    content = _read(path)
    return _decoded_file(path, content, indices=False)[0], content


def load_labels(path: Path, colours: bool = False) -> tuple[np.ndarray, bool]:
    """As `load_picture`, but palette pictures give their indices; and whether the file format is
    lossy.

    A palette of greys gives the greys (black and white may be stored either way round); with
    `colours` any palette gives its colours.
    """
    return _decoded_file(path, _read(path), indices=not colours)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture file, upright by its EXIF tag, from its header alone. Raises:
    InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                if image.format == "TIFF":  # new versions of PIL have turned its size already
                    tags = getattr(image, "tag_v2")  # noqa: B009 - of this format alone
                    width, height = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
                turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except Exception as error:  # PIL raises a dozen types on damaged files
        raise FileError(path, "cannot be read as an image") from error
    return (width, height) if turned else (height, width)


def page_count(path: Path) -> int:
    """How many pages a picture file has, from its headers alone. Raises: InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return int(getattr(image, "n_frames", 1))
    except Exception as error:  # PIL raises a dozen types on damaged files
        raise FileError(path, "cannot be read as an image") from error


def decode_pages(path: Path) -> np.ndarray:
    """The pages (N, H, W[, 3]) of a TIFF file that is compressed in a way that PIL knows. Raises:
    InputError."""
    try:
        with Image.open(path) as image:
            pages = []
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                check_size(*image.size)
                pages.append(_to_array(image, indices=False))
            return np.stack(pages)
    except Exception as error:  # PIL raises a dozen types on damaged files
        raise FileError(path, f"cannot be read as pages: {in_one_line(error)}") from error


def _read(path: Path) -> bytes:
    try:
        # Read at once: PIL then cannot keep a damaged file open, and OpenCV need not understand the
        # file's name.
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileError(path, "does not exist") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error
    if not content:
        raise FileError(path, "is empty")
    return content


def decode_labels(content: bytes, name: str) -> np.ndarray:
    """As `load_labels`, of a picture that lies inside another file. Raises: InputError."""
    try:
        return _decoded(content, indices=True)[0]
    except InputError as error:
        raise InputError(f"{name} {error}") from error


def decode_drawn(content: bytes, name: str) -> np.ndarray:
    """bool (H, W): what is drawn on a picture that lies inside another file: the pixels that are
    opaque where others are not, else all but the black ones. Raises: InputError."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_size(*image.size)
            pixels = np.array(image.convert("RGBA"))
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    except Exception as error:  # PIL raises a dozen types on damaged files
        raise InputError(f"{name} cannot be read as an image") from error
    opaque = pixels[..., 3] >= 128
    return np.asarray(pixels[..., :3].any(axis=2) if opaque.all() else opaque)


def _decoded_file(path: Path, content: bytes, indices: bool) -> tuple[np.ndarray, bool]:
    try:
        return _decoded(content, indices)
    except InputError as error:
        raise FileError(path, str(error)) from error


def _decoded(content: bytes, indices: bool) -> tuple[np.ndarray, bool]:
    """Raises: InputError that says what is wrong, without a name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(content, indices)
    except InputError:
        raise
    except Exception as error:  # PIL raises a dozen types on damaged files
        detail = in_one_line(error)
        if "cannot identify" in detail:
            detail = "no image format that is known"
        raise InputError(f"cannot be read as an image: {detail}") from error


def _decode(content: bytes, indices: bool) -> tuple[np.ndarray, bool]:
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        if content[:4] in (b"II*\0", b"MM\0*"):
            return decode_tiff(content), False
        raise
    with image:
        check_size(*image.size)
        lossy = image.format in _LOSSY
        pages = getattr(image, "n_frames", 1)
        if pages > 1 and image.format != "MPO":  # a phone's second picture is a preview
            raise InputError(f"holds {pages} pages, expected one image")
        if image.mode in ("RGB", "RGBA") and image.tile and "16" in str(image.tile[0].args):
            return _decode_16bit_colour(content), lossy  # PIL would drop the lower byte
        image.load()
        return _to_array(ImageOps.exif_transpose(image), indices), lossy


def _decode_16bit_colour(content: bytes) -> np.ndarray:
    pixels = decode(np.frombuffer(content, dtype=np.uint8), as_stored=True)
    if pixels is None:
        raise InputError("is a damaged 16-bit colour image")
    return checked_shape(pixels)


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
    return checked_shape(np.array(image))


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels[..., :1] == pixels).all())


def _without_alpha(image: Image.Image) -> Image.Image:
    # Transparent pixels become black, the background of medical images.
    opaque = image.convert("RGBA")
    black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, opaque).convert("RGB")


def read_rgb(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) RGB of an 8-bit PNG or JPEG, grey repeated. Raises: InputError naming the
    file."""
    return _decode_8bit(path)


def read_as_stored(path: Path) -> np.ndarray:
    """As `read_rgb`, but uint8 (H, W) of a picture that is stored without colour."""
    pixels = _decode_8bit(path, as_stored=True)
    return pixels if pixels.ndim == 2 and pixels.dtype == np.uint8 else read_rgb(path)


def _decode_8bit(path: Path, as_stored: bool = False) -> np.ndarray:
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error
    pixels = decode(encoded, as_stored) if encoded.size else None
    if pixels is None:
        raise FileError(path, "cannot be read as an image")
    return pixels


def lettering(text: str, height_px: int) -> np.ndarray:
    """The text as ink, uint8 (`height_px`, w), 255 where a letter is: Latin letters, accents too;
    others are boxes."""
    font = ImageFont.load_default(size=0.75 * height_px)
    ink = Image.new("L", (int(font.getlength(text)) + 1, height_px))
    ImageDraw.Draw(ink).text((0, height_px / 2), text, fill=255, font=font, anchor="lm")
    return np.array(ink)


def encode_png(image: np.ndarray) -> bytes:
    """PNG file of uint8 (H, W) or (H, W, 3) RGB, or of uint16 (H, W); equal pixels give equal
    bytes."""
    if image.dtype != np.uint8 and not (image.dtype == np.uint16 and image.ndim == 2):
        raise ValueError(f"expected uint8 or flat uint16 pixels, got {image.dtype} {image.shape}")
    return encode(image, "png")


def encode_small_png(image: np.ndarray) -> bytes:
    """PNG file of uint8 (H, W, 3) RGB, slower than `encode_png`, and of enlarged pixels a sixth as large."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


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


def encode_jpeg(image: np.ndarray, *, max_side: int, quality: int = 85) -> bytes:
    """JPEG file of uint8 (H, W) or (H, W, 3) RGB, shrunk so that its longest side is at most
    `max_side` px."""
    image = shrink(image, max_side)
    is_grey = image.ndim == 3 and (image[..., :1] == image).all()
    return encode(image[..., 0] if is_grey else image, "jpg", quality)
