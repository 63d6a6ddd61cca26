"""What the student learns from: targets, losses, weighting and the training loop."""
