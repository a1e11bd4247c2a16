"""What the end-to-end tests stand on: the daemon, the fake API, a scripted upstream and a raw client."""
