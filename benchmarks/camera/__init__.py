"""Does control hold when the camera fails?"""
