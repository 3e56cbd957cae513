"""What training minimises: image terms, adversarial games and their penalties, features of networks."""
