"""Builders of Hugging Face `datasets` for the data on your disk: DFEW, FERV39k, MAFW and videos of your own."""
