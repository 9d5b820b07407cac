"""What a painted picture is looked at with: models that find, outline and describe things."""
