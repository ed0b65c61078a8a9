"""Pictures and files made from a `Result`, and from nothing else."""
