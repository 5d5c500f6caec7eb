"""How fast is the room, and does its memory stay where it was?"""
