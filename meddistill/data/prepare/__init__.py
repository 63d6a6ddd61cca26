"""How a source becomes RUN/data: listed, grouped, split, converted, shown."""
