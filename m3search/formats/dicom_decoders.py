"""Which decoders pydicom may use: those that survive damaged files, wherever there is a choice.

GDCM ends the process on some damaged JPEG streams (an uncaught C++ exception), and pylibjpeg's RLE decoder raises what
is no Exception (a Rust panic). On whole files all decoders of a syntax give the same values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

RLE = "1.2.840.10008.1.2.5"


def decoder_of(syntax: UID) -> Decoder:
    """The decoder of a transfer syntax, for the rest of the process without the unsafe plugin if it has another.

    Raises:
        NotImplementedError: pydicom knows no decoder for it, by whatever plugin.
    """
    from pydicom.pixels.decoders.base import get_decoder

    from m3search.formats import dicom_jpeg12

    dicom_jpeg12.register()
    decoder = get_decoder(syntax)
    unsafe = "pylibjpeg" if syntax == RLE else "gdcm"
    if unsafe in decoder.available_plugins and len(decoder.available_plugins) > 1:
        decoder.remove_plugin(unsafe)
    return decoder
