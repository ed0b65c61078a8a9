"""Ranks that provably behave alike are played once."""
