-- The body of a flood: a POST of 4 MiB, below what a function takes.
wrk.method = "POST"
wrk.body = string.rep("x", 4 * 1024 * 1024)
