"""The networks, each foreign library behind one module: detector, teachers, student."""
