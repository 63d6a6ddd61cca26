"""XML files of label tools. Uses defusedxml: entities can blow a small file up to gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from meddistill.base.errors import FileError, in_one_line
from meddistill.data.formats.text_files import decode


def read_xml(path: Path) -> Any:
    """The root element. Raises: InputError for a file that is broken, or declares a document
    type."""
    try:
        content = path.read_bytes()
        # Of UTF-16 the mark may be missing, or the declaration may name another.
        return fromstring(decode(content) if b"\0" in content[:200] else content, forbid_dtd=True)
    except DefusedXmlException:
        raise FileError(path, "declares a document type, which no annotation needs") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise FileError(path, f"is not a readable annotation: {in_one_line(error)}") from error
