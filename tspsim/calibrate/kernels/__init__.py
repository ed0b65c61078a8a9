"""Kernel tables from what others measured, or from a trace of one's own run."""
