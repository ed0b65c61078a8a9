"""Maps of a sweep, one file each: ``plot(store, ax=None, ...)`` draws and returns the axes."""
