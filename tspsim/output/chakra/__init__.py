"""Chakra's execution traces: what every rank computes and says, as a graph of nodes."""
