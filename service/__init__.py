"""The running process: alerts in, classifications out."""
