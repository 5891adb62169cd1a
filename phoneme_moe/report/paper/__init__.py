"""The figures of the report as files for papers: SVG, PDF or PNG of a given width."""
