"""Reads what others measured with their own tools: tables, logs and traces."""
