"""The layouts that `prepare` reads, one module each; `registry` chooses among them."""
