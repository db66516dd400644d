"""The way to the Hub: what travels, the cards, and the Trainer that pushes."""
