"""The exporters that ship with edgekd, one format a file; reached by entry-point name, as anyone else's are."""
