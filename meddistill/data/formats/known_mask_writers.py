"""The mask writers that there are, by the kind of file that was predicted (`Scan.kind`).

Another one is a class in a module of its own (see `mask_writer.MaskWriter`) and a line here.
"""

from __future__ import annotations

from meddistill.data.formats.itk_mask_writer import ItkMaskWriter
from meddistill.data.formats.mask_writer import MaskWriter
from meddistill.data.formats.nifti_mask_writer import NiftiMaskWriter
from meddistill.data.formats.pages_mask_writer import PagesMaskWriter
from meddistill.data.formats.png_mask_writer import PngMaskWriter
from meddistill.data.formats.series_mask_writer import SeriesMaskWriter

MASK_WRITERS: dict[str, MaskWriter] = {
    "picture": PngMaskWriter(),
    "dicom": PngMaskWriter(),
    "nifti": NiftiMaskWriter(),
    "itk": ItkMaskWriter(),
    "pages": PagesMaskWriter(),
    "series": SeriesMaskWriter(),
}
