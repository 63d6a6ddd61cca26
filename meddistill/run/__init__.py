"""What lies in a RUN: its directories and files, its tables, when a stage is finished, who
writes.
"""
