"""What a student says of itself: how familiar an image is, how good its mask may be expected to be,
whether anything is there, what its probabilities mean; and the file that this is kept in."""
