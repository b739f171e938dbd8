"""What a federation is: its clients, tasks, data, network, schedule and safety, typed and checked. No torch."""
