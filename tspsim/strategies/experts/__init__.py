"""Layouts of experts: what travels between tokens and their experts, one file each."""
