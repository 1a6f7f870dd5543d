"""Rows of `frames.parquet` as tests of file orders need them: in shard order, not the official."""

import pyarrow as pa


def dexycb_frames(num_frames: int = 3) -> pa.Table:
    """Two subjects, two sequences each, two cameras each; frame 0 of each clip without a hand."""
    rows = [
        {
            "subject": subject,
            "sequence": sequence,
            "camera": camera,
            "frame": frame,
            "side": "left" if camera.startswith("9") else "right",
            "joints_in_image": 21 if frame else -1,
        }
        for camera in ("932122060857", "836212060125")
        for subject, days in (("20200903-subject-04", 3), ("20200820-subject-03", 2))
        for sequence in (f"2020090{days}_120000", f"2020090{days}_110000")
        for frame in range(num_frames)
    ]
    return pa.Table.from_pylist(rows)


def ho3d_frames() -> pa.Table:
    """Five frames of two sequences, in another order than `HO3D_LIST`."""
    pairs = [("AP10", 0), ("AP10", 2), ("SM1", 0), ("SM1", 1), ("SM1", 7)]
    return pa.Table.from_pylist([{"sequence": s, "frame": f} for s, f in pairs])


HO3D_LIST = "SM1/0000\nSM1/0001\nSM1/0007\nAP10/0000\nAP10/0002\n"
