"""What the pages are built of: charts, texts that cannot break a page, addresses, the style."""
