"""Numbers and names of the tracks of a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator

#: More tracks than a rank has streams. The links, which may have more, are the last process.
STRIDE = 1000


def tid(pid: int, place: int) -> int:
    """Return the number of a track.

    Unlike what the format says, Perfetto takes tid 0 of all processes for one and the same thread,
    and a tid that equals its pid for the process itself: every track gets a number of its own.

    Parameters
    ----------
    pid : int
        The process: a rank, or the number behind the last rank for the links.
    place : int
        The track's place in its process, from 0.
    """
    return STRIDE * (pid + 1) + place


def name_process(pid: int, name: str) -> Iterator[str]:
    """Yield the events that name a process and put it at its place."""
    head = f'{{"ph":"M","pid":{pid},'
    yield f'{head}"name":"process_name","args":{{"name":{_text(name)}}}}}'
    yield f'{head}"name":"process_sort_index","args":{{"sort_index":{pid}}}}}'


def name_track(pid: int, place: int, name: str) -> Iterator[str]:
    """Yield the events that name a track and put it at its place."""
    head = f'{{"ph":"M","pid":{pid},"tid":{tid(pid, place)},'
    yield f'{head}"name":"thread_name","args":{{"name":{_text(name)}}}}}'
    yield f'{head}"name":"thread_sort_index","args":{{"sort_index":{place}}}}}'


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
