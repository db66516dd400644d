"""One clock for a video whose own clock starts again, as in files that were joined (`cat 1.ts 2.ts`) and on DVDs."""

from fractions import Fraction

import av

_BACK = Fraction(1, 10)  # seconds; packets come in decoding order, so any step back is a new clock or a fault
_ON_TRIAL = 1  # seconds in which the clock before may come back


class JoinedClock:
    """
    Lets time go on where the packets of a stream step back in time. If the clock before comes back within a second, a
    few packets had a wrong time: then it counts again.
    """

    def __init__(self):
        self._shift = self._before = self._began = Fraction(0)  # seconds; the last is where `_shift` began to count
        self._last: Fraction | None = None
        self._next = Fraction(0)  # end of the last packet

    def read(self, packet: av.Packet) -> None:
        """Takes the time of the next packet of the stream, in seconds."""
        if packet.dts is None:
            return
        time = packet.dts * packet.time_base
        if self._last is not None and time + self._shift < self._last - _BACK:
            self._before, self._shift, self._began = self._shift, self._next - time, self._next
        elif self._last is not None and time + self._before >= self._last and self._last < self._began + _ON_TRIAL:
            self._shift = self._before
        self._last = time + self._shift
        self._next = self._last + (packet.duration or 0) * packet.time_base

    def correct(self, packet: av.Packet) -> None:
        """Moves the times of a packet of any stream to this clock."""
        ticks = round(self._shift / packet.time_base) if self._shift else 0
        if ticks and packet.pts is not None:
            packet.pts += ticks
        if ticks and packet.dts is not None:
            packet.dts += ticks


__all__ = ["JoinedClock"]
