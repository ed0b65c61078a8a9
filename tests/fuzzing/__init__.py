"""Random and hostile input: one file per class of it, a judge, and processes that may die of it."""
