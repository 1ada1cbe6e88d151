"""What the larger commands do: the demonstration, the doctor, training and verifying the zoo, model cards."""
