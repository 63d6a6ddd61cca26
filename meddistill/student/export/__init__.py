"""A student as one file for other programs."""
