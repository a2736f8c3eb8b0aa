print("evil code in python")
