"""What student and teacher settle between them after a round of training."""
