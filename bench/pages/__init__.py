"""The pages of the web app as browsers load them, for users with a history."""
