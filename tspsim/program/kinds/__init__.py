"""Op kinds: each has its work, its values and its text in one place."""
