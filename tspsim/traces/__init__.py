"""Traces of ``torch.profiler`` (Kineto), read: whose they are, what ran in them, and when."""
