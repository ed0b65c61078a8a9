"""Scenarios from the command lines and files of other tools, and the way back."""
