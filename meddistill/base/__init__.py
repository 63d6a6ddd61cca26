"""What everything stands on and that knows nothing of medical images: errors, console, files,
hashes, downloads."""
