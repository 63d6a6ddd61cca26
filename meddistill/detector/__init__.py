"""The detector: Ultralytics YOLO in a process of its own."""
