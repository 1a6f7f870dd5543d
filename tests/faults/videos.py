"""Small videos of every format that is read, and files that are no video by themselves."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from deformer.video.frames import Video
from tests.faults.images import jpegs, resized

_MOST_FRAMES = 200
"""As many are read of one file: a whole video may go on for hours."""
WIDTH, HEIGHT, NUM = 96, 64, 5  # smaller ones crash the encoder x265
FAST = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "ts": ("libx264", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "webm": ("libvpx", "yuv420p"),
    "mpg": ("mpeg2video", "yuv420p"),
    "wmv": ("wmv2", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "gif": ("gif", "rgb8"),
    "y4m": ("wrapped_avframe", "yuv420p"),
    "h264": ("libx264", "yuv420p"),
    "3gp": ("h263", "yuv420p"),
    "mov": ("prores_ks", "yuv422p10le"),
    "mjpeg": ("mjpeg", "yuvj420p"),
    "ogv": ("libvpx", "yuv420p"),
    "m4v": ("mpeg4", "yuv420p"),
}
"""Suffix → codec and its pixels."""
MORE = {
    "mp4": ("libx265", "yuv420p10le"),
    "mkv": ("ffv1", "gray16le"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("rawvideo", "bgr24"),
    "mov": ("png", "rgb24"),
    "ts": ("mpeg2video", "yuv420p"),
}
"""Rarer, or slow to write."""

Y4M = b"YUV4MPEG2 W%d H%d F20:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(1000)
"""Of a width and a height, cut off."""


def write(path: Path, codec: str, pixels: str) -> bytes:
    size = (176, 144) if codec == "h263" else (WIDTH, HEIGHT)
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 20, options={"g": "3", "threads": "1"} | quiet)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 20)
        for k in range(NUM):
            coarse = np.random.default_rng(k).integers(0, 256, (4, 6, 3), np.uint8)
            image = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = k, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def videos(folder: Path, kinds: dict[str, tuple[str, str]]) -> dict[str, bytes]:
    return {
        f"{suffix}, {codec}": write(folder / f"whole.{suffix}", codec, pixels)
        for suffix, (codec, pixels) in kinds.items()
    }


def read_video(path: Path) -> str | None:
    """Read a video, or a folder of pictures, and check its frames; its fault."""
    video, last_s = Video(path), -1.0
    for frame in video:
        assert frame.image_rgb.shape == (video.info.height, video.info.width, 3)
        assert last_s < frame.time_s, "times do not rise"
        last_s = frame.time_s
        if frame.index == _MOST_FRAMES:
            break
    return video.fault


# ------------------------------------------------------------------------------------------- bombs


def mp4_bombs(mp4: bytes) -> dict[str, bytes]:
    """An MP4 video with absurd numbers in its boxes."""
    most, sideways = 2**32 - 1, (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)

    def samples(number: int) -> bytes:
        return _put(mp4, (b"stsz", 4, "II", 1, number), (b"stsc", 8, "III", 1, number, 1),
                    (b"stts", 8, "II", number, 512))  # fmt: skip

    return {
        "67 million frames": samples(1 << 26),
        "2³¹ frames": samples(2**31),
        "4 million frames": samples(1 << 22),
        "frames of 4 GiB": _put(mp4, (b"stsz", 4, "II", most, 5)),
        "no time between frames": _put(mp4, (b"stts", 8, "II", NUM, 0)),
        "times that fall": _put(mp4, (b"stts", 8, "Ii", NUM, -512)),
        "frames of years": _put(mp4, (b"stts", 8, "II", NUM, 2**31 - 1)),
        "no unit of time": _put(mp4, (b"mdhd", 12, "I", 0)),
        "a large unit of time": _put(mp4, (b"mdhd", 12, "I", 1)),
        "a small unit of time": _put(mp4, (b"mdhd", 12, "I", most)),
        "years of pictures": _put(mp4, (b"mdhd", 16, "I", most)),
        "no unit of the whole's time": _put(mp4, (b"mvhd", 12, "I", 0)),
        "turned by nothing": _put(mp4, (b"tkhd", 40, "9i", *[0] * 9)),
        "turned by very much": _put(mp4, (b"tkhd", 40, "9i", *[2**31 - 1] * 9)),
        "turned by a quarter": _put(mp4, (b"tkhd", 40, "9i", *sideways)),
        "30,000 × 30,000 px": _put(mp4, (b"avc1", 24, "HH", 30_000, 30_000)),
        "an unknown codec": mp4.replace(b"avc1", b"XXXX"),
        "another codec": mp4.replace(b"avc1", b"mjpg"),
        "raw pixels": mp4.replace(b"avc1", b"raw "),
        "sound only": mp4.replace(b"vide", b"soun"),
        "boxes in boxes": b"\0\0\xff\xffmoov" * 8000 + mp4,
        "twice": mp4 + mp4,
    }


def _put(data: bytes, *values: tuple) -> bytes:
    """With numbers at places after the name of a box."""
    changed = bytearray(data)
    for box, offset, kinds, *numbers in values:
        struct.pack_into(f">{kinds}", changed, data.index(box) + 4 + offset, *numbers)
    return bytes(changed)


def other_bombs(whole: dict[str, bytes]) -> dict[str, bytes]:
    small, large = (Y4M % (size, size) + bytes(6000) for size in (64, 6000))
    return {
        "y4m of 30,000 px square": Y4M % (30_000, 30_000),
        "y4m of no rate": small.replace(b"F20:1", b"F20:0"),
        "y4m of a high rate": small.replace(b"F20:1", b"F2147483647:1"),
        "y4m of another size": small + large,
        "GIF of 65,535 px square": _gif(whole, 65_535),
        "GIF of 16,000 px square": _gif(whole, 16_000),
        "MJPEG of 16,000 px square": resized(jpegs()["4:2:0"], 16_000) * 3,
        "MJPEG of 8,192 px square": resized(jpegs()["4:2:0"], 8192) * 3,
        "GIF without an end": whole["gif, gif"][:-1] * 3,
        "sizes that change": whole["h264, libx264"] + whole["ts, libx264"],
        "zeros": bytes(1 << 20),
        "nothing": b"",
        "noise": np.random.default_rng(0).bytes(100_000),
    }


def _gif(whole: dict[str, bytes], size: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", size, size) + whole["gif, gif"][10:]


def lists(video: Path, address: str) -> dict[str, str]:
    """Files that are lists of others: of a video beside them, and of addresses of the network."""
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    mpd = ('<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
           'mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="video/mp4">'
           '<Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL><SegmentBase/>'
           "</Representation></AdaptationSet></Period></MPD>")  # fmt: skip
    named = {"name": video.name, "path": str(video), "file": f"file:{video}", "http": address}
    made = {
        f"{kind}, {how}": text.format(name)
        for how, name in named.items()
        for kind, text in {
            "playlist": playlist, "DASH": mpd, "DASH with its declaration": f"<?xml?>{mpd}",
            "ffconcat": "ffconcat version 1.0\nfile '{}'\n", "ASF": "[Reference]\nRef1={}\n",
            "QuickTime": "RTSPtext\n{}\n", "address": "{}\n", "concat": "concat:{}",
        }.items()
    }  # fmt: skip
    port = address.rpartition(":")[2].partition("/")[0]
    return made | {
        "playlist of a joint": playlist.format(f"concat:{video}|{video}"),
        "playlist of a pipe": playlist.format("pipe:0"),
        "playlist of a subfile": playlist.format(f"subfile,,start,0,end,0,,:{video}"),
        "SDP": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
               f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "SVG": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>',
        "MVG": f"push graphic-context\nfill 'url({address})'\npop graphic-context\n",
        "pattern": "%d.mp4",
    }  # fmt: skip
