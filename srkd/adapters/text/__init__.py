"""Classification of text documents."""
