"""`python -m robot_room` is the console command `robot-room`."""

from robot_room.app.command_line import main

if __name__ == "__main__":
    main()
