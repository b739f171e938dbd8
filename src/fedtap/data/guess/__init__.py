"""From a user's files to a scenario: what lies in them, what that is taken for, and the scenario's text."""
