"""How good the student is: metrics, statistics, pictures, report."""
