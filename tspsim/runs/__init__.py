"""What several steps add up to: one scenario under many seeds, and a job that fails."""
