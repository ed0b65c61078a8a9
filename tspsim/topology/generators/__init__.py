"""Topology generators: one file each, named as ``kind:`` in a scenario."""
