"""Figures of a timeline, and how figures spread over runs."""
