"""The process ``links`` of a trace: a track per link that carried something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tspsim.engine.timeline import Transfer
from tspsim.output.trace_times import microseconds
from tspsim.output.trace_tracks import name_process, name_track, tid
from tspsim.topology.graph import Topology

#: Slices beyond which a viewer gets slow and the file large: further links are left out.
LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class LinkTracks:
    """The links that a trace shows.

    Parameters
    ----------
    topology : Topology
    transfers : tuple of Transfer
    links : tuple of int
        Indices of the links that have tracks.
    note : str
        Which links those are, in words.
    """

    topology: Topology
    transfers: tuple[Transfer, ...]
    links: tuple[int, ...]
    note: str

    def events(self, pid: int) -> Iterator[list[str]]:
        """Yield the events of one link after another."""
        if not self.links:
            return
        yield list(name_process(pid, "links"))
        carried = self._carried()
        place = 0
        for link in self.links:
            lines, tracks = self._of_link(pid, place, link, carried[link])
            yield lines
            place += tracks

    def _carried(self) -> dict[int, list[tuple[float, float, str]]]:
        """Return start, duration and text of every transfer on every link that is shown."""
        times = microseconds([t.start for t in self.transfers], [t.end for t in self.transfers])
        carried: dict[int, list[tuple[float, float, str]]] = {link: [] for link in self.links}
        for transfer, start, duration in zip(self.transfers, *times, strict=True):
            if not duration:
                continue
            head = _text(transfer)
            for link, load in transfer.loads:
                if link in carried and load:
                    text = f'{head},"bytes":{load * transfer.bytes!r}}}}}'
                    carried[link].append((start, duration, text))
        return carried

    def _of_link(
        self, pid: int, first: int, link: int, carried: list[tuple[float, float, str]]
    ) -> tuple[list[str], int]:
        """Return the events of a link, and the number of tracks that they need."""
        tracks = pack([(start, start + duration) for start, duration, _ in carried])
        count = max(tracks, default=-1) + 1
        lines: list[str] = []
        for extra in range(count):
            name = self.topology.links[link].name + (f" #{extra + 1}" if extra else "")
            lines += name_track(pid, first + extra, name)
        head = f'{{"ph":"X","pid":{pid},"tid":'
        lines += [
            f'{head}{tid(pid, first + extra)},"ts":{start!r},"dur":{duration!r},{text}'
            for extra, (start, duration, text) in zip(tracks, carried, strict=True)
        ]
        return lines, count


def choose(transfers: tuple[Transfer, ...], topology: Topology, limit: int = LIMIT) -> LinkTracks:
    """Return the links to show: all that carried something, or the first of them.

    Parameters
    ----------
    transfers : tuple of Transfer
    topology : Topology
    limit : int
        Number of slices that all tracks together may have.
    """
    counts: Counter[int] = Counter()
    for transfer in transfers:
        counts.update(link for link, load in transfer.loads if load)
    used = sorted(counts)
    shown: list[int] = []
    slices = 0
    for link in used:
        slices += counts[link]
        if slices > limit and shown:
            break
        shown.append(link)
    note = f"{len(shown)} of {len(used)} used links"
    if len(shown) < len(used):
        note += f": the others are left out, to stay below {limit} slices"
    return LinkTracks(topology, transfers, tuple(shown), note)


def pack(intervals: list[tuple[float, float]]) -> list[int]:
    """Return a track for every interval, such that none overlaps another on its track.

    First fit in order of start, which needs no more tracks than intervals overlap at once.

    Parameters
    ----------
    intervals : list of (float, float)
        Start and end, ordered by start.
    """
    free: list[float] = []
    tracks = []
    for start, end in intervals:
        for track, until in enumerate(free):
            if until <= start:
                free[track] = end
                break
        else:
            track = len(free)
            free.append(end)
        tracks.append(track)
    return tracks


def _text(transfer: Transfer) -> str:
    """Return what a slice says about its transfer, up to the bytes on the link."""
    ranks = ",".join(map(str, transfer.ranks))
    return (
        f'"name":"{transfer.collective}","cat":"{transfer.algorithm}",'
        f'"args":{{"op":{transfer.op},"ranks":[{ranks}],"message":{transfer.bytes}'
    )
