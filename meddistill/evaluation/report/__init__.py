"""The page that shows an evaluation: report.html with its charts and pictures."""
