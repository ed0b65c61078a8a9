"""Requests through one replica: how long they wait, and how fast their tokens come."""
