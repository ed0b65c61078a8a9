"""Files, tables and pictures of one `Result`, made from it and from nothing else."""
