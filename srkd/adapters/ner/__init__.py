"""Named-entity recognition in Korean text with continual learning: the model of the previous step is the teacher."""
