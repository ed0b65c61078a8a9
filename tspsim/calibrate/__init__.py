"""A real TSP on torch.distributed, and constants fitted to measurements: `tspsim[calibrate]`."""
