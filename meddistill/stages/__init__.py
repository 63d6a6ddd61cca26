"""One module a command: it checks its inputs, reads, calls, writes; stages meet on disk and never
import each other."""
