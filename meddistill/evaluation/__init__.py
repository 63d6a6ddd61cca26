"""How good the student is: metrics, statistics, tables."""
