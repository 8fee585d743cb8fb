"""The pages of the web app as browsers see them, with people before them who have used it for a while."""
