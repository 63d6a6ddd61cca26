"""Files that nobody sane would make, and everybody has: each is read right or listed with its
reason, nothing else."""

import io
import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.layouts import image, mask, save
from tifffile import imwrite

from meddistill.base.csv_tables import read_table
from meddistill.data.formats.pictures import read_rgb
from meddistill.data.masks import read_mask
from meddistill.run.images import image_path
from meddistill.run.layout import RunDir
from meddistill.run.tables import Rejected, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

READ, REJECTED, EITHER = "read", "rejected", "either"


def png(pixels=None):
    content = io.BytesIO()
    Image.fromarray(image(5) if pixels is None else pixels).save(content, "PNG")
    return content.getvalue()


def jpeg(pixels=None, **options):
    content = io.BytesIO()
    Image.fromarray(image(5) if pixels is None else pixels).save(
        content, "JPEG", quality=95, **options
    )
    return content.getvalue()


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png_bomb(width, height):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def bmp_bomb():
    head = struct.pack("<IiiHHIIiiII", 40, 20000, 20000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


def tiff_bomb():
    content = io.BytesIO()
    Image.fromarray(image(5)).save(content, "TIFF")
    changed = bytearray(content.getvalue())
    start = struct.unpack_from("<I", changed, 4)[0]
    for index in range(struct.unpack_from("<H", changed, start)[0]):
        place = start + 2 + 12 * index
        if struct.unpack_from("<H", changed, place)[0] in (256, 257):
            struct.pack_into("<HI", changed, place + 2, 4, 1)
            struct.pack_into("<I", changed, place + 8, 20000)
    return bytes(changed)


def gif_bomb():
    return (
        b"GIF89a"
        + struct.pack("<HH", 60000, 60000)
        + b"\x80\0\0\0\0\0\xff\xff\xff"
        + b",\0\0\0\0"
        + b"\0" * 20
    )


def text_bomb():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "A" * 80_000_000, zip=True)
    content = io.BytesIO()
    Image.fromarray(image(5)).save(content, "PNG", pnginfo=info)
    return content.getvalue()


def bad_checksum():
    content = bytearray(png())
    content[40] ^= 0xFF
    return bytes(content)


def frames(kind):
    first, second = Image.fromarray(image(1)), Image.fromarray(image(2))
    content = io.BytesIO()
    first.save(content, kind, save_all=True, append_images=[second])
    return content.getvalue()


def tiff(values):
    content = io.BytesIO()
    imwrite(content, values)
    return content.getvalue()


def with_value(value):
    values = image(5).astype(np.float32)
    values[3, 3] = value
    return tiff(values)


# --- the image is hostile: name of the file, its bytes, what is to become of it
# ------------------------------------

IMAGES = {
    "zero bytes": ("x.png", b"", REJECTED),
    "truncated png": ("x.png", png()[:300], REJECTED),
    "truncated jpeg": ("x.jpg", jpeg()[:400], REJECTED),
    "png signature only": ("x.png", png()[:8], REJECTED),
    "png header only": ("x.png", png()[:33], REJECTED),
    "png with a bad checksum": ("x.png", bad_checksum(), REJECTED),
    "png with rubbish behind": ("x.png", png() + b"rubbish" * 50, READ),
    "jpeg with rubbish behind": ("x.jpg", jpeg() + b"rubbish" * 50, READ),
    "text": ("x.png", b"I am a picture, honestly.\n", REJECTED),
    "html": ("x.jpg", b"<!doctype html><title>404</title>", REJECTED),
    "svg": ("x.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", REJECTED),
    "zip": ("x.png", b"PK\x03\x04" + b"\0" * 200, REJECTED),
    "nul bytes": ("x.tif", b"\0" * 10_000, REJECTED),
    "random bytes": ("x.png", np.random.default_rng(1).bytes(5000), REJECTED),
    "tiff signature and rubbish": ("x.tif", b"II*\0" + b"\xff" * 500, REJECTED),
    "tiff that points to itself": ("x.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", REJECTED),
    "bmp signature only": ("x.bmp", b"BM", REJECTED),
    "gif signature only": ("x.gif", b"GIF89a", REJECTED),
    "webp signature only": ("x.webp", b"RIFF\x10\0\0\0WEBPVP8 ", REJECTED),
    "jpeg called png": ("x.png", jpeg(), READ),
    "png called jpeg": ("x.jpg", png(), READ),
    "png called TIF": ("x.TIF", png(), READ),
    "1x1": ("x.png", png(np.array([[7]], dtype=np.uint8)), REJECTED),
    "1xN": ("x.png", png(image(5)[:1]), REJECTED),
    "Nx1": ("x.png", png(image(5)[:, :1]), REJECTED),
    "20000x20000 png": ("x.png", png_bomb(20000, 20000), REJECTED),
    "12000x12000 png": ("x.png", png_bomb(12000, 12000), REJECTED),
    "1x200000000 png": ("x.png", png_bomb(200_000_000, 1), REJECTED),
    "0x0 png": ("x.png", png_bomb(0, 0), REJECTED),
    "20000x20000 bmp": ("x.bmp", bmp_bomb(), REJECTED),
    "20000x20000 tiff": ("x.tif", tiff_bomb(), REJECTED),
    "60000x60000 gif": ("x.gif", gif_bomb(), REJECTED),
    "80 MB of compressed text": ("x.png", text_bomb(), EITHER),
    "NaN": ("x.tif", with_value(np.nan), REJECTED),
    "infinity": ("x.tif", with_value(np.inf), REJECTED),
    "largest float": ("x.tif", with_value(np.finfo(np.float32).max), READ),
    "complex numbers": ("x.tif", tiff(image(5).astype(np.complex64)), REJECTED),
    "all black": ("x.png", png(np.zeros((24, 24), dtype=np.uint8)), REJECTED),
    "all white": ("x.jpg", jpeg(np.full((24, 24), 255, dtype=np.uint8)), REJECTED),
    "constant 16 bits": ("x.png", png(np.full((24, 24), 3000, dtype=np.uint16)), REJECTED),
    "fully transparent": ("x.png", png(np.zeros((24, 24, 4), dtype=np.uint8)), REJECTED),
    "several pages": ("x.tif", frames("TIFF"), REJECTED),
    "animation": ("x.gif", frames("GIF"), REJECTED),
    "broken exif": ("x.jpg", jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 30), READ),
    "resource fork of a Mac": ("._x.png", b"\0\x05\x16\x07\0\x02\0\0Mac OS X", REJECTED),
    "no image type": ("x.npy", b"\x93NUMPY", REJECTED),
    "no stem": (".png", png(), REJECTED),
}


# --- the name is hostile: the picture is good, and has its mask
# --------------------------------------------------

NAMES = {
    "spaces": "two  words .png",
    "quotes": 'it\'s "x".png',
    "newline": "line\nbreak.png",
    "tab": "a\tb.png",
    "carriage return": "a\rb.png",
    "umlauts": "Größe-ß.png",
    "chinese": "肿瘤.png",
    "emoji": "🧠.png",
    "right to left": "\u202egnp.x.png",
    "leading dash": "-rf.png",
    "leading dashes": "--help.png",
    "leading dots": "..png.png",
    "dots inside": "a..b.png",
    "dots only": "....png",
    "looks like up": "..%2f..%2fx.png",
    "backslashes": "..\\..\\x.png",
    "a formula": "=1+1.png",
    "comma": "a,b;c.png",
    "percent": "%s%n.png",
    "markup": "[red]x[b].png",
    "script": "<script>alert(1)<script>.png",
    "long": "x" * 240 + ".png",
    "a device of Windows": "con.png",
    "star": "*.png",
    "dollar": "$(touch x).png",
    "tilde": "~.png",
    "bytes that are no UTF-8": b"caf\xe9.png",
    "only strange letters": "£€.png",
    "trailing dot": "x..png",
}


def make_image(source, name, content):
    (source / "images" / name).write_bytes(content)
    save(source / "masks" / f"{os.path.splitext(name)[0]}.png", mask())


def make_named(source, name):
    for kind, pixels in (("images", image(5)), ("masks", mask())):
        folder = os.fsencode(source / kind)
        with open(os.path.join(folder, os.fsencode(name)), "wb") as file:
            file.write(png(pixels))


# --- the mask is hostile, or what stands in a folder is no file
# ---------------------------------------------------


def mask_file(name, content):
    def make(source):
        (source / "images" / "x.png").write_bytes(png())
        (source / "masks" / name).write_bytes(content)

    return make


def two_images(first, second):
    def make(source):
        (source / "images" / first).write_bytes(png(image(5)))
        (source / "images" / second).write_bytes(png(image(6)))
        save(source / "masks" / "x.png", mask())

    return make


def two_cases_of_letters(source):
    for name in ("x.png", "X.png"):
        make_image(source, name, png(image(ord(name[0]))))


def two_masks(source):
    (source / "images" / "x.png").write_bytes(png())
    for name in ("x.png", "x.jpg"):
        save(source / "masks" / name, mask())


def no_image_of_the_mask(source):
    save(source / "masks" / "x.png", mask())


def loop_of_folders(source):
    (source / "images" / "x.png").symlink_to(source / "images", target_is_directory=True)


def link(target):
    def make(source):
        (source / "images" / "x.png").symlink_to(target)
        save(source / "masks" / "x.png", mask())

    return make


def link_to_good_picture_outside(source):
    outside = source.parent / "outside.png"
    outside.write_bytes(png())
    link(outside)(source)


def forbidden(source):
    make_image(source, "x.png", png())
    (source / "images" / "x.png").chmod(0)


def folder_called_like_a_picture(source):
    (source / "images" / "x.png").mkdir()


def forbidden_folder(source):
    (source / "images" / "x.png").mkdir(mode=0)


def pipe(source):
    os.mkfifo(source / "images" / "x.png")
    save(source / "masks" / "x.png", mask())


def pipe_as_mask(source):
    (source / "images" / "x.png").write_bytes(png())
    os.mkfifo(source / "masks" / "x.png")


def unix_socket(source):
    here = os.getcwd()
    os.chdir(source / "images")  # the path of a socket has 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("x.png")
    finally:
        os.chdir(here)


SCENES = {
    "mask of other size": (mask_file("x.png", png(np.zeros((9, 7), dtype=np.uint8))), REJECTED),
    "mask on its side": (mask_file("x.png", png(np.zeros((24, 23), dtype=np.uint8))), REJECTED),
    "mask of zero bytes": (mask_file("x.png", b""), REJECTED),
    "mask truncated": (mask_file("x.png", png(image(3))[:200]), REJECTED),
    "mask is text": (mask_file("x.png", b"none"), REJECTED),
    "mask with NaN": (mask_file("x.tif", with_value(np.nan)), REJECTED),
    "mask below zero": (mask_file("x.tif", with_value(-1)), REJECTED),
    "mask of label numbers": (mask_file("x.png", png(mask(3))), REJECTED),
    "mask too faint": (mask_file("x.jpg", jpeg(mask(90))), REJECTED),
    "mask is a bomb": (mask_file("x.png", png_bomb(20000, 20000)), REJECTED),
    "mask of the whole image": (
        mask_file("x.png", png(np.full((24, 24), 255, dtype=np.uint8))),
        READ,
    ),
    "mask of 0 and 1": (mask_file("x.png", png(mask(1))), READ),
    "mask in colour": (mask_file("x.png", png(np.dstack([mask()] * 3))), READ),
    "mask with transparency": (mask_file("x.png", png(np.dstack([mask()] * 4))), READ),
    "mask of another image": (no_image_of_the_mask, REJECTED),
    "two masks of a stem": (two_masks, REJECTED),
    "two images of a stem": (two_images("x.png", "x.jpg"), REJECTED),
    "endings in two cases": (two_images("x.png", "x.PNG"), REJECTED),
    "stems in two cases": (two_cases_of_letters, READ),
    "loop of folders": (loop_of_folders, REJECTED),
    "link to itself": (link("x.png"), REJECTED),
    "link to nowhere": (link("/nonexistent/x.png"), REJECTED),
    "link to a text file": (link("/etc/hostname"), REJECTED),
    "link to an endless device": (link("/dev/zero"), REJECTED),
    "link to a picture outside": (link_to_good_picture_outside, READ),
    "forbidden": (forbidden, EITHER),  # root may read it
    "folder called like a picture": (folder_called_like_a_picture, REJECTED),
    "forbidden folder": (forbidden_folder, REJECTED),
    "pipe": (pipe, REJECTED),
    "pipe as mask": (pipe_as_mask, EITHER),  # an image without a mask is unknown
    "socket": (unix_socket, REJECTED),
}

HOSTILE = {
    **{
        what: (lambda s, n=name, c=content: make_image(s, n, c), fate)
        for what, (name, content, fate) in IMAGES.items()
    },
    **{f"name: {what}": (lambda s, n=name: make_named(s, n), READ) for what, name in NAMES.items()},
    **SCENES,
}


def snapshot(directory):
    return {path: path.lstat().st_mtime_ns for path in directory.rglob("*")}


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 60


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_read_right_or_listed(tmp_path, what):
    make, fate = HOSTILE[what]
    source = tmp_path / "source"
    for number in range(3):
        save(source / "images" / f"good{number}.png", image(number))
        save(source / "masks" / f"good{number}.png", mask())
    make(source)
    before = snapshot(tmp_path)
    config = PrepareConfig(
        source=str(source), dataset="folder", test_fraction=0.0, val_fraction=0.0, duplicate_bits=0
    )
    out = run_prepare(RunDir(tmp_path / "run"), config, seed=0)

    cases = read_cases(out)
    reasons = {row.source: row.reason for row in read_table(out / "rejected.csv", Rejected)}
    assert {"good0", "good1", "good2"} <= {case.case_id for case in cases}
    others = [case for case in cases if not case.case_id.startswith("good")]
    for case in others:  # read right
        assert read_rgb(image_path(out, case)).shape == (case.height, case.width, 3)
        if case.has_mask and what not in ("mask of the whole image",):
            assert (read_mask(mask_path(out, case)) == (mask() > 0)).all()
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert not any("good" in name for name in reasons)
    assert bool(others) == (fate == READ) or fate == EITHER
    assert bool(reasons) == (fate == REJECTED) or fate == EITHER
    changed = {path for path, when in snapshot(tmp_path).items() if before.get(path) != when}
    assert all(path == tmp_path / "run" or tmp_path / "run" in path.parents for path in changed)
