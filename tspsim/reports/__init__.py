"""What is made of many runs, or explains one: maps, comparisons, plans, and the report."""
