"""The documentation site: the Markdown files of this repository and generated references, for MkDocs (`make docs`)."""
