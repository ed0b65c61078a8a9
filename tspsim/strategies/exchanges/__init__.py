"""Ways for queries to meet keys and values that other ranks hold: one file each."""
