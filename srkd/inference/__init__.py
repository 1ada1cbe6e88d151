"""What runs after training: images through a trained network, any size, in bounded memory."""
