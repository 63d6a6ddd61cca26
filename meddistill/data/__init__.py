"""What a case is: images, masks, boxes, and what the student sees of them."""
