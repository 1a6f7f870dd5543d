"""Writers of each dataset's layout."""
