"""What people say about objects of a scene, whatever the objects are: meanings, and how they are worded."""
