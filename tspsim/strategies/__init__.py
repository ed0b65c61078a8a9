"""Parallel strategies, one file each: what a rank does, in issue order."""
