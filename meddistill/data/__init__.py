"""What a case is: sources, images, masks, boxes, splits, and what the student sees of them."""
