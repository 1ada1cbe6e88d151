"""Implementation of the larger commands: demonstration, doctor, training and verifying zoo models, model cards."""
