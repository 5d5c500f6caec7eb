"""An agent at work, what it sees, believes and intends, in a window or on film."""
