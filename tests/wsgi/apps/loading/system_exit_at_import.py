raise SystemExit("no settings, no service")
