"""The files of each dataset's layout, written."""
