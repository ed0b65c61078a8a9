"""Collective algorithms, one file each: what every one sends, and how long that takes."""
