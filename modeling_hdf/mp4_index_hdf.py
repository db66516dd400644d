"""What the index of an MP4 or QuickTime file says: its number of packets, and the display matrix of a track.

The packets are counted before FFmpeg allocates memory for them: the index of a track can declare 50 million packets in
20 bytes. See ISO/IEC 14496-12, section 8.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import BinaryIO

_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid")
_OF_BOXES = (b"moov", b"cmov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
_MOST_INFLATED = 32 << 20  # bytes of a compressed index that are looked at
_BYTES_OF_ENTRY = 4  # the least that the index of a packet takes
_DEPTH = 10  # FFmpeg does not look deeper either


@dataclass
class _Track:
    handler: bytes = b""
    packets: int = 0
    is_one_tick_each: bool = False

    @property
    def entries(self) -> int:
        # In uncompressed sound each sample is a packet of one tick, which FFmpeg reads in chunks.
        return 0 if self.handler == b"soun" and self.is_one_tick_each else self.packets


def count_index_entries(source: str | BinaryIO) -> int:
    """Packets that the boxes `stsz`, `stz2` and `trun` of all tracks declare; 0 for a file of another kind. The index
    may be compressed, as in old QuickTime files. A very long one counts by its length.

    `source` is a path, or a file object that can seek and ends at its start.
    """
    if isinstance(source, str):
        with open(source, "rb") as file:
            return count_index_entries(file)
    source.seek(4)
    count = _count(source) if source.read(4) in _FIRST else 0
    source.seek(0)
    return count


def track_matrix(source: str | BinaryIO, track: int) -> tuple[float, float, float, float] | None:
    """The numbers a, b, c, d of a track's matrix, see [`Display`]; `None` for a file or a track of another kind.

    `source` as in [`count_index_entries`], `track` is the number of the track. A file object keeps its position.
    """
    if isinstance(source, str):
        with open(source, "rb") as file:
            return track_matrix(file, track)
    position = source.tell()
    try:
        source.seek(4)
        if source.read(4) in _FIRST:
            for kind, start, _ in _boxes(source, 0, source.seek(0, SEEK_END)):
                if kind == b"tkhd":
                    source.seek(start)
                    content = source.read(96)
                    found, numbers = (20, 52) if content[:1] == b"\1" else (12, 40)  # version 1 has longer times
                    if len(content) >= numbers + 20 and struct.unpack_from(">I", content, found) == (track,):
                        a, b, _, c, d = struct.unpack_from(">5i", content, numbers)
                        return a, b, c, d
    finally:
        source.seek(position)
    return None


def _count(file: BinaryIO, depth: int = 0) -> int:
    tracks, compressed = [_Track()], 0
    for kind, start, size in _boxes(file, 0, file.seek(0, SEEK_END)):
        if kind in (b"trak", b"traf"):
            tracks.append(_Track())
        track = tracks[-1]
        if kind == b"cmvd":
            file.seek(start)
            compressed += _count_compressed(file.read(min(size, _MOST_INFLATED)), depth + 1)
        elif kind in (b"stsz", b"stz2", b"trun", b"hdlr", b"stts"):
            file.seek(start)
            numbers = struct.unpack(">4I", file.read(min(size, 16)).ljust(16, b"\0"))
            if kind == b"hdlr":
                track.handler = track.handler or struct.pack(
                    ">I", numbers[2]
                )  # QuickTime has a second handler for the data
            elif kind == b"stts":
                track.is_one_tick_each = numbers[1] == 1 and numbers[3] == 1
            else:
                track.packets += numbers[1 if kind == b"trun" else 2]
    return sum(track.entries for track in tracks) + compressed


def _count_compressed(content: bytes, depth: int) -> int:
    """Packets of the index in a box `cmvd`: its length, and its boxes as a zlib stream."""
    length = int.from_bytes(content[:4], "big")
    if length > _MOST_INFLATED:
        return length // _BYTES_OF_ENTRY
    if not length or depth > _DEPTH:
        return 0
    try:
        return _count(BytesIO(zlib.decompressobj().decompress(content[4:], length)), depth)
    except zlib.error:  # FFmpeg cannot read it either
        return 0


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and size of the content of each box, also of nested boxes."""
    ends = [end]
    while ends:
        if start + 8 > ends[-1]:
            start = ends.pop()
            continue
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0], 16
        if size == 0:
            size = ends[-1] - start
        if size < header:  # damaged; FFmpeg also stops here
            start = ends.pop()
            continue
        size = min(size, ends[-1] - start)
        yield kind, start + header, size - header
        if kind in _OF_BOXES:
            ends.append(start + size)
            start += header
        else:
            start += size


__all__ = ["count_index_entries", "track_matrix"]
