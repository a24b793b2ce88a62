"""What users need to test their tasks, and third parties to test their stores."""
