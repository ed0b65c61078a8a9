"""Plots, one file each: ``plot(result, ax=None, **options)`` draws and returns the axes."""
