"""The jobs service: what was asked, who runs it, how it stands, how it ended."""
