"""How the levels of the loss are balanced, case by case: a weighting a module, and the table of
them."""
