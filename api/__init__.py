"""The HTTP API: /v1, health, metrics, the web page and the published package's route. Start with app.py."""
