"""Ways for new tokens to meet what is in a cache that is cut over ranks: one file each."""
