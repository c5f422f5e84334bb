"""The web app; :mod:`.page` needs gradio."""
