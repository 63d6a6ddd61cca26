"""The layouts that `prepare` reads, one module each; `known_sources` chooses among them."""
