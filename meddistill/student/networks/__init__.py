"""What a student is made of: networks and where their encoders' weights come from."""
