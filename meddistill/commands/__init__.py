"""The commands and their options, by what they are for; `cli` puts them together. Nothing here imports torch."""
