"""What runs after training: pictures through a trained network, any size, in bounded memory."""
