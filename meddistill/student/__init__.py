"""The small network that is deployed: built, saved, loaded, asked, described."""
