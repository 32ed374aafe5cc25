"""One module for each step, named by its number. A step that was released is never changed."""
