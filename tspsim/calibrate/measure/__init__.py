"""Measures the machine: what ops, collectives and whole blocks of the reference take on it."""
