"""Files that people write: read with places, checked, and refused with a reason."""
