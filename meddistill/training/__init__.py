"""How the student learns: the loop, its step, losses and their weights, averages, checkpoints,
selection."""
