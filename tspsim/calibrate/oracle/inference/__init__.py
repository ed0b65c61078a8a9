"""Steps of inference of the reference, under a fake process group: one layer of a large model.

``python -m tspsim.calibrate.oracle.inference FOLDER`` counts, of the first and last rank, what
torch computes in a step, the bytes of the keys and values that it keeps, and its messages in order.
`simulated` has the same numbers of the program that would be simulated, and what the two count
differently.
"""
