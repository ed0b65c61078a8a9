"""Profiles of devices fitted to figures that others measured and published.

``python -m tspsim.calibrate.published`` reads ``published/*.csv`` and writes
``topologies/profiles/*-published.yaml`` and a picture of every fit: the same rows, the same bytes.
"""
