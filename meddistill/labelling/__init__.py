"""Boxes drawn in the browser: the journal of what people did, the page, and what helps them."""
