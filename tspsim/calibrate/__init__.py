"""A real TSP on torch.distributed, and constants fitted to what is measured; needs tspsim[calibrate]."""
