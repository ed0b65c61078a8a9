"""Why a step takes as long as it does, what fills the memory, and what would change either."""
