"""Stands for a selecting process that dies."""

import os

os.abort()
