"""The pages of the app, one file a subject. With app.py, the only place where gradio is imported."""
