"""Pipeline schedules, one file each: the order in which every rank runs its passes."""
