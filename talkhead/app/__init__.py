"""The web page of `talkhead app`, and its HTTP API."""
