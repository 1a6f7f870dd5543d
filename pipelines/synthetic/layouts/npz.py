"""A fast npz encoder that gives the same bytes at every call."""

import io
import zipfile

import numpy as np

_LEVEL = 1


def pack_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz as `numpy.savez_compressed` writes it, but faster, without times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for key, value in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{key}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, _LEVEL
            )
    return buffer.getvalue()
