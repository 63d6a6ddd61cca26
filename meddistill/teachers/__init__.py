"""Foundation models that turn boxes into soft masks: what one is, the ones there are, how they are
loaded."""
