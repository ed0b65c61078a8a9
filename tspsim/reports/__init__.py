"""Tables, pictures and pages of many results: comparisons, maps, plans, explanations, reports."""
