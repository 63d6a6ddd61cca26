"""What the student learns from: the teacher asked, its answers weighed, kept and packed."""
