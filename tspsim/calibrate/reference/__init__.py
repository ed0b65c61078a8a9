"""TSP, TP, SP and TP+SP in plain torch.distributed, written from the design alone."""
