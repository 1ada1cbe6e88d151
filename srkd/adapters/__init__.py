"""Other domains on the same core: each a data set, networks and scores; none of them imports another, or srkd.sr."""
