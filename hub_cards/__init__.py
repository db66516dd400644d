"""Templates of model and dataset cards, and the cards of the published models."""
